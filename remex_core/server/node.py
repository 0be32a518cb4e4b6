"""One serving process: its roles put together, from the stores up to the listeners.

The way of a request through this file is the way through the house: listener, services,
instances, stores; and for actions: execution service, scheduler, worker session, worker.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from remex_core.clock import SYSTEM
from remex_core.errors import FailedPrecondition
from remex_core.server.flags import Role
from remex_core.server.instances import make_instances
from remex_core.server.store_metrics import StoreMetrics
from remex_core.server.store_probe import StoreProbe
from remex_core.services.action_cache import ActionCacheService
from remex_core.services.admin import AdminService
from remex_core.services.bytestream import ByteStreamService
from remex_core.services.capabilities import CapabilitiesService
from remex_core.services.cas import CasService
from remex_core.services.execution import ExecutionService
from remex_core.services.health import HealthService
from remex_core.services.operations import OperationsService
from remex_core.services.reflection import ReflectionService
from remex_core.services.worker_api import WorkerApiService, wrong_port
from remex_core.store.build import StoreChecker, StoreTrees
from remex_core.store.contract import Content
from remex_core.telemetry.metrics import Registry as MetricsRegistry
from remex_core.wire.compose import compose
from remex_core.wire.transport import Listener, Target
from remex_core.worker.executor import Limits
from remex_core.worker.options import WorkerOptions
from remex_core.worker.worker import Worker, work_root_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from opentelemetry.trace import Tracer

    from remex_core.clock import Clock
    from remex_core.plugins.registry import Registry
    from remex_core.scheduler.engine import Scheduler
    from remex_core.server.settings import Settings
    from remex_core.services.instances import Instances
    from remex_core.store.contract import Store
    from remex_core.wire.call import Handler
    from remex_core.wire.methods import Method
    from remex_core.wire.transport import Channel, Route, Server, Transport
    from remex_core.worker.executor import Runner

log = logging.getLogger("remex.server")

INPROC_WORKER_API: Final = "inproc:worker-api"
_DRAIN_SECONDS: Final = 8.0

_Handlers = dict["Method[Any, Any]", "Handler"]


@dataclass(slots=True)
class Addresses:
    """Where this process really listens; empty where it does not."""

    public: str = ""
    worker_api: str = ""
    http: str = ""


@dataclass(frozen=True, slots=True)
class _ExecutorContext:
    """What an executor's `build` may use; see `plugins.descriptors.ExecutorContext`."""

    clock: Clock
    work_root: Path
    runner: Runner


