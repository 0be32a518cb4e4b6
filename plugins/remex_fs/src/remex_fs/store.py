"""The store: decides what runs inline and what in a thread, and how bytes stream.

Small work runs inline, because a thread hop costs more than a small file does; everything else
goes to a few threads of the store's own, in pieces of 1 MiB, one ahead of whoever reads or sends.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import aclosing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from remex_core.plugin import BatchIO, DataLoss, LocalFiles, RemexError, Store
from remex_fs import links
from remex_fs.directory import BlobDirectory
from remex_fs.keeper import Keeper, KeeperThread
from remex_fs.layout import SEAL_NS, open_layout
from remex_fs.room import Room
from remex_fs.scratch import Scratch
from remex_fs.threads import Threads, ended, settled
from remex_fs.upload import PIECE, Upload

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
"""Values up to this size are read and written without a hop."""

INLINE_ITEMS: Final = 8
"""Batches up to this length are read and written without a hop."""

INLINE_LOOKS: Final = 64
INLINE_SECONDS: Final = 0.002
"""Looks are made inline, this many at a time, as long as they take no longer than that: names
that the kernel remembers cost 2 us, others a disk access."""


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
        layout = open_layout(root, where)
        limit = spec.max_bytes
        self._clock = clock
        durable = spec.durability == "machine"
        self._inline = 0 if durable else INLINE_BYTES
        self._room = Room(limit, int((limit or 0) * spec.watermarks.high), str(root))
        self._scratch = Scratch(layout)
        self._directory = BlobDirectory(
            layout, self._scratch, clock, self._room.add, durable=durable
        )
        self._threads = Threads()
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
        rest = iter(keys)
        missing: list[Key] = []
        monotonic = self._clock.monotonic
        slow = monotonic() + INLINE_SECONDS
        while some := list(islice(rest, INLINE_LOOKS)):
            if monotonic() <= slow:
                missing += self._directory.missing(some)
            else:
                missing += await self._threads.hop(self._directory.missing, [*some, *rest])
        return frozenset(missing)

    async def read(
        self, key: Key, *, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes]:
        fd, size = self._directory.open(key)
        try:
            end = size if limit is None else min(size, offset + limit)
            if end - offset > INLINE_BYTES:
                async with aclosing(self._read_ahead(key, fd, offset, end)) as pieces:
                    async for piece in pieces:
                        yield piece
            elif end > offset:
                yield self._piece(key, fd, offset, end - offset)
        finally:
            os.close(fd)

    async def _read_ahead(self, key: Key, fd: int, offset: int, end: int) -> AsyncGenerator[bytes]:
        """Pieces of an open value, the next one being read while one is looked at."""
        submit, piece_of = self._threads.submit, self._piece
        pending = submit(piece_of, key, fd, offset, min(PIECE, end - offset))
        try:
            while offset < end:
                piece = await settled(pending)
                offset += len(piece)
                if offset < end:
                    pending = submit(piece_of, key, fd, offset, min(PIECE, end - offset))
                yield piece
        finally:
            await ended(pending)
        if os.fstat(fd).st_mtime_ns != SEAL_NS:
            raise DataLoss(f"{key} was changed in the store while it was being read.")

    def _piece(self, key: Key, fd: int, offset: int, size: int) -> bytes:
        piece = self._directory.read_piece(fd, offset, size)
        if len(piece) != size:
            raise DataLoss(f"{key} was cut short in the store while it was being read.")
        return piece

    async def write(self, key: Key, chunks: AsyncIterable[bytes]) -> None:
        if key.is_cas and self._directory.is_present(key):
            return
        async with self._room.claim() as claim:
            if key.is_cas:
                await claim.grow(key.size)
            upload = Upload(key, self._directory, self._threads, claim, inline=self._inline)
            try:
                async for chunk in chunks:
                    if chunk:
                        await upload.take(chunk)
                await upload.finish()
            finally:
                await upload.leave()

    async def discard(self, keys: Collection[Key]) -> None:
        if len(keys) <= INLINE_ITEMS:
            self._discard_all(keys)
        else:
            await self._threads.hop(self._discard_all, keys)

    def _discard_all(self, keys: Collection[Key]) -> None:
        for key in keys:
            self._directory.discard(key)

    # ---- BatchIO

    async def read_batch(
        self, keys: Sequence[Key], max_bytes: int
    ) -> Mapping[Key, bytes | RemexError]:
        if len(keys) <= INLINE_ITEMS and sum(key.size for key in keys) <= INLINE_BYTES:
            return self._read_all(keys, max_bytes)
        return await self._threads.hop(self._read_all, keys, max_bytes)

    def _read_all(self, keys: Sequence[Key], max_bytes: int) -> Mapping[Key, bytes | RemexError]:
        values: dict[Key, bytes | RemexError] = {}
        read_whole = self._directory.read_whole
        for key in keys:
            try:
                values[key] = read_whole(key, max_bytes)
            except RemexError as error:
                values[key] = error
        return values

    async def write_batch(self, items: Sequence[tuple[Key, bytes]]) -> Mapping[Key, RemexError]:
        put_all = self._directory.put_all
        size = sum(len(data) for _, data in items)
        async with self._room.claim() as claim:
            try:
                await claim.grow(size)
            except RemexError as error:
                return {key: error for key, _ in items}
            if len(items) <= INLINE_ITEMS and size <= self._inline:
                return put_all(items)
            return await self._threads.hop(put_all, items)

    # ---- LocalFiles

    async def link_into(self, plan: LinkPlan) -> frozenset[Key]:
        return await self._threads.hop(links.make, plan, self._directory)

    async def adopt(self, key: Key, path: Path) -> None:
        async with self._room.claim() as claim:
            await claim.grow(key.size)
            await self._threads.hop(self._directory.adopt, key, str(path))

    def verify_links(self, plan: LinkPlan) -> frozenset[Key]:
        # What counts are the store's own files: a link that was replaced harms nobody.
        which = {(file.key, file.executable) for file in plan.files}
        is_tampered = self._directory.is_tampered
        return frozenset(
            key for key, executable in which if is_tampered(key, executable=executable)
        )

    @property
    def work_root(self) -> Path:
        return Path(self._directory.layout.work)
