"""The store: decides what runs inline and what in a thread, and how bytes stream.

What is in the page cache is read faster than a thread is woken, so reads are inline, in pieces of
1 MiB, until one had to wait for the disk. Writes of more than a little go to a few threads of the
store's own; batches and plans are made in slices (see `threads`).
"""

from __future__ import annotations

import asyncio
import os
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from remex_core.plugin import BatchIO, DataLoss, LocalFiles, RemexError, Store, StoreFull
from remex_fs.directory import BlobDirectory
from remex_fs.keeper import Keeper, KeeperThread
from remex_fs.layout import open_layout, unusable
from remex_fs.links import Links
from remex_fs.room import Room
from remex_fs.scratch import Scratch
from remex_fs.seal import is_sealed, occupied
from remex_fs.threads import Threads
from remex_fs.upload import PIECE, Upload
from remex_fs.writer import Writer

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        Collection,
        Mapping,
        Sequence,
    )

    from remex_core.plugin import Clock, Key, LinkPlan
    from remex_fs.spec import FilesystemSpec

INLINE_BYTES: Final = 64 * 1024
"""Values up to this size are small: written, and read in batches, without a thread."""

SLOW_PIECE: Final = 0.005
"""A piece that took longer to read than these seconds was not in memory."""

LOOKS_AT_ONCE: Final = 256
READS_AT_ONCE: Final = 64
LINKS_AT_ONCE: Final = 64
WRITES_AT_ONCE: Final = 16
"""How many of each are made in one step of the event loop: about half a millisecond's worth."""


