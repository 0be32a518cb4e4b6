"""Values on their way from a slow store into a fast one.

A fill is a task of its own: neither a reader that stops nor one that is slow stops or slows it,
and memory stays bounded, because a reader that falls behind the last few pieces waits for the
end of the fill and reads on from the store.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from remex_core.errors import RemexError
from remex_core.store import ops

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

    from remex_core.digest import Key
    from remex_core.store.contract import Store

MAX_FILLS: Final = 32
MAX_VALUE_BYTES: Final = 64 * 1024 * 1024
WINDOW_PIECES: Final = 4


class Fills:
    """Everything that is on its way from `slow` to `fast`; at most 32 x 4 MiB and 64 MiB.

    Args:
        slow: where the values come from.
        fast: where they go.
        failed: told what the fast store failed to do, and why.
    """

    def __init__(self, slow: Store, fast: Store, failed: Callable[[str, RemexError], None]) -> None:
        self._slow = slow
        self._fast = fast
        self._failed = failed
        self._slots = asyncio.Semaphore(MAX_FILLS)
        self._fills: dict[Key, Fill] = {}
        self._values: dict[Key, asyncio.Task[None]] = {}
        self._value_bytes = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    def may_join(self, key: Key) -> bool:
        """Whether a fill of `key` runs or could run at once."""
        return key in self._fills or not self._slots.locked()

    def join(self, key: Key) -> Fill:
        """The fill of a CAS value, which is started unless it is running."""
        fill = self._fills.get(key)
        if fill is None:
            fill = self._fills[key] = Fill(key, self._slow, self._fast, self._slots)
            self.keep(fill.task)
            fill.task.add_done_callback(lambda _: self._fills.pop(key, None))
        return fill

    def add_values(self, items: Sequence[tuple[Key, bytes]]) -> None:
        """Copies values that were read already, unless too many are on their way."""
        size = sum([len(data) for _, data in items])
        if not items or self._value_bytes + size > MAX_VALUE_BYTES:
            return
        self._value_bytes += size
        task = asyncio.create_task(self.write_values(items))
        self.keep(task)
        for key, _ in items:
            self._values[key] = task

        def forget(_: object) -> None:
            self._value_bytes -= size
            for key, _ in items:
                if self._values.get(key) is task:
                    del self._values[key]

        task.add_done_callback(forget)

    async def write_values(self, items: Sequence[tuple[Key, bytes]]) -> None:
        """Copies values, and returns when they are there or have failed."""
        try:
            for error in (await ops.write_many(self._fast, items)).values():
                self._failed("write", error)
        except RemexError as error:
            self._failed("write", error)

    async def stop(self, keys: Iterable[Key]) -> None:
        """Returns when nothing is on its way that belongs to `keys`."""
        tasks: set[asyncio.Task[Any]] = set()
        for key in keys:
            if key in self._fills:
                tasks.add(self._fills[key].task)
            if key in self._values:
                tasks.add(self._values[key])
        await _cancel(tasks)

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Makes `close` wait for one more task."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stops everything."""
        await _cancel(set(self._tasks))


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


class Fill:
    """The copy of one CAS value from `slow` to `fast`.

    Attributes:
        task: ends when the copy has ended, one way or the other; never with an error.
        stored: whether the fast store has the whole value from this fill.
        error: what kept it from that; an error of `slow` wins over one of `fast`.
        read_failed: whether it was `slow` that failed.
    """

    def __init__(self, key: Key, slow: Store, fast: Store, slots: asyncio.Semaphore) -> None:
        self.key = key
        self.stored = False
        self.error: RemexError | None = None
        self.read_failed = False
        self._slow = slow
        self._fast = fast
        self._slots = slots
        self._window: deque[bytes] = deque(maxlen=WINDOW_PIECES)
        self._position = 0
        self._complete = False
        self._readers = 0
        self._progress = asyncio.Event()
        self.task = asyncio.create_task(self._run())
        self.task.add_done_callback(self._wake)

    async def follow(self) -> AsyncGenerator[bytes]:
        """The value from its start, as it comes.

        Ends with the value, or earlier, when the fill failed or went on without this reader;
        the fill has ended then, and the rest is to be read elsewhere.
        """
        at = 0
        self._readers += 1
        try:
            while True:
                piece = self._piece_at(at)
                if piece is not None:
                    at += len(piece)
                    yield piece
                elif self.task.done():
                    return
                elif at < self._position:
                    await asyncio.wait((self.task,))
                else:
                    await self._progress.wait()
        finally:
            self._readers -= 1

    def ends_at(self, position: int) -> bool:
        """Whether a reader that has so many bytes has the whole value."""
        return self._complete and position == self._position

    async def _run(self) -> None:
        try:
            async with self._slots, aclosing(self._pieces()) as pieces:
                await self._fast.write(self.key, pieces)
            self.stored = True
        except RemexError as error:
            if not self.read_failed:
                self.error = error

    async def _pieces(self) -> AsyncGenerator[bytes]:
        try:
            async with aclosing(self._slow.read(self.key)) as pieces:
                async for piece in pieces:
                    self._position += len(piece)
                    if self._readers:
                        self._window.append(piece)
                    else:
                        self._window.clear()
                    self._wake()
                    yield piece
        except RemexError as error:
            self.error = error
            self.read_failed = True
            raise
        self._complete = True

    def _piece_at(self, at: int) -> bytes | None:
        start = self._position
        for piece in reversed(self._window):
            start -= len(piece)
            if start == at:
                return piece
        return None

    def _wake(self, _: object = None) -> None:
        self._progress.set()
        self._progress = asyncio.Event()
