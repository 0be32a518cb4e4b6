"""One stream of chunks into two stores."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from remex_core.errors import RemexError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable

    from remex_core.digest import Key
    from remex_core.store.contract import Store

_QUEUED: Final = 4


class Branch:
    """A write into `store` that is fed with the chunks of another write as they pass.

    The value becomes visible in `store` only by `finish`. A store that fails, or wants no chunks,
    does not hold the other write up; one that is slow does, after a few chunks.
    """

    def __init__(self, store: Store, key: Key) -> None:
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUED)
        self._passed_all = False
        self._task = asyncio.create_task(store.write(key, self._drain()))
        self._task.add_done_callback(self._unblock)

    async def tee(self, chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
        """The chunks as they are, each given to the branch too."""
        async for chunk in chunks:
            if not self._task.done():
                await self._chunks.put(chunk)
            yield chunk
        self._passed_all = True

    async def finish(self) -> RemexError | None:
        """Completes the write, or gives it up if not all chunks passed; answers why it failed."""
        if not self._passed_all:
            await self.abort()
            return None
        if not self._task.done():
            await self._chunks.put(None)
        await asyncio.wait((self._task,))
        error = self._task.exception()
        if error is None or isinstance(error, RemexError):
            return error
        raise error

    async def abort(self) -> None:
        """Ends the write so that nothing of it is stored."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _drain(self) -> AsyncGenerator[bytes]:
        while (chunk := await self._chunks.get()) is not None:
            yield chunk

    def _unblock(self, _: object) -> None:
        """Makes room for a chunk that nobody will take any more."""
        while not self._chunks.empty():
            self._chunks.get_nowait()
