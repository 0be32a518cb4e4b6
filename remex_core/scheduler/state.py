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
from remex_core.scheduler.agenda import Agenda
from remex_core.scheduler.dispatch import Dispatcher
from remex_core.scheduler.explain import lost, unsatisfiable
from remex_core.scheduler.fleet import Fleet
from remex_core.scheduler.groups import Group, LiveLease, Phase
from remex_core.scheduler.invariants import check
from remex_core.scheduler.operations import Operations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from remex_core.digest import Key
    from remex_core.scheduler.options import SchedulerOptions
    from remex_core.scheduler.policy import OrderPolicy, PlacementPolicy
    from remex_core.scheduler.shapes import Shape
    from remex_core.scheduler.workers import Worker

_REST_SECONDS: Final = 0.5
_MAX_REST_SECONDS: Final = 30.0
_CANCELLED: Final = "The client cancelled the operation."


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
        self.operations = Operations(options)
        self.dispatcher = Dispatcher(self.fleet, order, placement, epoch)
        self.merging: dict[tuple[str, Key], Group] = {}
        self.storing: dict[str, Group] = {}
        self._agenda = Agenda(options.touch_interval)
        self._stalled = 0.0
        self._commands: list[do.Command] = []
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            on.Submitted: self._submitted,
            on.Rejected: self._rejected,
            on.LookedUp: self._looked_up,
            on.WorkerJoined: self._joined,
            on.WorkerStated: self._stated,
            on.WorkerDisconnected: self._disconnected,
            on.WorkerLost: self._lost,
            on.Completed: self._completed,
            on.Stored: self._stored,
            on.DrainRequested: self._drain_requested,
            on.Cancelled: self._cancelled,
            on.Forgotten: self._forgotten,
            on.Tick: self._tick,
        }

    def validate(self) -> None:
        """Raises AssertionError if an invariant is broken; for tests."""
        check(self)

    def handle(self, event: on.Event, now: float) -> list[do.Command]:
        """What has to be done, in this order, because of `event` at `now` (seconds)."""
        self._commands = []
        self._handlers[type(event)](event, now)
        return self._commands

    @property
    def queued(self) -> int:
        """How many groups wait for a worker."""
        return self.dispatcher.queued

    def live_group(self, name: str, incarnation: str, lease: str) -> Group | None:
        """The group that waits for the result of this very lease, or None."""
        held = self._lease(name, incarnation, lease)
        return None if held is None else held.group

    def _submitted(self, event: on.Submitted, now: float) -> None:
        spec = event.spec
        identity = (spec.instance, spec.key)
        group = self.merging.get(identity) if spec.merges else None
        if group is not None and group.phase is Phase.STORING and not spec.looks_up:
            # The result may be visible already, and this caller wants a newer one (EXE-09).
            group = None
        if group is None:
            self._new_group(event, now)
            return
        group.operations[event.operation] = spec.looks_up
        self.operations.add(event.operation, group)
        if group.phase is not Phase.LOOKING_UP:
            self._persist(do.FactKind.JOINED, group, (event.operation,))
        self._do(do.Publish((event.operation,), group.stage))
        if spec.priority < group.priority:
            group.priority = spec.priority
            if group.phase is Phase.QUEUED:
                self.dispatcher.withdraw(group)
                self._enqueue(group, now)

    def _new_group(self, event: on.Submitted, now: float) -> None:
        spec = event.spec
        group = Group(event.group, spec, Phase.LOOKING_UP, spec.priority)
        group.operations[event.operation] = spec.looks_up
        self.groups[group.id] = group
        self._agenda.add(group.id, now)
        self.operations.add(event.operation, group)
        if spec.merges:
            # Registered before the look-up, so that no twin slips in between.
            self.merging[spec.instance, spec.key] = group
        if spec.looks_up:
            self._do(do.Publish((event.operation,), do.Stage.CACHE_CHECK))
            self._do(do.LookUp(group.id))
        else:
            self._admit(group, now)

    def _rejected(self, event: on.Rejected, now: float) -> None:
        self.operations.keep(event.operation, now, event.weight)

    def _looked_up(self, event: on.LookedUp, now: float) -> None:
        group = self.groups.get(event.group)
        if group is None or group.phase is not Phase.LOOKING_UP:
            return
        served = tuple(name for name, cached in group.operations.items() if cached)
        if event.hit and served:
            self._finish(group, served, do.Ending.CACHED, now, weight=event.weight)
        if group.operations:
            self._admit(group, now)

    def _admit(self, group: Group, now: float) -> None:
        self._persist(do.FactKind.QUEUED, group, tuple(group.operations))
        self._enqueue(group, now)

    def _cancelled(self, event: on.Cancelled, now: float) -> None:
        group = self.operations.group_of(event.operation)
        # A result that is being stored came first; it is the answer in a moment.
        if group is None or group.phase is Phase.STORING:
            return
        if len(group.operations) == 1:
            self._abandon(group, _CANCELLED)
        self._finish(
            group,
            (event.operation,),
            do.Ending.CANCELLED,
            now,
            code=Code.CANCELLED,
            message=_CANCELLED,
        )

    def _abandon(self, group: Group, reason: str) -> None:
        """Ends what is done for a group; the worker keeps the lease until the process is dead."""
        lease = group.lease
        if group.phase is Phase.QUEUED:
            self.dispatcher.withdraw(group)
        if lease is not None:
            group.lease = lease.group = None
            self.dispatcher.settle(lease)
            self._revoke(lease, reason)

    def _forgotten(self, event: on.Forgotten, _now: float) -> None:
        if self.operations.forget(event.operation):
            self._expire((event.operation,))

    def _joined(self, event: on.WorkerJoined, now: float) -> None:
        worker = self.fleet.workers.get(event.name)
        if worker is not None and worker.incarnation != event.incarnation:
            self._lose(worker, "it was started anew", now)
            worker = None
        if worker is None:
            worker = self.fleet.join(event, self._heard(now))
        else:
            self.fleet.rejoin(worker, event, now)
            worker.heard_at = self._heard(now)
        worker.is_connected, worker.has_stated = True, False
        self.fleet.refresh(worker)

    def _stated(self, event: on.WorkerStated, now: float) -> None:
        worker = self._worker(event.name, event.incarnation)
        if worker is None:
            self._do(do.Dismiss(event.name, event.incarnation, "its leases were given away"))
            return
        is_first, worker.has_stated = not worker.has_stated, True
        worker.heard_at, worker.unhealthy = self._heard(now), event.unhealthy
        worker.draining = worker.draining or event.draining
        self.fleet.refresh(worker)
        # Leases may be on their way while the worker speaks. They are not when the stream is new,
        # nor when it has had time to deliver; and one that drains never takes them.
        settled = now if is_first or event.draining else now - self._options.statement_interval
        for lease in list(worker.leases.values()):
            state = event.leases.get(lease.id)
            if state is not None:
                self._progressed(lease, state)
            elif lease.leased_at <= settled:
                self._vanished(lease, now, is_innocent=is_first or event.draining)
        self._fill(worker, now)

    def _progressed(self, lease: LiveLease, state: on.LeaseState) -> None:
        had_started, lease.state = lease.has_started, state
        group = lease.group
        if group is None:
            if state is not on.LeaseState.DONE:
                self._revoke(lease, "nobody waits for it any more")
        elif lease.has_started and not had_started:
            self.dispatcher.settle(lease)
            self._do(do.Publish(tuple(group.operations), do.Stage.EXECUTING))

    def _vanished(self, lease: LiveLease, now: float, *, is_innocent: bool) -> None:
        """A worker does not have a lease that it was given."""
        group = self._end(lease)
        if group is None:
            return
        reason = f"worker {lease.worker.name} did not get it"
        if is_innocent:
            self._requeue(group, reason, now)
        else:
            self._blame(group, lease.worker, reason, now)

    def _disconnected(self, event: on.WorkerDisconnected, _now: float) -> None:
        worker = self._worker(event.name, event.incarnation)
        if worker is not None:
            worker.is_connected = worker.has_stated = False
            self.fleet.refresh(worker)

    def _lost(self, event: on.WorkerLost, now: float) -> None:
        worker = self._worker(event.name, event.incarnation)
        if worker is not None:
            self._lose(worker, event.reason, now)

    def _lose(self, worker: Worker, reason: str, now: float) -> None:
        self._do(do.Dismiss(worker.name, worker.incarnation, reason))
        worker.is_connected = False
        groups = [self._end(lease) for lease in list(worker.leases.values())]
        self.fleet.leave(worker, now)
        for group in groups:
            if group is not None:
                self._blame(group, worker, f"worker {worker.name} was lost: {reason}", now)

    def _drain_requested(self, event: on.DrainRequested, _now: float) -> None:
        worker = self.fleet.workers.get(event.name)
        if worker is not None:
            worker.draining = True
            self.fleet.refresh(worker)

    def _completed(self, event: on.Completed, now: float) -> None:
        lease = self._lease(event.name, event.incarnation, event.lease)
        if lease is None:
            if event.lease not in self.storing:
                self._do(do.Acknowledge(event.name, event.incarnation, event.lease))
            return
        group = self._end(lease)
        if group is None:
            self._acknowledge(lease)
        elif event.succeeded or (event.culprit is on.Culprit.ACTION and not event.revoked):
            self._accept(group, lease, event, now)
        else:
            self._retry(group, lease, event, now)
            self._acknowledge(lease)
        self._fill(lease.worker, now)

    def _accept(self, group: Group, lease: LiveLease, event: on.Completed, now: float) -> None:
        group.delivered, group.weight = lease, event.weight
        if not event.caches:
            self._deliver(group, now)
            return
        group.phase = Phase.STORING
        self.storing[lease.id] = group
        self._do(do.Store(group.id))

    def _stored(self, event: on.Stored, now: float) -> None:
        group = self.groups.get(event.group)
        if group is None or group.phase is not Phase.STORING or group.delivered is None:
            return
        del self.storing[group.delivered.id]
        self._deliver(group, now)

    def _deliver(self, group: Group, now: float) -> None:
        lease = group.delivered
        assert lease is not None
        self._finish(group, tuple(group.operations), do.Ending.RAN, now, weight=group.weight)
        self._acknowledge(lease)

    def _retry(self, group: Group, lease: LiveLease, event: on.Completed, now: float) -> None:
        if event.revoked and lease.stolen_for:
            self._requeue(group, "it was taken back for another worker", now)
        elif event.culprit is on.Culprit.CAS:
            group.cas_failures += 1
            group.last_reason = f"the content-addressable storage failed: {event.reason}"
            if group.cas_failures >= self._options.max_cas_failures:
                self._give_up(group, f"The action was given up: {group.last_reason}", now)
            else:
                self._rest(group, now)
        else:
            why = event.reason or "it gave the action back"
            reason = f"worker {lease.worker.name} failed: {why}"
            self._blame(group, lease.worker, reason, now)

    def _blame(self, group: Group, worker: Worker, reason: str, now: float) -> None:
        group.failures += 1
        group.bad_workers.add(worker.name)
        if group.failures < self._options.max_attempts:
            self._requeue(group, reason, now)
        else:
            self._give_up(group, lost(group.failures, reason), now)

    def _give_up(self, group: Group, message: str, now: float) -> None:
        self._finish(
            group,
            tuple(group.operations),
            do.Ending.FAILED,
            now,
            code=Code.UNAVAILABLE,
            message=message,
        )

    def _enqueue(self, group: Group, now: float) -> None:
        spec = group.spec
        excluded = frozenset(group.bad_workers)
        shape = self.fleet.intern(spec.instance, spec.requirement, excluded, now)
        self.dispatcher.push(group, shape, now)
        self._do(do.Publish(tuple(group.operations), do.Stage.QUEUED))
        self._dispatch((shape,), now)

    def _requeue(self, group: Group, reason: str, now: float) -> None:
        group.last_reason = reason
        self._persist(do.FactKind.REQUEUED, group)
        self._enqueue(group, now)

    def _rest(self, group: Group, now: float) -> None:
        """Queues a group again after a while, ever longer: the CAS may need the time."""
        seconds = min(_REST_SECONDS * 2**group.cas_failures, _MAX_REST_SECONDS)
        group.phase = Phase.RESTING
        self._persist(do.FactKind.REQUEUED, group)
        self._do(do.Publish(tuple(group.operations), do.Stage.QUEUED))
        self._agenda.rest(group.id, now + seconds)

    def _dispatch(self, shapes: Iterable[Shape], now: float) -> None:
        self._commands += self.dispatcher.dispatch(shapes, now)

    def _fill(self, worker: Worker, now: float) -> None:
        """Gives a worker that has room what it can take."""
        if not worker.takes_leases or worker.free_slots + worker.prefetch <= 0:
            return
        self._dispatch([shape for shape in worker.shapes.values() if shape.queue], now)
        if worker.free_slots > worker.expected:
            self._commands += self.dispatcher.steal(worker)

    def _end(self, lease: LiveLease) -> Group | None:
        """Ends an attempt, and answers the group that is left without one."""
        self.dispatcher.end(lease)
        group, lease.group = lease.group, None
        if group is not None:
            group.lease = None
        return group

    def _finish(
        self,
        group: Group,
        operations: tuple[str, ...],
        ending: do.Ending,
        now: float,
        *,
        code: Code | None = None,
        message: str = "",
        explanation: str = "",
        weight: int = 0,
    ) -> None:
        """Ends operations of a group; the group ends with its last one."""
        for operation in operations:
            del group.operations[operation]
            self.operations.finish(operation, now, weight)
        has_ended = not group.operations
        if has_ended:
            identity = (group.spec.instance, group.spec.key)
            if self.merging.get(identity) is group:
                del self.merging[identity]
            del self.groups[group.id]
            self._agenda.remove(group.id)
        # A cached result can be looked up again: nothing is lost with it.
        if ending is not do.Ending.CACHED:
            self._persist(do.FactKind.FINISHED, group, operations, ended=has_ended)
        self._do(
            do.Finish(
                operations, group.id, ending, code, message, explanation, group_ended=has_ended
            )
        )

    def _tick(self, event: on.Tick, now: float) -> None:
        self._stalled += event.lag
        heard = self._heard(now)
        for worker in list(self.fleet.workers.values()):
            silent = heard - worker.heard_at
            if silent > self._options.lease_timeout:
                self._lose(worker, f"nothing was heard of it for {silent:.0f} s", now)
        for name in self._agenda.rested(now):
            group = self.groups.get(name)
            if group is not None and group.phase is Phase.RESTING:
                self._enqueue(group, now)
        queues = [shape for shape in self.fleet.shapes.values() if shape.queue]
        for shape in queues:
            if shape.barren_since is not None:
                self._refuse(shape, shape.barren_since, now)
        # A placement policy may have let jobs wait.
        self._dispatch(queues, now)
        due = self._agenda.to_touch(now)
        if due:
            self._do(do.Touch(due))
        expired = self.operations.expire(now)
        if expired:
            self._expire(expired)

    def _expire(self, operations: tuple[str, ...]) -> None:
        self._do(do.Persist((do.Fact(do.FactKind.EXPIRED, operations=operations),)))
        self._do(do.Expire(operations))

    def _refuse(self, shape: Shape, barren_since: float, now: float) -> None:
        """Ends what has waited too long for a worker that could run it (EXE-18, EXE-19)."""
        due = now - self._options.unsatisfiable_grace
        if barren_since > due:
            return
        refusal = unsatisfiable(shape, self.fleet)
        for group in list(shape.queue.values()):
            if group.queued_at > due:
                break
            self.dispatcher.withdraw(group)
            self._finish(
                group,
                tuple(group.operations),
                do.Ending.FAILED,
                now,
                code=refusal.code,
                message=refusal.message,
                explanation=refusal.remedy,
            )

    def _heard(self, now: float) -> float:
        """The time without that in which the scheduler itself stood still."""
        return now - self._stalled

    def _do(self, command: do.Command) -> None:
        self._commands.append(command)

    def _persist(
        self,
        kind: do.FactKind,
        group: Group,
        operations: tuple[str, ...] = (),
        *,
        ended: bool = False,
    ) -> None:
        fact = do.Fact(kind, group.id, operations, group.attempts, group.failures, ended=ended)
        self._do(do.Persist((fact,)))

    def _revoke(self, lease: LiveLease, reason: str) -> None:
        worker = lease.worker
        self._do(do.Revoke(worker.name, worker.incarnation, lease.id, reason, kill=True))

    def _acknowledge(self, lease: LiveLease) -> None:
        self._do(do.Acknowledge(lease.worker.name, lease.worker.incarnation, lease.id))

    def _worker(self, name: str, incarnation: str) -> Worker | None:
        worker = self.fleet.workers.get(name)
        return worker if worker is not None and worker.incarnation == incarnation else None

    def _lease(self, name: str, incarnation: str, lease: str) -> LiveLease | None:
        worker = self._worker(name, incarnation)
        return None if worker is None else worker.leases.get(lease)