class FilesystemStore(Store, BatchIO, LocalFiles):
    """Keeps values as files in one directory, across restarts and for several processes at once.

    Adds: persistence, hard links to what is stored (`LocalFiles`), eviction of what was used
    longest ago. Assumes: a POSIX filesystem that keeps access and modification times, and that
    all processes on the directory run as one user. Costs: about 2 us for a look, 6 us for a small
    read, 30 us for a small write. Not for: a filesystem without rename, or a volume on which
    others change modification times.
    """

    def __init__(self, root: Path, spec: FilesystemSpec, clock: Clock, where: str) -> None:
        """Opens the directory and makes what is not there yet; reads none of its content.

        Raises:
            ConfigError: if the directory cannot be used; it says why.
        """
        try:
            layout = open_layout(root, where)
            self._scratch = Scratch(layout)
        except OSError as error:
            raise unusable(root, where, error) from error
        self._clock = clock
        limit = spec.max_bytes
        durable = spec.durability == "machine"
        self._inline = 0 if durable else INLINE_BYTES
        self._room = Room(limit, int((limit or 0) * spec.watermarks.high), str(root))
        self._directory = BlobDirectory(layout, self._scratch, clock)
        self._writer = Writer(self._directory, self._scratch, self._room.add, durable=durable)
        self._threads = Threads(clock)
        low = int((limit or 0) * spec.watermarks.low)
        stopping = threading.Event()
        self._keeper = Keeper(self._directory, self._room, clock, spec.protect, low, stopping)
        self._keeper_thread = KeeperThread(self._keeper, self._room, stopping)

    def start(self) -> None:
        """Lets this process stand for election as the one that evicts."""
        self._keeper_thread.start()

    async def close(self) -> None:
        """Stops the threads and removes this process's unfinished files."""
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        if self._keeper_thread.is_alive():
            self._keeper_thread.stop()
        self._threads.close()
        self._scratch.close()

    # ---- Store

    async def find_missing(self, keys: Collection[Key]) -> frozenset[Key]:
        unknown, token = self._directory.unknown(keys)
        if not unknown:
            return frozenset()
        missing: list[Key] = []
        present: list[Key] = []
        look = partial(self._directory.find, missing=missing, present=present)
        await self._threads.sliced(look, unknown, LOOKS_AT_ONCE)
        self._directory.presence.remember(present, token)
        return frozenset(missing)

    async def read(
        self, key: Key, *, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes]:
        fd, size = self._directory.open(key)
        try:
            end = size if limit is None else min(size, offset + limit)
            quick = True
            while offset < end:
                began = self._clock.monotonic()
                piece = min(PIECE, end - offset)
                if quick:
                    data = self._piece(key, fd, offset, piece)
                    quick = self._clock.monotonic() - began <= SLOW_PIECE
                else:
                    data = await self._threads.hop(self._piece, key, fd, offset, piece)
                offset += piece
                yield data
                if offset < end:
                    await asyncio.sleep(0)  # whoever takes the pieces may never wait itself
            if end > INLINE_BYTES and not is_sealed(os.fstat(fd)):
                raise DataLoss(f"{key} was changed in the store while it was being read.")
        finally:
            os.close(fd)

    def _piece(self, key: Key, fd: int, offset: int, size: int) -> bytes:
        piece = self._directory.read_piece(fd, offset, size)
        if len(piece) != size:
            raise DataLoss(f"{key} was cut short in the store while it was being read.")
        return piece

    async def write(self, key: Key, chunks: AsyncIterable[bytes]) -> None:
        if self._has(key):
            return
        async with self._room.claim() as claim:
            if key.is_cas:
                await claim.grow(key.size)
            upload = Upload(key, self._writer, self._threads, claim, inline=self._inline)
            try:
                async for chunk in chunks:
                    if chunk:
                        await upload.take(chunk)
                await upload.finish()
            finally:
                await upload.leave()

    def _has(self, key: Key) -> bool:
        """Whether nothing is to be written, because the value is here and never changes."""
        return key.is_cas and self._directory.has(key)

    async def discard(self, keys: Collection[Key]) -> None:
        await self._threads.sliced(self._directory.discard, list(keys), WRITES_AT_ONCE)

    # ---- BatchIO

    async def read_batch(
        self, keys: Sequence[Key], max_bytes: int
    ) -> Mapping[Key, bytes | RemexError]:
        values: dict[Key, bytes | RemexError] = {}
        read = partial(self._directory.read_all, max_bytes=max_bytes, values=values)
        unique = dict.fromkeys(keys)
        small = [key for key in unique if key.size <= INLINE_BYTES]
        await self._threads.sliced(read, small, READS_AT_ONCE)
        if len(small) < len(unique):
            await self._threads.hop(read, [key for key in unique if key.size > INLINE_BYTES])
        return values

    async def write_batch(self, items: Sequence[tuple[Key, bytes]]) -> Mapping[Key, RemexError]:
        errors: dict[Key, RemexError] = {}
        async with self._room.claim() as claim:
            try:
                await claim.grow(sum(occupied(len(data)) for _, data in items))
            except StoreFull as error:
                return {key: error for key, _ in items if not self._has(key)}
            put = partial(self._writer.put_all, errors=errors)
            unique = list(dict(items).items())
            small = [item for item in unique if len(item[1]) <= self._inline]
            await self._threads.sliced(put, small, WRITES_AT_ONCE)
            if len(small) < len(unique):
                large = [item for item in unique if len(item[1]) > self._inline]
                await self._threads.hop(put, large)
        return errors

    # ---- LocalFiles

    async def link_into(self, plan: LinkPlan) -> frozenset[Key]:
        work = Links(plan, self._directory, self._writer)
        work.make_root()
        await self._threads.sliced(work.make_directories, plan.directories, LINKS_AT_ONCE)
        await self._threads.sliced(work.link, plan.files, LINKS_AT_ONCE)
        if work.left:
            await self._threads.hop(work.finish)
        return frozenset(work.missing)

    async def adopt(self, key: Key, path: Path) -> None:
        if self._has(key):
            return
        async with self._room.claim() as claim:
            await claim.grow(key.size)
            if self._inline:
                taken = self._writer.adopt(key, str(path))
            else:
                taken = await self._threads.hop(self._writer.adopt, key, str(path))
            if not taken:
                await self._threads.hop(self._writer.copy_in, key, str(path))

    def verify_links(self, plan: LinkPlan) -> frozenset[Key]:
        # What counts are the store's own files: a link that was replaced harms nobody.
        return self._directory.tampered({(file.key, file.executable) for file in plan.files})

    @property
    def work_root(self) -> Path:
        return Path(self._directory.layout.work)
