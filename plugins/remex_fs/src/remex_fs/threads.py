"""The few threads that blocking work runs in, and how it is waited for."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 8
"""Enough to keep a disk busy, few enough that they do not crowd out the event loop."""


class Threads:
    """A bounded pool; more work than threads waits its turn."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="remex-fs")

    def submit(
        self, blocking: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        """Begins the call in a thread; end with `settled` or `ended`, cancel it never."""
        return asyncio.wrap_future(self._pool.submit(blocking, *args, **kwargs))

    async def hop(self, blocking: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The outcome of the call, made in a thread; see `settled`."""
        return await settled(self.submit(blocking, *args, **kwargs))

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
