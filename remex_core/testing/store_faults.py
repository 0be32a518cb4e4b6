"""Stores that misbehave on purpose, to test what stands above them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

from remex_core.errors import DataLoss, StoreUnavailable
from remex_core.store.contract import Capability, Store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Collection

    from remex_core.digest import Key
    from remex_core.errors import RemexError

C = TypeVar("C", bound=Capability)


class FlakyStore(Store):
    """A store over another one that fails when it is told to; it hides every capability.

    Args:
        inner: what answers while nothing is wrong.

    Attributes:
        failing: the operations that fail now, out of `find_missing`, `read`, `write`, `discard`.
        error: what they raise.
        break_read_after: a read raises DataLoss after this many pieces; None for never.
        calls: the names of the operations that were called, in order.
    """

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.failing: set[str] = set()
        self.error: RemexError = StoreUnavailable("The store was told to fail.")
        self.break_read_after: int | None = None
        self.calls: list[str] = []

    def fail_everything(self) -> None:
        """From now on every operation fails."""
        self.failing = {"find_missing", "read", "write", "discard"}

    async def find_missing(self, keys: Collection[Key]) -> frozenset[Key]:
        self._enter("find_missing")
        return await self.inner.find_missing(keys)

    async def read(
        self, key: Key, *, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes]:
        self._enter("read")
        given = 0
        async with aclosing(self.inner.read(key, offset=offset, limit=limit)) as pieces:
            async for piece in pieces:
                if given == self.break_read_after:
                    raise DataLoss(f"The read of {key} was told to break.")
                given += 1
                yield piece

    async def write(self, key: Key, chunks: AsyncIterable[bytes]) -> None:
        self._enter("write")
        await self.inner.write(key, chunks)

    async def discard(self, keys: Collection[Key]) -> None:
        self._enter("discard")
        await self.inner.discard(keys)

    async def close(self) -> None:
        await self.inner.close()

    def _enter(self, operation: str) -> None:
        self.calls.append(operation)
        if operation in self.failing:
            raise self.error


class SlowStore(Store):
    """A store over another one whose operations wait until they are let go; hides capabilities.

    While `gate` is set, nothing waits. `waiting` tells how many operations stand at the gate;
    `arrived` is notified when one more does.
    """

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.gate = asyncio.Event()
        self.waiting = 0
        self._arrived = asyncio.Condition()

    async def until_waiting(self, count: int = 1) -> None:
        """Returns when at least `count` operations stand at the gate."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: self.waiting >= count)

    async def find_missing(self, keys: Collection[Key]) -> frozenset[Key]:
        await self._pass()
        return await self.inner.find_missing(keys)

    async def read(
        self, key: Key, *, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes]:
        await self._pass()
        async with aclosing(self.inner.read(key, offset=offset, limit=limit)) as pieces:
            async for piece in pieces:
                yield piece

    async def write(self, key: Key, chunks: AsyncIterable[bytes]) -> None:
        await self._pass()
        await self.inner.write(key, chunks)

    async def discard(self, keys: Collection[Key]) -> None:
        await self._pass()
        await self.inner.discard(keys)

    async def close(self) -> None:
        await self.inner.close()

    async def _pass(self) -> None:
        if self.gate.is_set():
            return
        self.waiting += 1
        try:
            async with self._arrived:
                self._arrived.notify_all()
            await self.gate.wait()
        finally:
            self.waiting -= 1
