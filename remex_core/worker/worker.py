"""The worker: joins a scheduler, runs what it is given, and leaves when told to."""

from __future__ import annotations

import asyncio
import logging
from random import Random
from typing import TYPE_CHECKING

from remex_core.clock import SYSTEM
from remex_core.errors import ConfigError, FailedPrecondition
from remex_core.store import ops
from remex_core.store.contract import LocalFiles
from remex_core.worker.leases import Leases
from remex_core.worker.options import Terms
from remex_core.worker.pipeline import Pipeline
from remex_core.worker.properties import resolve
from remex_core.worker.session import Session
from remex_core.worker.work_directory import WorkDirectory, remove_dead

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from remex_core.clock import Clock
    from remex_core.store.contract import Store
    from remex_core.wire.transport import Channel
    from remex_core.worker.executor import Executor
    from remex_core.worker.options import WorkerOptions

log = logging.getLogger("remex.worker")


def work_root_of(store: Store, fallback: Path) -> Path:
    """Where work directories belong: on the mount of the local store, if there is one."""
    local = ops.capability(store, LocalFiles)
    return fallback if local is None else local.work_root


class Worker:
    """One worker of one scheduler.

    It closes neither `store` nor `executor`: whoever made them does.

    Args:
        options: who it is and how much it does at once.
        store: the CAS: where inputs come from and outputs go.
        connect: makes a channel to the scheduler's worker API; called for every session, and the
            channel is closed after it.
        executor: what runs commands.
        clock: what time it is.
        random: spreads the attempts of many workers to come back.
    """

    def __init__(
        self,
        options: WorkerOptions,
        store: Store,
        connect: Callable[[], Awaitable[Channel]],
        executor: Executor,
        clock: Clock = SYSTEM,
        random: Random | None = None,
    ) -> None:
        self._options = options
        self._store = store
        self._executor = executor
        self._clock = clock
        self._terms = Terms()
        self._known: Mapping[str, Sequence[str]] = {}
        self._is_fresh = False
        self._session = Session(
            options,
            connect,
            self._properties,
            self._terms,
            clock,
            random or Random(),  # noqa: S311 - it spreads load, it guards nothing
        )

    @property
    def connected(self) -> bool:
        """Whether the scheduler has welcomed this worker, and the stream still stands."""
        return self._session.connected

    def drain(self) -> None:
        """Takes nothing more; `run` returns when what it holds is finished and handed over."""
        self._session.drain()

    async def run(self) -> None:
        """Works until drained, or cancelled: then everything that runs is killed first.

        Raises:
            ConfigError: if a platform property's command fails at the start.
            FailedPrecondition: if the executor cannot work here, or the scheduler refuses this
                worker for good.
            OSError: if the work directory cannot be made.
        """
        self._known = await self._resolve()
        self._is_fresh = True
        work = await asyncio.to_thread(self._open_work_directory)
        try:
            await self._work(work)
        finally:
            await asyncio.to_thread(work.close)

    async def _work(self, work: WorkDirectory) -> None:
        pipeline = Pipeline(
            self._options, self._store, self._executor, work, self._terms, self._clock
        )
        leases = Leases(pipeline.execute, self._session.changed, self._session.finished)
        try:
            await self._session.run(leases)
        finally:
            await leases.cancel_all()
            await pipeline.close()

    def _open_work_directory(self) -> WorkDirectory:
        options = self._options
        options.work_root.mkdir(parents=True, exist_ok=True)
        removed = remove_dead(options.work_root)
        if removed:
            log.info("removed the work directories of %d worker(s) that no longer live", removed)
        return WorkDirectory(options.work_root, options.incarnation)

    async def _properties(self) -> Mapping[str, Sequence[str]]:
        """The properties for a new session: asked for again, kept where that fails now."""
        if self._is_fresh:
            self._is_fresh = False
            return self._known
        try:
            self._known = await self._resolve()
        except (ConfigError, FailedPrecondition) as error:
            log.warning("%s The properties of before are kept.", error.message)
        return self._known

    async def _resolve(self) -> Mapping[str, Sequence[str]]:
        return await resolve(self._options.properties, await self._executor.offers())
