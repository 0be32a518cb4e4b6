"""Blobs to and from a server: small ones in batches, large ones by ByteStream."""

from __future__ import annotations

import asyncio
import os
import uuid
from contextlib import aclosing
from itertools import chain
from typing import TYPE_CHECKING, Final

from remex_core.client.caller import Caller, to_digest
from remex_core.client.trees import hash_file
from remex_core.errors import BlobNotFound, DataLoss, NotFound, RemexError
from remex_core.proto import bytestream, reapi
from remex_core.resource_names import read_name, upload_name
from remex_core.wire import methods
from remex_core.wire.status import to_error

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        Callable,
        Collection,
        Coroutine,
        Iterable,
        Iterator,
        Mapping,
    )
    from pathlib import Path
    from typing import Any

    from remex_core.client.trees import Content
    from remex_core.digest import Key

_MESSAGE_BYTES: Final = 1024 * 1024
_DEFAULT_BATCH_BYTES: Final = 4_000_000
_MAX_BATCH_ENTRIES: Final = 1000
_ENTRY_BYTES: Final = 256
"""What an entry of a batch takes beside its data, generously."""
_MAX_KEYS: Final = 10_000
_PARALLEL: Final = 8


class Blobs(Caller):
    """The calls about blobs and the server's capabilities."""

    _capabilities: reapi.ServerCapabilities | None = None

    async def capabilities(self) -> reapi.ServerCapabilities:
        """What the server says of itself now."""
        self._capabilities = await self.call(
            methods.GET_CAPABILITIES,
            reapi.GetCapabilitiesRequest(instance_name=self.instance),
            action="capabilities",
        )
        return self._capabilities

    async def find_missing(self, keys: Collection[Key]) -> frozenset[Key]:
        """Those of `keys` that the server does not have."""
        missing: set[Key] = set()
        for some in _portions(keys, _MAX_KEYS):
            response = await self.call(
                methods.FIND_MISSING_BLOBS,
                reapi.FindMissingBlobsRequest(
                    instance_name=self.instance,
                    blob_digests=map(to_digest, some),
                    digest_function=self._function,
                ),
            )
            missing.update(map(self.key, response.missing_blob_digests))
        return frozenset(missing)

    async def upload(self, content: Content) -> Key:
        """Makes sure that the server has this content; answers its key."""
        key = await self._key_of(content)
        await self.upload_many({key: content})
        return key

    async def upload_many(self, blobs: Mapping[Key, Content]) -> int:
        """Makes sure that the server has all of these; answers how many bytes it had to be sent.

        The keys must belong to the contents; the server refuses those which do not.
        """
        missing = await self.find_missing(blobs.keys())
        limit = await self._batch_bytes()
        small = [key for key in missing if key.size + _ENTRY_BYTES <= limit]
        batches = _batches(small, limit)
        await at_once(
            (self._upload_batch({key: blobs[key] for key in batch}) for batch in batches),
            (
                self._upload_stream(key, blobs[key])
                for key in missing
                if key.size + _ENTRY_BYTES > limit
            ),
        )
        return sum(key.size for key in missing)

    async def download(self, key: Key) -> bytes:
        """A whole blob, whose hash was checked.

        Raises:
            BlobNotFound: if the server does not have it.
            DataLoss: if what it sent is something else.
        """
        async with aclosing(self.read(key)) as chunks:
            return b"".join([chunk async for chunk in chunks])

    async def download_many(self, keys: Collection[Key]) -> Mapping[Key, bytes]:
        """Whole blobs, whose hashes were checked; small ones in few calls.

        Raises:
            BlobNotFound: if the server does not have one of them.
            DataLoss: if what it sent is something else.
        """
        found: dict[Key, bytes] = {}
        limit = await self._batch_bytes()

        async def batch(some: Collection[Key]) -> None:
            found.update(await self._download_batch(some))

        async def stream(key: Key) -> None:
            found[key] = await self.download(key)

        wanted = set(keys)
        small = [key for key in wanted if key.size + _ENTRY_BYTES <= limit]
        await at_once(
            (batch(some) for some in _batches(small, limit)),
            (stream(key) for key in wanted if key.size + _ENTRY_BYTES > limit),
        )
        return found

    async def download_to(self, key: Key, path: Path, *, executable: bool = False) -> None:
        """Writes a blob to `path`, which appears only when it is whole and its hash was checked.

        Raises:
            BlobNotFound: if the server does not have it.
            DataLoss: if what it sent is something else.
        """
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
        try:
            with await asyncio.to_thread(part.open, "xb") as file:
                async with aclosing(self.read(key)) as chunks:
                    async for chunk in chunks:
                        await asyncio.to_thread(file.write, chunk)
            part.chmod(0o755 if executable else 0o644)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    async def read(
        self, key: Key, *, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes]:
        """The bytes [offset, offset + limit) of a blob in pieces; a whole read checks the hash.

        Raises:
            BlobNotFound: if the server does not have it.
            DataLoss: at the end of a whole read, if it was something else.
        """
        hasher = self.function.new() if not offset and limit is None else None
        received = 0
        request = bytestream.ReadRequest(
            resource_name=read_name(self.instance, key), read_offset=offset, read_limit=limit or 0
        )
        try:
            async with aclosing(self.stream(methods.READ, request, timeout=None)) as answers:
                async for answer in answers:
                    data = answer.data
                    if hasher is not None:
                        received += len(data)
                        hasher.update(data)
                    yield data
        except NotFound as error:
            raise BlobNotFound(key) from error
        if hasher is not None and (received != key.size or hasher.hexdigest() != key.hash):
            raise DataLoss(f"The server sent {received} bytes for {key} which are something else.")

    @property
    def _function(self) -> str:
        """The digest function as requests name it (DIG-06)."""
        return self.function.name.upper()

    async def _batch_bytes(self) -> int:
        """What one batch may hold in all, message and data (CAP-07: 0 means no limit)."""
        told = self._capabilities or await self.capabilities()
        said = told.cache_capabilities.max_batch_total_size_bytes
        return min(said or _DEFAULT_BATCH_BYTES, _DEFAULT_BATCH_BYTES)

    async def _key_of(self, content: Content) -> Key:
        if isinstance(content, bytes):
            return self.key_of(content)
        return await asyncio.to_thread(hash_file, content, self.function)

    async def _upload_batch(self, blobs: Mapping[Key, Content]) -> None:
        request = reapi.BatchUpdateBlobsRequest(
            instance_name=self.instance, digest_function=self._function
        )
        for key, content in blobs.items():
            data = content if isinstance(content, bytes) else content.read_bytes()
            request.requests.add(digest=to_digest(key), data=data)
        response = await self.call(methods.BATCH_UPDATE_BLOBS, request)
        for answer in response.responses:
            if answer.status.code:
                raise to_error(answer.status)

    async def _upload_stream(self, key: Key, content: Content) -> None:
        name = upload_name(self.instance, str(uuid.uuid4()), key)
        messages = _write_requests(name, key, content)
        response = await self.call(methods.WRITE, messages, timeout=None)
        if response.committed_size != key.size:
            raise DataLoss(
                f"The server stored {response.committed_size} of the {key.size} bytes of {key}."
            )

    async def _download_batch(self, keys: Collection[Key]) -> dict[Key, bytes]:
        response = await self.call(
            methods.BATCH_READ_BLOBS,
            reapi.BatchReadBlobsRequest(
                instance_name=self.instance,
                digests=map(to_digest, keys),
                digest_function=self._function,
            ),
        )
        found: dict[Key, bytes] = {}
        for answer in response.responses:
            key = self.key(answer.digest)
            if answer.status.code:
                error: RemexError = to_error(answer.status)
                raise BlobNotFound(key) if isinstance(error, NotFound) else error
            if self.function.key_of(answer.data) != key:
                raise DataLoss(f"The server sent something else for {key}.")
            found[key] = answer.data
        for key in keys:
            if key not in found:
                raise DataLoss(f"The server said nothing about {key}.")
        return found