@dataclass(slots=True)
class Node:
    """A serving process.

    `start` makes and starts everything, in the order of dependence; `drain` lets what runs end;
    leaving the context closes it all in reverse. `runner` is the process that starts actions,
    started before anything heavy was imported; None where no worker is. `tracer` makes spans of
    calls; None makes none.
    """

    settings: Settings
    plugins: Registry
    runner: Runner | None
    tracer: Tracer | None = None
    addresses: Addresses = field(default_factory=Addresses)
    failed: asyncio.Event = field(default_factory=asyncio.Event)
    failure: BaseException | None = None
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _metrics: MetricsRegistry = field(default_factory=MetricsRegistry)
    _servers: list[Server] = field(default_factory=list)
    _scheduler: Scheduler | None = None
    _inside: Transport | None = None
    _probe: StoreProbe | None = None
    _worker: Worker | None = None
    _worker_task: asyncio.Task[None] | None = None
    _health: HealthService = field(default_factory=HealthService)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def start(self) -> None:
        """Starts every role.

        Raises:
            RemexError: if something cannot be had: a store, an address, a plugin.
        """
        trees = await self._stack.enter_async_context(self._trees())
        self._metrics.before_scrape(StoreMetrics(self._metrics, trees.counters).collect)
        transport = self.plugins.transport(self.settings.transport).build()
        cas = None
        if self.settings.roles & {Role.CAS, Role.SCHEDULER}:
            cas = await trees.store("cas", Content.CAS)
            instances = await make_instances(
                self.settings.config, trees, executes=Role.SCHEDULER in self.settings.roles
            )
            await self._serve_clients(instances, transport)
        if Role.WORKER in self.settings.roles:
            await self._start_worker(trees, cas, transport)
        if Role.CAS not in self.settings.roles:
            self._probe_cas(cas if cas is not None else await trees.store("worker", Content.CAS))
        if self.settings.listen.http:
            await self._serve_http()

    async def drain(self) -> None:
        """Lets actions and open calls end, each for a while; new ones are refused."""
        self._health.end()
        if self._scheduler is not None:
            await self._scheduler.drain(_DRAIN_SECONDS)
        if self._worker is not None and self._worker_task is not None:
            self._worker.drain()
            await asyncio.wait({self._worker_task}, timeout=_DRAIN_SECONDS)
        if self._scheduler is not None:
            # Also ends the sessions of workers, which no drain of a listener would outlast.
            await self._scheduler.close()
        await asyncio.gather(*(server.drain(_DRAIN_SECONDS) for server in self._servers))

    def readiness(self) -> Mapping[str, str]:
        """Each component, and why it is not ready; empty when it is."""
        states: dict[str, str] = {}
        if self.addresses.public:
            states["server"] = ""
        if self._scheduler is not None:
            states["scheduler"] = self._scheduler.readiness()
        if self._worker is not None:
            where = self.settings.scheduler or "the scheduler"
            states["worker"] = "" if self._worker.connected else f"not connected to {where}"
        if self._probe is not None:
            states["cas"] = self._probe.reason
        return states

    def _trees(self) -> StoreTrees:
        checker = StoreChecker(
            self.plugins.stores, self.settings.config.store_nodes, self.plugins.explain_store
        )
        return StoreTrees(checker, SYSTEM, self.settings.data_dir, self._connect)

    async def _connect(self, address: str) -> Channel:
        transport = self.plugins.transport(self.settings.transport).build()
        return await transport.connect(Target(address))

    async def _serve_clients(self, instances: Instances, transport: Transport) -> None:
        handlers = await self._client_handlers(instances)
        if Role.SCHEDULER in self.settings.roles:
            scheduler = await self._start_scheduler(instances)
            handlers |= ExecutionService(instances, scheduler).handlers()
            handlers |= OperationsService(scheduler).handlers()
            await self._serve_workers(scheduler, transport)
            handlers |= wrong_port(self.addresses.worker_api)
        admin = AdminService(
            sorted(self.settings.roles), self.settings.transport, SYSTEM, self._scheduler
        )
        handlers |= admin.handlers()
        handlers |= self._health.handlers()
        handlers |= ReflectionService(handlers).handlers()
        server = await self._serve(transport, self.settings.listen.public, handlers)
        self.addresses.public = server.address

    async def _client_handlers(self, instances: Instances) -> _Handlers:
        bytestream = ByteStreamService(instances)
        self._stack.push_async_callback(bytestream.close)
        return {
            **CapabilitiesService(instances).handlers(),
            **CasService(instances).handlers(),
            **bytestream.handlers(),
            **ActionCacheService(instances).handlers(),
        }

    async def _start_scheduler(self, instances: Instances) -> Scheduler:
        from remex_core.server.scheduling import make_scheduler

        scheduler = make_scheduler(self.settings.config.scheduler, self.plugins, instances)
        await scheduler.start()
        self._stack.push_async_callback(scheduler.close)
        self._scheduler = scheduler
        return scheduler

    async def _serve_workers(self, scheduler: Scheduler, transport: Transport) -> None:
        service = WorkerApiService(scheduler)
        handlers = {**service.handlers(), **self._health.handlers()}
        server = await self._serve(transport, self.settings.listen.worker_api, handlers)
        self.addresses.worker_api = server.address
        if Role.WORKER in self.settings.roles:
            self._inside = self.plugins.transport("inproc").build()
            routes = self._routes(service.handlers())
            local = await self._inside.serve(Listener(INPROC_WORKER_API), routes)
            self._stack.push_async_callback(local.close)

    async def _serve(self, transport: Transport, address: str, handlers: _Handlers) -> Server:
        server = await transport.serve(Listener(address), self._routes(handlers))
        self._stack.push_async_callback(server.close)
        self._servers.append(server)
        return server

    def _routes(self, handlers: Mapping[Method[Any, Any], Handler]) -> dict[str, Route]:
        return compose(handlers, registry=self._metrics, tracer=self.tracer)

    async def _start_worker(
        self, trees: StoreTrees, cas: Store | None, transport: Transport
    ) -> None:
        config = self.settings.config.worker
        if self.runner is None:
            raise FailedPrecondition("A worker needs the runner process, and none was started.")
        own = config.store is not None or cas is None
        store = await trees.store("worker", Content.CAS) if own else cas
        assert store is not None
        work_root = config.work_dir or work_root_of(store, self.settings.data_dir / "work")
        kind, spec = self.plugins.validate(
            self.plugins.executors, config.executor.kind, config.executor.options, "executor"
        )
        executor = await kind.build(spec, _ExecutorContext(SYSTEM, work_root, self.runner))
        self._stack.push_async_callback(executor.close)
        address = self.settings.scheduler
        inside = self._inside

        async def connect() -> Channel:
            if inside is not None:
                return await inside.connect(Target(INPROC_WORKER_API))
            return await transport.connect(Target(address))

        options = WorkerOptions(
            name=self.settings.worker_name,
            incarnation=uuid.uuid4().hex,
            work_root=work_root,
            slots=self.settings.slots,
            prefetch=config.prefetch,
            properties=self.settings.properties,
            instances=config.instances,
            limits=Limits(**config.limits.model_dump()),
            scheduler=address or "the scheduler of this process",
        )
        self._worker = Worker(options, store, connect, executor)
        self._worker_task = asyncio.create_task(self._run_worker(self._worker))
        self._stack.push_async_callback(self._stop_worker)

    def _probe_cas(self, store: Store) -> None:
        self._probe = StoreProbe(store)
        task = asyncio.create_task(self._probe.run())
        self._stack.callback(task.cancel)

    async def _run_worker(self, worker: Worker) -> None:
        try:
            await worker.run()
        except Exception as error:  # noqa: BLE001 - told to whoever waits for this process
            self.failure = error
            self.failed.set()

    async def _stop_worker(self) -> None:
        if self._worker_task is not None:
            self._worker_task.cancel()
            with suppress(asyncio.CancelledError):
                await self._worker_task

    async def _serve_http(self) -> None:
        from remex_core.web.pages import Pages
        from remex_core.web.server import serve

        pages = Pages(
            roles=sorted(self.settings.roles),
            readiness=self.readiness,
            metrics=self._metrics.render,
            public=self.addresses.public,
            executes=Role.SCHEDULER in self.settings.roles,
            worker_api=self.addresses.worker_api,
        )
        web = await serve(self.settings.listen.http, pages)
        self._stack.push_async_callback(web.close)
        self.addresses.http = web.address
