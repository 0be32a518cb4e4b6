"""How fast one large blob is written and read, beside a bare stream of the same messages."""

from __future__ import annotations

import hashlib
import itertools
import os
from typing import TYPE_CHECKING, Final

from remex_core.bench import bare
from remex_core.bench.figure import Figure, in_turns
from remex_core.bench.servers import STORES, cas
from remex_core.clock import SYSTEM
from remex_core.proto import bytestream
from remex_core.wire import methods

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

_MESSAGE: Final = 1024 * 1024
_MB: Final = 1e6


async def streams(directory: Path, *, size: int, rounds: int) -> Sequence[Figure]:
    """Write and read of a blob of `size` bytes for each kind of store, in MB/s."""
    return [
        figure
        for store in STORES
        for figure in await _one_store(store, directory / store, size, rounds)
    ]


async def _one_store(store: str, directory: Path, size: int, rounds: int) -> Sequence[Figure]:
    blobs = _Blobs(size)
    bare_read = f"{blobs.messages}:{_MESSAGE}".encode()
    with cas(store, directory, memory_bytes=2 * size + 64 * _MESSAGE) as address:
        async with (
            bare.bare_server() as bare_address,
            bare.connected(bare_address) as plain,
            bare.connected(address) as remex,
        ):

            async def write(client: bare.BareClient, path: str) -> float:
                blob = blobs.next()
                started = SYSTEM.monotonic()
                await client.write(path, blob.upload())
                return size / (SYSTEM.monotonic() - started) / _MB

            async def read(client: bare.BareClient, path: str, request: bytes) -> float:
                started = SYSTEM.monotonic()
                received = await client.read(path, request)
                assert received >= size, f"{received} of {size} bytes came"
                return size / (SYSTEM.monotonic() - started) / _MB

            bare_writes, writes = await in_turns(
                rounds,
                lambda: write(plain, bare.WRITE),
                lambda: write(remex, methods.WRITE.path),
            )
            bare_reads, reads = await in_turns(
                rounds,
                lambda: read(plain, bare.READ, bare_read),
                lambda: read(remex, methods.READ.path, blobs.latest.download()),
            )
    shown = f"{size / 2**30:g} GiB, {store}"
    return (
        Figure(f"ByteStream.Write {shown}", writes, "MB/s", bare_writes, at_least=0.6),
        Figure(f"ByteStream.Read {shown}", reads, "MB/s", bare_reads, at_least=0.6),
    )


class _Blob:
    """One block of its own, followed by the same block again and again."""

    def __init__(self, blocks: Sequence[bytes]) -> None:
        hasher = hashlib.sha256()
        for block in blocks:
            hasher.update(block)
        self._blocks = blocks
        self._name = f"blobs/{hasher.hexdigest()}/{sum(map(len, blocks))}"

    async def upload(self) -> AsyncIterator[bytes]:
        """The serialised messages of its upload."""
        name = f"uploads/00000000-0000-4000-8000-{os.urandom(6).hex()}/{self._name}"
        offset = 0
        last = len(self._blocks) - 1
        for number, block in enumerate(self._blocks):
            yield bytestream.WriteRequest(
                resource_name=name if number == 0 else "",
                write_offset=offset,
                data=block,
                finish_write=number == last,
            ).SerializeToString()
            offset += len(block)

    def download(self) -> bytes:
        """The serialised request of its download."""
        return bytestream.ReadRequest(resource_name=self._name).SerializeToString()


class _Blobs:
    """Blobs of one size that differ, so that no server has the next one already."""

    def __init__(self, size: int) -> None:
        self.messages = max(1, size // _MESSAGE)
        self._rest = (os.urandom(_MESSAGE),) * (self.messages - 1)
        self._numbers = itertools.count()

    def next(self) -> _Blob:
        """A new blob."""
        first = next(self._numbers).to_bytes(8, "big") + os.urandom(_MESSAGE - 8)
        self.latest = _Blob((first, *self._rest))
        return self.latest
