"""From queue to worker: asks the two policies, checks what they say, and writes the leases."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

from remex_core.scheduler import commands as do
from remex_core.scheduler.events import LeaseState
from remex_core.scheduler.groups import Group, LiveLease, Phase
from remex_core.scheduler.policies.fifo import Fifo
from remex_core.scheduler.policies.least_recently_used import LeastRecentlyUsed
from remex_core.scheduler.policy import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from remex_core.scheduler.policy import Candidate, OrderPolicy, PlacementPolicy
    from remex_core.scheduler.workers import Fleet, Shape, Worker

log = logging.getLogger("remex.scheduler")

R = TypeVar("R")


class Dispatcher:
    """The queue of all shapes, and who gets what.

    A policy that raises, or proposes what cannot be, is replaced by the built-in one of its axis
    for the rest of the process's life; `broken` says which, and why.
    """

    def __init__(
        self, fleet: Fleet, order: OrderPolicy, placement: PlacementPolicy, epoch: int
    ) -> None:
        self._fleet = fleet
        self._order = order
        self._placement = placement
        self._epoch = epoch
        self._queue: dict[str, Job] = {}
        self._ahead: dict[str, None] = {}
        self.broken: dict[str, str] = {}

    @property
    def queued(self) -> int:
        """How many jobs wait."""
        return len(self._queue)

    def push(self, group: Group, now: float) -> None:
        """Puts a group into the queue."""
        spec = group.spec
        job = Job(
            group.id,
            group.shape,
            spec.priority,
            now if group.job is None else group.job.queued_at,
            spec.instance,
            spec.invocation,
            spec.user,
            spec.input_root,
        )
        group.job = self._queue[group.id] = job
        self._ask_order(lambda order: order.push(job), already_pushed=job.id)

    def remove(self, group: Group) -> None:
        """Takes a group out of the queue."""
        job = self._queue.pop(group.id)
        self._ask_order(lambda order: order.remove(job))

    def settled(self, group: Group) -> None:
        """The group's lease can no longer move to another worker."""
        self._ahead.pop(group.id, None)

    def dispatch(self, shape: Shape, groups: Mapping[str, Group], now: float) -> list[do.Command]:
        """Leases of this shape's queued jobs to workers with room, as many as there can be."""
        made: list[do.Command] = []
        while shape.roomy:
            job = self._ask_order(lambda order: order.peek(shape.number))
            if job is not None and not self._is_queued(job, shape):
                self._replace_order(f"it proposed {job.id}, which is not queued")
                continue
            if job is None:
                break
            group = groups[job.id]
            candidates = self._fleet.candidates(shape, group.bad_workers)
            chosen = self._choose(job, candidates) if candidates else None
            if chosen is None:
                break
            made += self._lease(group, self._fleet.workers[chosen.worker], shape, now)
        return made

    def rebalance(self, worker: Worker, groups: Mapping[str, Group]) -> list[do.Command]:
        """Takes back what waits as prefetched elsewhere and could start on this idle worker."""
        taken: list[do.Command] = []
        for name in list(self._ahead):
            if len(taken) >= worker.free_slots:
                break
            group = groups[name]
            lease = group.lease
            assert lease is not None
            holder = self._fleet.workers[lease.worker]
            stuck = holder.free_slots < 0 and lease.state.value <= LeaseState.READY.value
            if (
                stuck
                and not lease.is_revoked
                and worker.name != holder.name
                and (group.shape in worker.shapes and worker.name not in group.bad_workers)
            ):
                lease.is_revoked = True
                taken.append(
                    do.Revoke(
                        holder.name, holder.incarnation, lease.id, "another worker is idle", False
                    )
                )
        return taken

    def _lease(self, group: Group, worker: Worker, shape: Shape, now: float) -> list[do.Command]:
        self.remove(group)
        group.attempts += 1
        lease = LiveLease(
            f"{group.id}.{self._epoch}.{group.attempts}",
            worker.name,
            worker.incarnation,
            group.attempts,
            now,
        )
        group.lease = lease
        group.phase = Phase.LEASED
        if worker.free_slots <= 0:
            self._ahead[group.id] = None
        self._fleet.take(worker, lease.id, group.id, shape, now)
        return [
            do.Persist((do.Row("leased", group.id, lease.attempt, worker.name),)),
            do.Lease(worker.name, worker.incarnation, lease.id, group.id, lease.attempt),
        ]

    def _choose(self, job: Job, candidates: list[Candidate]) -> Candidate | None:
        try:
            chosen = self._placement.choose(job, candidates)
        except Exception as error:  # noqa: BLE001 - a plugin's fault must not stop the queue
            self._replace_placement(f"it raised {error!r}")
            return self._placement.choose(job, candidates)
        if chosen is not None and chosen not in candidates:
            self._replace_placement(f"it proposed {chosen!r}, which is no candidate")
            return self._placement.choose(job, candidates)
        return chosen

    def _is_queued(self, job: Job, shape: Shape) -> bool:
        return self._queue.get(job.id) == job and job.shape == shape.number

    def _ask_order(
        self, ask: Callable[[OrderPolicy], R], *, already_pushed: str | None = None
    ) -> R | None:
        try:
            return ask(self._order)
        except Exception as error:  # noqa: BLE001 - a plugin's fault must not stop the queue
            self._replace_order(f"it raised {error!r}")
        return None if already_pushed is not None else ask(self._order)

    def _replace_order(self, why: str) -> None:
        self._note("order", type(self._order).__name__, why, "fifo")
        self._order = Fifo()
        for job in self._queue.values():
            self._order.push(job)

    def _replace_placement(self, why: str) -> None:
        self._note("placement", type(self._placement).__name__, why, "least_recently_used")
        self._placement = LeastRecentlyUsed()

    def _note(self, axis: str, policy: str, why: str, instead: str) -> None:
        self.broken[axis] = f"{policy} was replaced by {instead}: {why}"
        log.error("The %s policy %s", axis, self.broken[axis])
