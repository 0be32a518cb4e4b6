"""The scheduler as a pure machine: events go in, commands come out, and nothing else happens.

`SchedulerState.handle(event, now)` reads no clock, draws no random number and does no I/O, so
that every behaviour can be shown by a list of events. Work per event is O(shapes + log queue).

At most one attempt of a group is live. Its result is the only one that counts; what anybody says
of another lease is acknowledged, so that the worker forgets it, and otherwise ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from remex_core.errors import Code
from remex_core.scheduler import commands as do
from remex_core.scheduler import events as on
from remex_core.scheduler.dispatch import Dispatcher
from remex_core.scheduler.explain import explain_loss, unsatisfiable
from remex_core.scheduler.groups import Group, Phase
from remex_core.scheduler.operations import Operations
from remex_core.scheduler.workers import Fleet, Shape, Worker

if TYPE_CHECKING:
    from remex_core.digest import Key
    from remex_core.scheduler.options import SchedulerOptions
    from remex_core.scheduler.policy import OrderPolicy, PlacementPolicy

_MAX_IDLE_SHAPES: Final = 256
_STATEMENT_GRACE: Final = 5.0
"""A statement may have crossed a lease on its way; one that is younger than this is believed in."""


class SchedulerState:
    """All that the scheduler knows.

    Args:
        options: the site's tunables.
        order: which job is next; replaced by fifo if it fails.
        placement: which worker takes it; replaced by least_recently_used if it fails.
        epoch: the number of this scheduler's life; every attempt carries it.
    """

    def __init__(
        self,
        options: SchedulerOptions,
        order: OrderPolicy,
        placement: PlacementPolicy,
        epoch: int = 1,
    ) -> None:
        self._options = options
        self.epoch = epoch
        self.fleet = Fleet(options.rules)
        self.groups: dict[str, Group] = {}
        self.operations = Operations(options.retain_seconds, options.retain_operations)
        self.dispatcher = Dispatcher(self.fleet, order, placement, epoch)
        self._merging: dict[tuple[str, Key], str] = {}
        self._touched_at = 0.0
        self._commands: list[do.Command] = []

    def handle(self, event: on.Event, now: float) -> list[do.Command]:
        """What has to be done, in this order, because of `event` at `now` (seconds)."""
        self._commands = []
        match event:
            case on.Submitted():
                self._submitted(event, now)
            case on.LookedUp():
                self._looked_up(event, now)
            case on.WorkerJoined():
                self._joined(event, now)
            case on.WorkerStated():
                self._stated(event, now)
            case on.Completed():
                self._completed(event, now)
            case on.WorkerLost():
                worker = self._worker(event.name, event.incarnation)
                if worker is not None:
                    self._lose(worker, event.reason, now)
            case on.DrainRequested():
                self._drain(event.name)
            case on.Cancelled():
                self._cancelled(event, now)
            case on.Forgotten():
                if self.operations.forget(event.operation):
                    self._do(do.Expire((event.operation,)))
            case on.Tick():
                self._tick(event, now)
        return self._commands

    # Clients.

    def _submitted(self, event: on.Submitted, now: float) -> None:
        spec = event.spec
        identity = (spec.instance, spec.key)
        group = self.groups.get(self._merging.get(identity, "")) if spec.merges else None
        if group is None:
            group = self._new_group(event, now)
            if spec.merges:
                # Registered before the look-up, so that no twin slips in between.
                self._merging[identity] = group.id
        group.operations[event.operation] = None
        self.operations.add(event.operation, group.id)
        if not spec.looks_up:
            group.accepts_hit = False
        self._do(do.Publish((event.operation,), _stage(group)))
        if event.group == group.id:
            if spec.looks_up:
                self._do(do.LookUp(group.id))
            else:
                self._admit(group, now)

    def _new_group(self, event: on.Submitted, now: float) -> Group:
        shape = self.fleet.intern(event.spec.instance, event.spec.requirement, now)
        group = Group(event.group, event.spec, shape.number, now, Phase.LOOKING_UP)
        self.groups[group.id] = group
        shape.groups.add(group.id)
        return group

    def _looked_up(self, event: on.LookedUp, now: float) -> None:
        group = self.groups.get(event.group)
        if group is None or group.phase is not Phase.LOOKING_UP:
            return
        if event.hit and group.accepts_hit:
            self._finish(group, do.Ending.CACHED, now)
            return
        self._admit(group, now)

    def _admit(self, group: Group, now: float) -> None:
        self._do(do.Persist((do.Row("queued", group.id),)))
        self._queue(group, now)
        self._dispatch(self.fleet.shapes[group.shape], now)

    def _cancelled(self, event: on.Cancelled, now: float) -> None:
        group = self.groups.get(self.operations.group_of(event.operation) or "")
        if group is None or event.operation not in group.operations:
            return
        if len(group.operations) > 1:
            del group.operations[event.operation]
            self.operations.finish(event.operation, now)
            self._do(
                do.Finish(
                    (event.operation,),
                    group.id,
                    do.Ending.CANCELLED,
                    Code.CANCELLED,
                    "cancelled by the client",
                    group_ended=False,
                )
            )
            return
        lease = group.lease
        if lease is not None:
            self._do(
                do.Revoke(
                    lease.worker, lease.incarnation, lease.id, "cancelled by the client", kill=True
                )
            )
        self._finish(
            group, do.Ending.CANCELLED, now, code=Code.CANCELLED, message="cancelled by the client"
        )
        if lease is not None:
            self._fill(lease.worker, now)

    # Workers.

    def _joined(self, event: on.WorkerJoined, now: float) -> None:
        known = self.fleet.workers.get(event.name)
        if known is not None and known.incarnation == event.incarnation:
            known.seen_at = now
            self._fill(known.name, now)
            return
        if known is not None:
            self._lose(known, "it was started anew", now)
        worker = Worker(
            event.name,
            event.incarnation,
            event.properties,
            event.slots,
            event.prefetch,
            event.instances,
            now,
        )
        self.fleet.join(worker)
        self._fill(worker.name, now)

    def _stated(self, event: on.WorkerStated, now: float) -> None:
        worker = self._worker(event.name, event.incarnation)
        if worker is None:
            self._do(do.Dismiss(event.name, event.incarnation, "its leases were given away"))
            return
        worker.seen_at = now
        worker.draining = worker.draining or event.draining
        worker.unhealthy = event.unhealthy
        for lease_id, group_id in list(worker.leases.items()):
            group = self.groups[group_id]
            assert group.lease is not None
            state = event.leases.get(lease_id)
            if state is not None:
                self._progressed(group, state)
            elif now - group.lease.leased_at > _STATEMENT_GRACE:
                self._requeue(group, "its worker no longer has it", now)
        self.fleet.refresh(worker)
        self._fill(worker.name, now)

    def _progressed(self, group: Group, state: on.LeaseState) -> None:
        lease = group.lease
        assert lease is not None
        was, lease.state = lease.state, state
        if state.value >= on.LeaseState.RUNNING.value > was.value:
            self.dispatcher.settled(group)
            self._do(do.Publish(tuple(group.operations), do.Stage.EXECUTING))

    def _completed(self, event: on.Completed, now: float) -> None:
        worker = self._worker(event.name, event.incarnation)
        if worker is not None:
            worker.seen_at = now
        group = self._live(event.name, event.incarnation, event.lease)
        if group is not None:
            self._conclude(group, event, now)
        self._do(do.Acknowledge(event.name, event.incarnation, event.lease))
        self._fill(event.name, now)

    def _conclude(self, group: Group, event: on.Completed, now: float) -> None:
        if event.succeeded or event.culprit is on.Culprit.ACTION:
            self._finish(group, do.Ending.RAN, now)
        elif event.revoked:
            self._requeue(group, "it was taken back", now)
        elif event.culprit is on.Culprit.CAS:
            group.cas_failures += 1
            if group.cas_failures >= self._options.max_cas_failures:
                self._finish(
                    group,
                    do.Ending.FAILED,
                    now,
                    code=Code.UNAVAILABLE,
                    message=f"the content-addressable storage failed: {event.reason}",
                )
            else:
                self._requeue(group, event.reason, now)
        else:
            self._blame_worker(group, event.name, event.reason, now)

    def _lose(self, worker: Worker, reason: str, now: float) -> None:
        self._do(do.Dismiss(worker.name, worker.incarnation, reason))
        groups = [self.groups[group] for group in worker.leases.values()]
        worker.draining = True
        self.fleet.refresh(worker)
        for group in groups:
            self._blame_worker(group, worker.name, reason, now)
        self.fleet.leave(worker, now)

    def _blame_worker(self, group: Group, worker: str, reason: str, now: float) -> None:
        group.failures += 1
        group.bad_workers.add(worker)
        group.last_reason = f"worker {worker}: {reason}"
        if group.failures < self._options.max_attempts:
            self._requeue(group, reason, now)
            return
        self._finish(
            group,
            do.Ending.FAILED,
            now,
            code=Code.UNAVAILABLE,
            message=explain_loss(group.failures, group.last_reason),
        )

    def _drain(self, name: str) -> None:
        worker = self.fleet.workers.get(name)
        if worker is not None:
            worker.draining = True
            self.fleet.refresh(worker)

    # The queue.

    def _queue(self, group: Group, now: float) -> None:
        group.phase = Phase.QUEUED
        self.dispatcher.push(group, now)
        self._do(do.Publish(tuple(group.operations), do.Stage.QUEUED))

    def _requeue(self, group: Group, reason: str, now: float) -> None:
        attempt = group.attempts
        self._release(group)
        group.last_reason = group.last_reason or reason
        self._do(do.Persist((do.Row("requeued", group.id, attempt),)))
        self._queue(group, now)
        self._dispatch(self.fleet.shapes[group.shape], now)

    def _release(self, group: Group) -> None:
        """Ends the live attempt, whatever its worker thinks of it."""
        lease = group.lease
        if lease is None:
            return
        self.dispatcher.settled(group)
        group.lease = None
        worker = self._worker(lease.worker, lease.incarnation)
        if worker is not None:
            self.fleet.give_back(worker, lease.id, self.fleet.shapes[group.shape])

    def _dispatch(self, shape: Shape, now: float) -> None:
        self._commands += self.dispatcher.dispatch(shape, self.groups, now)

    def _fill(self, name: str, now: float) -> None:
        """Gives a worker that has room what it can take."""
        worker = self.fleet.workers.get(name)
        if worker is None or worker.room <= 0:
            return
        for number in sorted(worker.shapes):
            if self.fleet.shapes[number].groups:
                self._dispatch(self.fleet.shapes[number], now)
        if worker.free_slots > 0:
            self._commands += self.dispatcher.rebalance(worker, self.groups)

    def _finish(
        self,
        group: Group,
        ending: do.Ending,
        now: float,
        *,
        code: Code | None = None,
        message: str = "",
        explanation: str = "",
    ) -> None:
        if group.phase is Phase.QUEUED:
            self.dispatcher.remove(group)
        self._release(group)
        identity = (group.spec.instance, group.spec.key)
        if self._merging.get(identity) == group.id:
            del self._merging[identity]
        self.fleet.shapes[group.shape].groups.discard(group.id)
        del self.groups[group.id]
        operations = tuple(group.operations)
        for operation in operations:
            self.operations.finish(operation, now)
        if ending is not do.Ending.CACHED:
            self._do(do.Persist((do.Row("finished", group.id, group.attempts),)))
        self._do(do.Finish(operations, group.id, ending, code, message, explanation))

    # Time.

    def _tick(self, event: on.Tick, now: float) -> None:
        limit = self._options.lease_timeout + event.lag
        for worker in list(self.fleet.workers.values()):
            silent = now - worker.seen_at
            if silent > limit:
                self._lose(worker, f"nothing was heard of it for {silent:.0f} s", now)
        for shape in list(self.fleet.shapes.values()):
            self._tick_shape(shape, now)
        expired = self.operations.expire(now)
        if expired:
            self._do(do.Expire(expired))
        if now - self._touched_at >= self._options.touch_interval:
            self._touched_at = now
            if self.groups:
                self._do(do.Touch(tuple(self.groups)))

    def _tick_shape(self, shape: Shape, now: float) -> None:
        if not shape.groups:
            if len(self.fleet.shapes) > _MAX_IDLE_SHAPES:
                self.fleet.drop_shape(shape)
            return
        if shape.barren_since is None:
            return
        due = now - self._options.unsatisfiable_grace
        overdue = [
            group
            for group in (self.groups[name] for name in shape.groups)
            if group.phase is Phase.QUEUED and max(shape.barren_since, group.submitted_at) <= due
        ]
        if overdue:
            refusal = unsatisfiable(shape, self.fleet)
            for group in overdue:
                self._finish(
                    group,
                    do.Ending.FAILED,
                    now,
                    code=refusal.code,
                    message=refusal.message,
                    explanation=refusal.explanation,
                )

    # Looking things up.

    def _live(self, name: str, incarnation: str, lease: str) -> Group | None:
        """The group whose live attempt this lease is."""
        worker = self._worker(name, incarnation)
        group = self.groups.get(worker.leases.get(lease, "")) if worker is not None else None
        return group if group is not None and group.lease and group.lease.id == lease else None

    def live_group(self, name: str, incarnation: str, lease: str) -> Group | None:
        """The group that waits for the result of this very lease, or None."""
        return self._live(name, incarnation, lease)

    def _worker(self, name: str, incarnation: str) -> Worker | None:
        worker = self.fleet.workers.get(name)
        return worker if worker is not None and worker.incarnation == incarnation else None

    def _do(self, command: do.Command) -> None:
        self._commands.append(command)

    @property
    def queued(self) -> int:
        """How many groups wait for a worker."""
        return self.dispatcher.queued

    def validate(self) -> None:
        """Raises AssertionError if an invariant is broken; for tests."""
        for group in self.groups.values():
            assert group.operations, f"{group.id} runs for nobody"
            assert (group.phase is Phase.LEASED) == (group.lease is not None), group
            shape = self.fleet.shapes[group.shape]
            assert group.id in shape.groups
            if group.lease is not None:
                worker = self.fleet.workers[group.lease.worker]
                assert worker.leases[group.lease.id] == group.id
                assert worker.name in shape.workers, "leased to a worker that does not match"
            for operation in group.operations:
                assert self.operations.group_of(operation) == group.id
        for worker in self.fleet.workers.values():
            assert len(worker.leases) <= worker.slots + worker.prefetch
            for lease, name in worker.leases.items():
                live = self.groups[name].lease
                assert live is not None
                assert live.id == lease
        for identity, name in self._merging.items():
            assert (self.groups[name].spec.instance, self.groups[name].spec.key) == identity
        assert self.queued == sum(g.phase is Phase.QUEUED for g in self.groups.values())


def _stage(group: Group) -> do.Stage:
    if group.phase is Phase.LOOKING_UP:
        return do.Stage.CACHE_CHECK
    lease = group.lease
    started = lease is not None and lease.state.value >= on.LeaseState.RUNNING.value
    return do.Stage.EXECUTING if started else do.Stage.QUEUED
