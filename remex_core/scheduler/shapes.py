"""Shapes: what groups of actions ask of a worker, and which workers have room for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from remex_core.platform import Requirement
    from remex_core.scheduler.groups import Group, LiveLease
    from remex_core.scheduler.workers import Worker

TIERS: Final = 4
"""How many grades of readiness there are; see `Shape.tiers`."""


@dataclass(slots=True, eq=False)
class Shape:
    """A requirement in an instance, interned, without the workers in `excluded`.

    `workers` are those that match. `tiers` holds those of them that can take a lease now, best
    first: with a free slot and what is wished for; with a free slot; to fetch ahead, with what
    is wished for; to fetch ahead. Within a tier the worker that changed last comes last.
    `barren_since` is when the shape last lost its only worker. `users` counts the queued groups
    and the leases of the shape.

    A shape with excluded workers is a variant of the `base` without: for actions that failed on
    those workers. It falls back to them where there are no others.
    """

    number: int
    instance: str
    requirement: Requirement
    demands: tuple[tuple[str, float], ...]
    wishes: Requirement
    excluded: frozenset[str] = frozenset()
    base: Shape | None = None
    workers: dict[str, Worker] = field(default_factory=dict)
    tiers: tuple[dict[str, Worker], ...] = field(
        default_factory=lambda: tuple({} for _ in range(TIERS))
    )
    queue: dict[str, Group] = field(default_factory=dict)
    ahead: dict[str, LiveLease] = field(default_factory=dict)
    variants: dict[frozenset[str], Shape] = field(default_factory=dict)
    barren_since: float | None = None
    users: int = 0

    @property
    def has_room(self) -> bool:
        """Whether some worker can take a lease of this shape now."""
        return any(self.tiers)

    def has_slot(self, worker: Worker) -> bool:
        """Whether this worker could start an action of this shape at once."""
        return worker.name in self.tiers[0] or worker.name in self.tiers[1]

    def place(self, worker: Worker, free: Mapping[str, float]) -> None:
        """Moves a matching worker, with these free resources, to the end of its tier."""
        for tier in self.tiers:
            tier.pop(worker.name, None)
        if not worker.takes_leases:
            return
        if self.demands and not all(free.get(name, 0.0) >= need for name, need in self.demands):
            return
        slots = worker.free_slots
        if slots > 0:
            grade = 0
        elif slots + worker.prefetch > 0:
            grade = 2
        else:
            return
        if self.wishes and not self._grants(worker):
            grade += 1
        self.tiers[grade][worker.name] = worker

    def remove(self, worker: Worker) -> None:
        """Forgets a worker."""
        self.workers.pop(worker.name, None)
        for tier in self.tiers:
            tier.pop(worker.name, None)

    def _grants(self, worker: Worker) -> bool:
        return all(value in worker.properties.get(name, ()) for name, value in self.wishes)
