"""How many bytes the store holds and may hold, and who waits for some to be freed.

Writers claim what they are about to write. The keeper, in its own thread, counts and frees.
Where this process is not the directory's keeper, or the first count is not finished, nothing is
known and every claim is granted: the disk itself is then the bound.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self, TypeAlias

from remex_core.plugin import StoreFull
from remex_fs.seal import occupied

if TYPE_CHECKING:
    from types import TracebackType

Waiting: TypeAlias = "list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]]"


class Room:
    """The account of one directory; its methods may be called by any thread.

    Args:
        limit: the most bytes to hold, or None for no limit.
        high: the bytes above which the keeper is woken.
    """

    def __init__(self, limit: int | None, high: int, name: str) -> None:
        self.limit = limit
        self.high = high
        self.wake = threading.Event()
        self._name = name
        self._lock = threading.Lock()
        self._stored = 0
        self._claimed = 0
        self._counted = False
        self._waiting: Waiting = []

    @property
    def counted(self) -> bool:
        """Whether the count is known."""
        return self._counted

    @property
    def stored(self) -> int:
        """The bytes that stored files occupy; meaningful once counted."""
        return self._stored

    @property
    def wanted(self) -> int:
        """The bytes stored, together with those being written."""
        return self._stored + self._claimed

    @property
    def awaited(self) -> bool:
        """Whether a writer waits for bytes to be freed."""
        return bool(self._waiting)

    def add(self, size: int) -> None:
        """Counts `size` bytes more, or fewer if negative."""
        with self._lock:
            self._stored += size

    def correct(self, by: int) -> None:
        """Adds what a count found to be wrong; from now on the count is known."""
        with self._lock:
            self._stored += by
            self._counted = True

    def claim(self) -> Claim:
        """A claim of nothing yet, for use in `async with`."""
        return Claim(self)

    async def grow(self, size: int) -> None:
        """Claims `size` bytes more, once they are free.

        Raises:
            StoreFull: if they cannot be freed.
        """
        limit = self.limit
        if limit is None:
            return
        if size > limit:
            raise StoreFull(
                f"A value of {size} bytes can never fit: {self._name} holds at most "
                f"{limit} bytes (max_bytes).",
                hint="Raise max_bytes of this store, or keep such values elsewhere.",
                retry_after=60.0,
            )
        with self._lock:
            self._claimed += size
        try:
            if not self._counted or self.wanted <= self.high:
                return
            self.wake.set()
            if self.wanted <= limit:
                return
            await self._one_pass()
            if self._counted and self.wanted > limit:
                raise StoreFull(
                    f"{self._name} is full: {size} bytes more exceed max_bytes ({limit}), and "
                    "everything in it was used too recently to be evicted (protect.hard).",
                    hint="Try again later, or raise max_bytes of this store.",
                    retry_after=10.0,
                )
        except BaseException:
            self.release(size)
            raise

    def release(self, size: int) -> None:
        """Ends a claim, whatever came of it."""
        with self._lock:
            self._claimed -= size

    async def _one_pass(self) -> None:
        """Returns when the keeper has freed what it can."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiting.append((loop, future))
        self.wake.set()
        await future

    def take_waiting(self) -> Waiting:
        """Those who wait for the pass that begins now."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        return waiting


class Claim:
    """The bytes that one write claims, released at its end."""

    __slots__ = ("_held", "_room")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._held = 0

    async def grow(self, size: int) -> None:
        """Claims `size` bytes more; raises StoreFull if there is no room for them."""
        size = occupied(size)
        await self._room.grow(size)
        self._held += size

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._room.limit is not None:
            self._room.release(self._held)


def tell(waiting: Waiting) -> None:
    """Lets those who waited look again, because a pass is over."""
    for loop, future in waiting:
        # A loop that was closed meanwhile has nobody left who waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_finish, future)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
