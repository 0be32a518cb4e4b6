"""One blob on its way from streams into a store.

A store takes a value all or nothing, and a stream may end at any byte; an upload stands between
them. It gathers what comes, and starts the store's write, as a task of its own, when enough has
gathered to be worth it. So a small blob costs no task; a large one is received and stored at the
same time, in bounded memory; and the write outlives a stream that breaks.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from remex_core.digest import FUNCTIONS
from remex_core.errors import DigestMismatch
from remex_core.services.blobs import check_hash

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from remex_core.digest import Key
    from remex_core.store.contract import Store

_FLUSH_BYTES: Final = 512 * 1024
"""So much is gathered before the store is given any of it."""

_FULL_BYTES: Final = 2 * 1024 * 1024
"""An upload whose store is behind by more than this takes nothing until it caught up."""

_THREAD_BYTES: Final = 256 * 1024
"""Hashing takes longer than the way to a thread and back from here on."""

_MAX_UNHASHED: Final = 2


@dataclass(slots=True)
class UploadPool:
    """What the uploads of a server share: the memory for bytes, and the running writes.

    While `gathered` is above `max_gathered`, every upload waits for its store at each append.
    """

    max_gathered: int
    gathered: int = 0
    writers: set[asyncio.Task[None]] = field(default_factory=set)

    async def close(self) -> None:
        """Stops every write and returns when all have ended."""
        for writer in self.writers:
            writer.cancel()
        await asyncio.gather(*self.writers, return_exceptions=True)


class Upload:
    """Bytes received in order, their hash so far, and the store's write of them.

    `committed` counts the bytes received: what survives a broken stream (BSQ-01).
    """

    def __init__(self, pool: UploadPool, cas: Store, key: Key) -> None:
        self.key = key
        self.committed = 0
        self._pool = pool
        self._cas = cas
        self._hasher = FUNCTIONS[key.function].new()
        self._unhashed: deque[bytes] = deque()
        self._hashing: asyncio.Future[None] | None = None
        self._gathered: deque[bytes] = deque()
        self._gathered_bytes = 0
        self._complete = False
        self._spoilt = False
        self._writer: asyncio.Task[None] | None = None
        self._more = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether more bytes can follow."""
        if self._complete or self._spoilt:
            return False
        return self._writer is None or not self._writer.done()

    async def append(self, data: bytes) -> bool:
        """Takes the next bytes; True when the store turned out to have the blob (BSW-10).

        Waits while the store is behind.

        Raises:
            DigestMismatch: if there are more bytes than the digest declares (BSW-08).
            RemexError: what made the store's write fail.
        """
        if self.committed + len(data) > self.key.size:
            self._spoilt = True
            raise DigestMismatch(
                f"More than the {self.key.size} bytes that the digest of {self.key.hash} "
                f"declares were sent."
            )
        if data:
            # Nothing is awaited before the data has its place: another stream may take over.
            self._hash(data)
            self.committed += len(data)
            self._gathered.append(data)
            self._count(len(data))
            if len(self._unhashed) > _MAX_UNHASHED:
                await self._until_hashed()
        crowded = self._pool.gathered > self._pool.max_gathered
        if crowded or self._gathered_bytes >= _FLUSH_BYTES:
            writer = self._start()
            while not writer.done() and self._gathered_bytes > (0 if crowded else _FULL_BYTES):
                self._room.clear()
                await self._room.wait()
        return self._is_stored()

    async def finish(self) -> None:
        """Returns when the store has the whole blob.

        Raises:
            DigestMismatch: if the bytes are not what the digest says; nothing is stored (BSW-07).
            RemexError: what made the store's write fail.
        """
        if self.committed != self.key.size:
            raise DigestMismatch(
                f"{self.committed} bytes were sent for {self.key.hash}, "
                f"whose digest declares {self.key.size}."
            )
        await self._until_hashed()
        check_hash(self.key, self._hasher.hexdigest())
        self._complete = True
        if self._writer is None:
            await self._store()
        else:
            self._more.set()
            await asyncio.shield(self._writer)

    def abandon(self) -> None:
        """Stops the store's write, unless all it needs is there; nothing is stored then."""
        if self._writer is None:
            self._forget_gathered()
        elif not self._complete:
            self._writer.cancel()

    def _hash(self, data: bytes) -> None:
        """Hashes a small piece at once, a large one in a thread while the next arrives."""
        self._unhashed.append(data)
        if self._hashing is not None and not self._hashing.done():
            return
        if len(data) < _THREAD_BYTES:
            self._hash_waiting()
        else:
            loop = asyncio.get_running_loop()
            self._hashing = loop.run_in_executor(None, self._hash_waiting)

    def _hash_waiting(self) -> None:
        while self._unhashed:
            self._hasher.update(self._unhashed.popleft())

    async def _until_hashed(self) -> None:
        if self._hashing is not None:
            await asyncio.wait((self._hashing,))
        self._hash_waiting()

    def _start(self) -> asyncio.Task[None]:
        if self._writer is None:
            self._writer = asyncio.create_task(self._store())
            self._pool.writers.add(self._writer)
            self._writer.add_done_callback(_retrieve)
            self._writer.add_done_callback(self._pool.writers.discard)
        self._more.set()
        return self._writer

    async def _store(self) -> None:
        try:
            async with aclosing(self._drain()) as chunks:
                await self._cas.write(self.key, chunks)
        finally:
            self._forget_gathered()

    async def _drain(self) -> AsyncGenerator[bytes]:
        """What was gathered, as it comes; ends only when it is complete and has been checked."""
        while True:
            while self._gathered:
                data = self._gathered.popleft()
                self._count(-len(data))
                self._room.set()
                yield data
            if self._complete:
                return
            self._more.clear()
            await self._more.wait()

    def _is_stored(self) -> bool:
        if self._writer is None or not self._writer.done():
            return False
        self._writer.result()
        return True

    def _count(self, change: int) -> None:
        self._gathered_bytes += change
        self._pool.gathered += change

    def _forget_gathered(self) -> None:
        self._gathered.clear()
        self._count(-self._gathered_bytes)
        self._room.set()


def _retrieve(writer: asyncio.Task[None]) -> None:
    """Looks at a write's error, which nobody else may: its stream can be gone."""
    if not writer.cancelled():
        writer.exception()
