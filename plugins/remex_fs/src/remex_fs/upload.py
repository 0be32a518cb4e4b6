"""One streamed write: pieces of 1 MiB are gathered, each written while the next one arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from remex_fs.seal import check_size
from remex_fs.threads import ended, settled

if TYPE_CHECKING:
    import asyncio

    from remex_core.plugin import Key
    from remex_fs.draft import Draft
    from remex_fs.room import Claim
    from remex_fs.threads import Threads
    from remex_fs.writer import Writer

PIECE: Final = 1024 * 1024
"""How many bytes one hop to a thread writes."""

_MAX_CHUNKS: Final = 4096


class Upload:
    """The write of one value; ends with `leave`, whatever happened.

    Holds at most two pieces in memory: one being written, one being gathered.

    Args:
        inline: up to how many bytes a value is written without a hop to a thread.
    """

    def __init__(
        self, key: Key, writer: Writer, threads: Threads, claim: Claim, *, inline: int
    ) -> None:
        self._key = key
        self._writer = writer
        self._threads = threads
        self._claim = claim
        self._inline = inline
        self._chunks: list[bytes] = []
        self._gathered = 0
        self._written = 0
        self._draft: Draft | None = None
        self._pending: asyncio.Future[None] | None = None

    async def take(self, chunk: bytes) -> None:
        """Accepts the next bytes; returns when there is memory for more.

        Raises:
            DigestMismatch: as soon as there are more bytes than the key says.
            StoreFull: if there is no room for them.
        """
        self._chunks.append(chunk)
        self._gathered += len(chunk)
        if self._gathered >= PIECE or len(self._chunks) >= _MAX_CHUNKS:
            await self._write_gathered()

    async def _write_gathered(self) -> None:
        total = self._written + self._gathered
        if total > self._key.size:
            check_size(self._key, total)
        await self._claim_gathered()
        await self._settle()
        if self._draft is None:
            self._draft = self._writer.begin()
        chunks, self._chunks = self._chunks, []
        self._written, self._gathered = total, 0
        self._pending = self._threads.submit(self._writer.extend, self._draft, chunks)

    async def finish(self) -> None:
        """Makes the value visible.

        Raises:
            DigestMismatch: if a CAS value has another size than its key.
        """
        check_size(self._key, self._written + self._gathered)
        await self._claim_gathered()
        await self._settle()
        if self._draft is not None:
            await self._threads.hop(self._writer.finish, self._draft, self._chunks, self._key)
            self._draft = None
        elif self._gathered <= self._inline:
            self._writer.put(self._key, self._chunks)
        else:
            await self._threads.hop(self._writer.put, self._key, self._chunks)

    async def leave(self) -> None:
        """Leaves nothing unfinished behind."""
        if self._pending is not None:
            await ended(self._pending)
        if self._draft is not None:
            await self._threads.hop(self._draft.abandon)

    async def _claim_gathered(self) -> None:
        # The size of a CAS value is known, and claimed, before its first byte comes.
        if not self._key.is_cas:
            await self._claim.grow(self._gathered)

    async def _settle(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            await settled(pending)
