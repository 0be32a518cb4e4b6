"""A store in a dictionary that counts what is asked of it, and can be made to fail or to wait."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from remex_core.errors import BlobNotFound
from remex_core.store.contract import Store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Collection, Iterator

    from remex_core.digest import Key
    from remex_core.errors import RemexError

PIECE = 1024 * 1024


class RecordingStore(Store):
    """Values in a dictionary.

    `asked` are the keys of all calls in order. `open_writes` counts the writes under way. Writes
    wait while `gate` is not set, and raise `write_error` at their first piece if there is one.
    `damaged` keys raise what their read should raise.
    """

    def __init__(self) -> None:
        self.values: dict[Key, bytes] = {}
        self.asked: list[Key] = []
        self.touched: list[Key] = []
        self.open_writes = 0
        self.most_open_writes = 0
        self.write_changed = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.write_error: RemexError | None = None
        self.find_error: RemexError | None = None
        self.read_errors: dict[Key, RemexError] = {}

    async def find_missing(self, keys: Collection[Key]) -> frozenset[Key]:
        self.asked += keys
        if self.find_error is not None:
            raise self.find_error
        self.touched += [key for key in keys if key in self.values]
        return frozenset(key for key in keys if key not in self.values)

    async def read(
        self, key: Key, *, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes]:
        self.asked.append(key)
        if key in self.read_errors:
            raise self.read_errors[key]
        if key not in self.values:
            raise BlobNotFound(key)
        self.touched.append(key)
        value = self.values[key]
        end = len(value) if limit is None else min(len(value), offset + limit)
        for start in range(offset, end, PIECE):
            yield value[start : min(start + PIECE, end)]

    async def write(self, key: Key, chunks: AsyncIterable[bytes]) -> None:
        self.asked.append(key)
        if key.is_cas and key in self.values:
            return
        with self._counted():
            pieces = []
            await self.gate.wait()
            async for chunk in chunks:
                if self.write_error is not None:
                    raise self.write_error
                pieces.append(chunk)
                await self.gate.wait()
            self.values[key] = b"".join(pieces)

    async def discard(self, keys: Collection[Key]) -> None:
        for key in keys:
            self.values.pop(key, None)
            self.read_errors.pop(key, None)

    def put(self, key: Key, value: bytes) -> Key:
        """Stores a value through the back door."""
        self.values[key] = value
        return key

    async def until_open_writes(self, count: int) -> None:
        """Returns when `count` writes are under way."""
        while self.open_writes != count:
            self.write_changed.clear()
            await self.write_changed.wait()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.open_writes += 1
        self.most_open_writes = max(self.most_open_writes, self.open_writes)
        self.write_changed.set()
        try:
            yield
        finally:
            self.open_writes -= 1
            self.write_changed.set()
