"""From queue to worker: which job is next, and who gets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from remex_core.scheduler import commands as do
from remex_core.scheduler.groups import LiveLease, Phase
from remex_core.scheduler.guards import GuardedOrder, GuardedPlacement
from remex_core.scheduler.policy import Job

if TYPE_CHECKING:
    from collections.abc import Iterable

    from remex_core.scheduler.fleet import Fleet
    from remex_core.scheduler.groups import Group
    from remex_core.scheduler.policy import OrderPolicy, PlacementPolicy
    from remex_core.scheduler.shapes import Shape
    from remex_core.scheduler.workers import Worker


class Dispatcher:
    """The queues of all shapes, and the leases of all workers."""

    def __init__(
        self, fleet: Fleet, order: OrderPolicy, placement: PlacementPolicy, epoch: int
    ) -> None:
        self._fleet = fleet
        self._order = GuardedOrder(order)
        self._placement = GuardedPlacement(placement)
        self._epoch = epoch

    @property
    def queued(self) -> int:
        """How many jobs wait."""
        return len(self._order)

    @property
    def faults(self) -> list[str]:
        """Why which policy was replaced."""
        return [fault for fault in (self._order.fault, self._placement.fault) if fault]

    def push(self, group: Group, shape: Shape, now: float) -> None:
        """Puts a group into a shape's queue; one that comes back stands where it stood before."""
        spec = group.spec
        if group.job is None:
            group.first_queued_at = now
        job = Job(
            group.id,
            shape.number,
            group.priority,
            group.first_queued_at,
            spec.instance,
            spec.invocation,
            spec.user,
            spec.input_root,
        )
        group.phase, group.queued_at = Phase.QUEUED, now
        group.job, group.shape = job, shape
        self._fleet.acquire(shape)
        shape.queue[group.id] = group
        self._order.push(job)

    def withdraw(self, group: Group) -> None:
        """Takes a group out of the queue."""
        assert group.job is not None
        assert group.shape is not None
        del group.shape.queue[group.id]
        self._order.remove(group.job)
        self._fleet.let_go(group.shape)

    def dispatch(self, shapes: Iterable[Shape], now: float) -> list[do.Command]:
        """Gives queued jobs of these shapes to workers with room, until either is used up."""
        made: list[do.Command] = []
        ready = [shape for shape in shapes if shape.queue and shape.has_room]
        while ready:
            shape, job = self._next(ready)
            chosen = self._placement.choose(job, self._fleet.candidates(shape))
            if chosen is None:
                ready.remove(shape)
                continue
            made += self._lease(shape.queue[job.id], self._fleet.workers[chosen.worker], now)
            ready = [shape for shape in ready if shape.queue and shape.has_room]
        return made

    def end(self, lease: LiveLease) -> None:
        """Frees the place of a lease on its worker."""
        worker = lease.worker
        del worker.leases[lease.id]
        self.settle(lease)
        if lease.stolen_for:
            thief = self._fleet.workers.get(lease.stolen_for)
            if thief is not None:
                thief.expected = max(0, thief.expected - 1)
        # A free slot is for the lease that has waited on this worker the longest.
        while worker.ahead and len(worker.leases) - len(worker.ahead) < worker.slots:
            self.settle(next(iter(worker.ahead.values())))
        self._fleet.refresh(worker)
        self._fleet.let_go(lease.shape)

    def settle(self, lease: LiveLease) -> None:
        """Notes that a lease will start where it is, and cannot move to another worker."""
        lease.is_ahead = False
        lease.worker.ahead.pop(lease.id, None)
        lease.shape.ahead.pop(lease.id, None)

    def steal(self, worker: Worker) -> list[do.Command]:
        """Asks back what waits on other workers and could start on this one at once."""
        made: list[do.Command] = []
        for shape in worker.shapes.values():
            if not shape.ahead or not shape.has_slot(worker):
                continue
            for lease in list(shape.ahead.values()):
                if worker.free_slots <= worker.expected:
                    return made
                if lease.worker is worker:
                    continue
                self.settle(lease)
                lease.stolen_for = worker.name
                worker.expected += 1
                made.append(
                    do.Revoke(
                        lease.worker.name,
                        lease.worker.incarnation,
                        lease.id,
                        f"worker {worker.name} is idle",
                        kill=False,
                    )
                )
        return made

    def _next(self, ready: list[Shape]) -> tuple[Shape, Job]:
        """The job that is first among the first of these shapes."""
        if len(ready) == 1:
            return ready[0], self._order.peek(ready[0].number)
        return min(
            ((shape, self._order.peek(shape.number)) for shape in ready),
            key=lambda pair: (pair[1].priority, pair[1].queued_at),
        )

    def _lease(self, group: Group, worker: Worker, now: float) -> list[do.Command]:
        shape = group.shape
        assert shape is not None
        self._fleet.acquire(shape)
        self.withdraw(group)
        group.attempts += 1
        lease = LiveLease(
            f"{group.id}.{self._epoch}.{group.attempts}", group, shape, worker, group.attempts, now
        )
        if worker.free_slots <= 0:
            lease.is_ahead = True
            worker.ahead[lease.id] = shape.ahead[lease.id] = lease
        group.phase, group.lease = Phase.LEASED, lease
        worker.leases[lease.id] = lease
        worker.leased_at = now
        self._fleet.refresh(worker)
        fact = do.Fact(
            do.FactKind.LEASED,
            group.id,
            attempt=lease.attempt,
            failures=group.failures,
            worker=worker.name,
            incarnation=worker.incarnation,
        )
        return [
            do.Persist((fact,)),
            do.Lease(worker.name, worker.incarnation, lease.id, group.id, lease.attempt),
        ]
