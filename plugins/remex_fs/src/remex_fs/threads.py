"""The few threads that blocking work runs in, how it is waited for, and what needs none.

A thread that makes a thousand short system calls gives the interpreter's lock back at each of
them and has to win it again from a busy event loop: measured beside such a loop, 10,000 links
took 4 to 20 s in a thread and 0.1 s beside an idle one. So many short calls are made in the loop
itself, a slice at a time, as long as the disk answers at once; few long ones go to threads.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from remex_core.plugin import Clock

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 8
"""Enough to keep a disk busy, few enough that they do not crowd out the event loop."""

SLOW_SLICE: Final = 0.01
"""A slice of short calls that takes longer than these seconds had to wait for the disk."""

SLOW_AHEAD: Final = 8
"""After a slow slice, this many go to a thread before the disk is tried inline again."""


class Threads:
    """A bounded pool; more work than threads waits its turn."""

    def __init__(self, clock: Clock) -> None:
        self._monotonic = clock.monotonic
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="remex-fs")

    def submit(
        self, blocking: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        """Begins the call in a thread; end with `settled` or `ended`, cancel it never."""
        return asyncio.wrap_future(self._pool.submit(blocking, *args, **kwargs))

    async def hop(self, blocking: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The outcome of the call, made in a thread; see `settled`."""
        return await settled(self.submit(blocking, *args, **kwargs))

    async def sliced(
        self, blocking: Callable[[Sequence[T]], object], items: Sequence[T], length: int
    ) -> None:
        """Calls `blocking` with one slice of `items` after the other, each of `length`.

        Inline, with a step of the event loop between two slices, while the disk is quick; a
        slice should then take well under a millisecond. In a thread while it is slow.
        """
        start = 0
        while start < len(items):
            begun = self._monotonic()
            blocking(items[start : start + length])
            start += length
            if start < len(items):
                if self._monotonic() - begun > SLOW_SLICE:
                    await self.hop(blocking, items[start : start + SLOW_AHEAD * length])
                    start += SLOW_AHEAD * length
                else:
                    await asyncio.sleep(0)

    def close(self) -> None:
        """Returns when all that was begun has ended."""
        self._pool.shutdown()


async def settled(future: asyncio.Future[T]) -> T:
    """The outcome of a thread's work.

    A cancel is passed on only when the thread is done: nobody closes a file or removes a
    directory that a thread still works on.
    """
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await ended(future)
        raise


async def ended(future: asyncio.Future[T]) -> None:
    """Returns when a thread's work has ended, well or not, however often this is cancelled."""
    cancelled = False
    while not future.done():
        try:
            await asyncio.wait((future,))
        except asyncio.CancelledError:
            cancelled = True
    if not future.cancelled():
        future.exception()  # has been told already, or nobody wants to know
    if cancelled:
        raise asyncio.CancelledError
