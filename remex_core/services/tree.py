"""GetTree: every directory below a root, level by level, in pages.

Directories are sent as they are stored, byte for byte, so that a client which hashes them again
finds the digests it knows. A page token is the place in this walk where the next page begins.
"""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from remex_core.errors import BlobNotFound, InvalidArgument, MalformedDigest, NotFound, RemexError
from remex_core.proto import reapi
from remex_core.services.blobs import read_blobs
from remex_core.services.frames import MAX_RESPONSE_BYTES, header
from remex_core.store import ops

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence

    from remex_core.digest import Key, KeyMaker
    from remex_core.services.instances import Instance
    from remex_core.store.contract import Store

_PAGE_BYTES: Final = 1024 * 1024
_MAX_DIRECTORY_BYTES: Final = MAX_RESPONSE_BYTES - 1024
_READ_BYTES: Final = _MAX_DIRECTORY_BYTES
_READ_COUNT: Final = 1000

_TOKEN = re.compile(r"([0-9a-f]+)-([0-9]+)-([0-9]{1,18})")


async def get_tree(instance: Instance, request: reapi.GetTreeRequest) -> AsyncGenerator[bytes]:
    """GetTreeResponse messages with the root and each distinct directory below it, once.

    Directories that are missing or cannot be read as such are left out (TREE-02, TREE-07).

    Raises:
        BlobNotFound: if the root is not stored (TREE-01).
        InvalidArgument: if the request or the root is malformed (TREE-05, TREE-07).
    """
    if request.page_size < 0:
        raise InvalidArgument(f"The page size {request.page_size} is negative.")
    digest = request.root_digest
    maker = instance.functions.for_request(request.digest_function, (digest.hash,))
    root = maker.key(digest.hash, digest.size_bytes)
    start = _parse_token(request.page_token, root)
    page = _Page(request.page_size)
    async with aclosing(_walk(instance.cas, maker, root)) as directories:
        async for place, directory in directories:
            if place < start:
                continue
            if not page.fits(directory):
                yield page.encode(f"{root.hash}-{root.size}-{place}")
                page = _Page(request.page_size)
            page.add(directory)
    yield page.encode("")


class _Page:
    """One GetTreeResponse in the making; `limit` directories at most, or any number for 0."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._bytes = 0
        self._pieces: list[bytes] = []

    def fits(self, directory: bytes) -> bool:
        if not self._count:
            return True
        return self._count != self._limit and self._bytes + len(directory) <= _PAGE_BYTES

    def add(self, directory: bytes) -> None:
        self._count += 1
        self._bytes += len(directory)
        self._pieces += (header(1, len(directory)), directory)

    def encode(self, next_page_token: str) -> bytes:
        if next_page_token:
            token = next_page_token.encode()
            self._pieces += (header(2, len(token)), token)
        return b"".join(self._pieces)


def _parse_token(token: str, root: Key) -> int:
    """The place in the walk where a page begins (TREE-04, TREE-05)."""
    if not token:
        return 0
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise InvalidArgument(f"The page token {token[:200]!r} was not made by this server.")
    hash_, size, place = match.groups()
    if (hash_, int(size)) != (root.hash, root.size):
        raise InvalidArgument(
            f"The page token {token[:200]!r} belongs to the tree of another root than "
            f"{root.hash}/{root.size}."
        )
    return int(place)


async def _walk(cas: Store, maker: KeyMaker, root: Key) -> AsyncGenerator[tuple[int, bytes]]:
    """Each distinct directory that is there, breadth first, with its place in the walk."""
    seen = {root: 0}
    level = [root]
    while level:
        below: list[Key] = []
        for keys in _batches(level):
            blobs = await _read(cas, keys)
            for key in keys:
                blob = blobs[key]
                try:
                    if isinstance(blob, RemexError):
                        raise blob
                    nodes = reapi.Directory.FromString(blob).directories
                except (NotFound, DecodeError) as error:
                    if key is not root:
                        continue
                    if isinstance(error, NotFound):
                        raise
                    raise InvalidArgument(
                        f"The blob {key.hash}/{key.size} is not a Directory."
                    ) from error
                yield seen[key], blob
                for node in nodes:
                    try:
                        child = maker.key(node.digest.hash, node.digest.size_bytes)
                    except MalformedDigest:
                        continue
                    if child not in seen:
                        seen[child] = len(seen)
                        below.append(child)
        level = below


def _batches(keys: Sequence[Key]) -> Iterator[list[Key]]:
    """`keys` in portions to be read at once; one that is too large to be sent is alone in its."""
    batch: list[Key] = []
    total = 0
    for key in keys:
        if batch and (total + key.size > _READ_BYTES or len(batch) == _READ_COUNT):
            yield batch
            batch, total = [], 0
        batch.append(key)
        total += key.size
    yield batch


async def _read(cas: Store, keys: Sequence[Key]) -> Mapping[Key, bytes | RemexError]:
    largest = max(keys, key=lambda key: key.size)
    if largest.size <= _MAX_DIRECTORY_BYTES:
        return await read_blobs(cas, keys, max_bytes=_READ_BYTES)
    if await ops.is_present(cas, largest):
        raise InvalidArgument(
            f"The directory {largest.hash}/{largest.size} of this tree is larger than one "
            f"message may be.",
            hint="Read it with ByteStream instead.",
        )
    return {largest: BlobNotFound(largest)}
