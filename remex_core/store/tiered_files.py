"""`LocalFiles` over two tiers: what a plan needs and the local tier lacks is fetched first."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from remex_core.errors import BlobNotFound, RemexError, StoreFull
from remex_core.store import ops
from remex_core.store.contract import LinkPlan, LocalFiles
from remex_core.store.pieces import PIECE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
    from pathlib import Path

    from remex_core.digest import Key
    from remex_core.store.fast_slow import FastSlowStore

BATCH_BYTES: Final = 4_000_000
BATCH_KEYS: Final = 1000
BATCHES_AT_ONCE: Final = 8
_ROUNDS: Final = 3
_INLINE_BYTES: Final = 64 * 1024


class TieredFiles(LocalFiles):
    """The files of the fast tier, with the slow tier behind them.

    Small blobs are fetched in batches, large ones one by one, all in parallel and each of them
    once, however many plans wait for it.
    """

    def __init__(self, tiers: FastSlowStore, local: LocalFiles) -> None:
        self._tiers = tiers
        self._local = local
        self._batches: dict[Key, asyncio.Task[frozenset[Key]]] = {}
        self._batch_slots = asyncio.Semaphore(BATCHES_AT_ONCE)

    async def link_into(self, plan: LinkPlan) -> frozenset[Key]:
        missing = await self._local.link_into(plan)
        absent: frozenset[Key] = frozenset()
        for _ in range(_ROUNDS):
            if not missing:
                return absent
            absent |= await self._fetch(missing)
            wanted = missing - absent
            files = [file for file in plan.files if file.key in wanted]
            if files:
                missing = await self._local.link_into(LinkPlan(plan.root, plan.directories, files))
            else:
                missing = frozenset()
        if missing:
            raise StoreFull(
                f"{len(missing)} of the {len(plan.files)} files of an input root were fetched and "
                f"evicted again before they could be linked.",
                hint="Give the worker's local store more room: raise its max_bytes.",
            )
        return absent

    async def adopt(self, key: Key, path: Path) -> None:
        for error in (await self.adopt_many(((key, path),))).values():
            raise error

    async def adopt_many(self, files: Sequence[tuple[Key, Path]]) -> Mapping[Key, RemexError]:
        if not self._tiers.slow_direction.takes_writes:
            return await self._local.adopt_many(files)
        paths = dict(files)
        small = [key for key in paths if key.size <= PIECE]
        uploads = [
            self._upload_batch(batch, paths)
            for batch in ops.in_batches(small, max_bytes=BATCH_BYTES, max_keys=BATCH_KEYS)
        ]
        uploads += [self._upload(key, path) for key, path in files if key.size > PIECE]
        errors: dict[Key, RemexError] = {}
        for failed in await asyncio.gather(*uploads):
            errors.update(failed)
        uploaded = [(key, path) for key, path in paths.items() if key not in errors]
        for error in (await self._local.adopt_many(uploaded)).values():
            self._tiers.degrade("adopt a file", error)
        return errors

    def verify_links(self, plan: LinkPlan) -> frozenset[Key]:
        return self._local.verify_links(plan)

    @property
    def work_root(self) -> Path:
        return self._local.work_root

    async def _upload_batch(
        self, batch: Sequence[Key], paths: Mapping[Key, Path]
    ) -> Mapping[Key, RemexError]:
        async with self._batch_slots:
            items = await _contents([(key, paths[key]) for key in batch])
            return await ops.write_many(self._tiers.slow, items)

    async def _upload(self, key: Key, path: Path) -> Mapping[Key, RemexError]:
        async with self._batch_slots:
            try:
                async with aclosing(_chunks_of(path)) as chunks:
                    await self._tiers.slow.write(key, chunks)
            except RemexError as error:
                return {key: error}
            return {}

    async def _fetch(self, keys: Iterable[Key]) -> frozenset[Key]:
        """Brings values into the fast tier; answers those that the slow tier does not have.

        Cancelling it stops waiting, not fetching: another plan may wait for the same values.

        Raises:
            RemexError: if a value is there and could not be brought.
        """
        fills = [self._tiers.fills.join(key) for key in keys if key.size > PIECE]
        small = [key for key in keys if key.size <= PIECE]
        batches = {self._batches[key] for key in small if key in self._batches}
        new = [key for key in small if key not in self._batches]
        for batch in ops.in_batches(new, max_bytes=BATCH_BYTES, max_keys=BATCH_KEYS):
            batches.add(self._start(batch))
        tasks: set[asyncio.Task[object]] = {*batches, *(fill.task for fill in fills)}
        if tasks:
            await asyncio.wait(tasks)
        absent = frozenset().union(*(task.result() for task in batches))
        for fill in fills:
            if isinstance(fill.error, BlobNotFound):
                absent |= {fill.key}
            elif fill.error is not None:
                raise fill.error
        return absent.intersection(keys)

    def _start(self, batch: Sequence[Key]) -> asyncio.Task[frozenset[Key]]:
        task = asyncio.create_task(self._fetch_batch(batch))
        self._tiers.fills.keep(task)
        for key in batch:
            self._batches[key] = task

        def forget(_: object) -> None:
            for key in batch:
                del self._batches[key]
            if not task.cancelled():
                task.exception()  # those who wait look at it, and there may be none left

        task.add_done_callback(forget)
        return task

    async def _fetch_batch(self, batch: Sequence[Key]) -> frozenset[Key]:
        async with self._batch_slots:
            found = await ops.read_many(self._tiers.slow, batch, max_bytes=BATCH_BYTES)
            absent, items = [], []
            for key, value in found.items():
                if isinstance(value, bytes):
                    items.append((key, value))
                elif isinstance(value, BlobNotFound):
                    absent.append(key)
                else:
                    raise value
            for error in (await ops.write_many(self._tiers.fast, items)).values():
                raise error
            return frozenset(absent)


async def _contents(files: Sequence[tuple[Key, Path]]) -> list[tuple[Key, bytes]]:
    """Small files, read in one thread hop; few bytes inline, since the hop would cost more."""

    def load() -> list[tuple[Key, bytes]]:
        return [(key, path.read_bytes()) for key, path in files]

    if sum([key.size for key, _ in files]) <= _INLINE_BYTES:
        return load()
    return await asyncio.to_thread(load)


async def _chunks_of(path: Path) -> AsyncGenerator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE):
            yield piece