async def _write_requests(
    name: str, key: Key, content: Content
) -> AsyncGenerator[bytestream.WriteRequest]:
    """The messages of an upload; only the first carries the name."""
    read = _reader(content)
    offset = 0
    while True:
        data = await asyncio.to_thread(read, offset)
        finish = offset + len(data) >= key.size or not data
        yield bytestream.WriteRequest(
            resource_name=name, write_offset=offset, data=data, finish_write=finish
        )
        if finish:
            return
        name = ""
        offset += len(data)


def _reader(content: Content) -> Callable[[int], bytes]:
    """A function that reads one message's worth at an offset."""
    if isinstance(content, bytes):
        return lambda offset: content[offset : offset + _MESSAGE_BYTES]

    def read(offset: int) -> bytes:
        with content.open("rb") as file:
            return os.pread(file.fileno(), _MESSAGE_BYTES, offset)

    return read


def _portions(keys: Collection[Key], size: int) -> Iterator[list[Key]]:
    listed = list(keys)
    for start in range(0, len(listed), size):
        yield listed[start : start + size]


def _batches(keys: Iterable[Key], limit: int) -> Iterator[list[Key]]:
    batch: list[Key] = []
    room = limit
    for key in keys:
        room -= key.size + _ENTRY_BYTES
        if batch and (room < 0 or len(batch) == _MAX_BATCH_ENTRIES):
            yield batch
            batch = []
            room = limit - key.size - _ENTRY_BYTES
        batch.append(key)
    if batch:
        yield batch


async def at_once(*jobs: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Runs all jobs, a few at a time; the first failure ends the rest and is raised."""
    left = iter(chain(*jobs))

    async def work() -> None:
        for job in left:
            await job

    tasks = [asyncio.create_task(work()) for _ in range(_PARALLEL)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
