"""remex.admin.v1: what operators ask of a running remex."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from remex_core import __version__
from remex_core.errors import NotFound, OperationNotFound
from remex_core.proto import admin
from remex_core.scheduler.explain import explain
from remex_core.scheduler.groups import Group, Phase
from remex_core.wire import methods

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from remex_core.clock import Clock
    from remex_core.scheduler.engine import Scheduler
    from remex_core.scheduler.records import OperationRecord
    from remex_core.wire.call import Call, Handler
    from remex_core.wire.methods import Method

_MAX_PAGE: Final = 1000


class AdminService:
    """Answers for one process: any role has a status, a scheduler also workers and a queue."""

    def __init__(
        self, roles: Sequence[str], transport: str, clock: Clock, scheduler: Scheduler | None
    ) -> None:
        self._roles = list(roles)
        self._transport = transport
        self._clock = clock
        self._started_at = clock.monotonic()
        self._scheduler = scheduler

    def handlers(self) -> Mapping[Method[Any, Any], Handler]:
        """The handlers by method; without a scheduler only those that make sense."""
        if self._scheduler is None:
            return {methods.GET_STATUS: self.get_status}
        service = _SchedulerAdmin(self._scheduler)
        return {
            methods.GET_STATUS: self.get_status,
            methods.LIST_WORKERS: service.list_workers,
            methods.LIST_QUEUE: service.list_queue,
            methods.EXPLAIN_OPERATION: service.explain_operation,
            methods.DRAIN_WORKER: service.drain_worker,
        }

    async def get_status(self, _call: Call, _request: admin.GetStatusRequest) -> admin.Status:
        """What this process is and how it is doing."""
        status = admin.Status(
            version=__version__,
            roles=self._roles,
            uptime_seconds=self._clock.monotonic() - self._started_at,
            transport=self._transport,
        )
        scheduler = self._scheduler
        if scheduler is not None:
            groups = scheduler.state.groups.values()
            status.scheduler_epoch = scheduler.epoch
            status.queued = scheduler.state.queued
            status.running = sum(group.phase is Phase.LEASED for group in groups)
            status.workers = len(scheduler.state.fleet.workers)
        return status


class _SchedulerAdmin:
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    async def list_workers(
        self, _call: Call, _request: admin.ListWorkersRequest
    ) -> admin.ListWorkersResponse:
        """Every worker that the scheduler counts on."""
        response = admin.ListWorkersResponse()
        for worker in self._scheduler.state.fleet.workers.values():
            entry = response.workers.add(
                name=worker.name,
                incarnation=worker.incarnation,
                slots=worker.slots,
                running=worker.leases,
                draining=worker.draining,
                last_error=worker.unhealthy,
            )
            for name, values in sorted(worker.properties.items()):
                for value in sorted(values):
                    entry.properties.add(name=name, value=value)
            connection = self._scheduler.connections.get(worker.name, worker.incarnation)
            if connection is not None:
                entry.last_seen.FromNanoseconds(int(connection.heard_at * 1e9))
        return response

    async def list_queue(
        self, _call: Call, request: admin.ListQueueRequest
    ) -> admin.ListQueueResponse:
        """Operations that are not done, the oldest first, with what each waits for."""
        limit = min(request.page_size if request.page_size > 0 else _MAX_PAGE, _MAX_PAGE)
        response = admin.ListQueueResponse()
        for record in self._scheduler.operations():
            if record.is_done:
                continue
            if len(response.operations) == limit:
                break
            state, explanation = self._explain(record)
            entry = response.operations.add(
                name=record.name,
                action_digest=f"{record.spec.key.hash}/{record.spec.key.size}",
                instance=record.spec.instance,
                state=state,
                explanation=explanation,
            )
            entry.queued_at.FromNanoseconds(int(record.created_at * 1e9))
        return response

    async def explain_operation(
        self, _call: Call, request: admin.ExplainOperationRequest
    ) -> admin.ExplainOperationResponse:
        """What one operation waits for."""
        record = self._scheduler.operation(request.operation)
        if record is None:
            raise OperationNotFound(f"There is no operation {request.operation!r}.")
        state, explanation = self._explain(record)
        return admin.ExplainOperationResponse(state=state, explanation=explanation)

    async def drain_worker(
        self, _call: Call, request: admin.DrainWorkerRequest
    ) -> admin.DrainWorkerResponse:
        """Gives a worker nothing more; it leaves when it has finished what it holds."""
        if request.name not in self._scheduler.state.fleet.workers:
            names = ", ".join(sorted(self._scheduler.state.fleet.workers)) or "none"
            raise NotFound(f"There is no worker {request.name!r}; there are: {names}.")
        self._scheduler.drain_worker(request.name)
        return admin.DrainWorkerResponse()

    def _explain(self, record: OperationRecord) -> tuple[admin.OperationState, str]:
        state = self._scheduler.state
        group = state.operations.group_of(record.name)
        if group is None:
            return admin.COMPLETED, "It is complete."
        return _state(group), explain(group, state.fleet)


def _state(group: Group) -> admin.OperationState:
    shape = group.shape
    if group.phase in {Phase.LEASED, Phase.STORING}:
        return admin.RUNNING
    if group.phase is not Phase.QUEUED or shape is None:
        return admin.WAITING_FOR_CAPACITY if group.phase is Phase.RESTING else admin.RUNNABLE
    if not shape.workers:
        return admin.UNSATISFIABLE
    return admin.RUNNABLE if shape.has_room else admin.WAITING_FOR_CAPACITY
