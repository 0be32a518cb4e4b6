"""Workers and shapes: who could run what, and who has room for it now.

A shape is a platform requirement together with an instance, interned to a small number. Each
pair of shape and worker is matched once, when the later of the two appears; afterwards a shape
knows its workers, and which of them have room, so that no event looks at all workers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from remex_core.platform import capacity
from remex_core.scheduler.policy import Candidate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from remex_core.platform import Difference, MatchRules, Requirement

MAX_CANDIDATES: Final = 32


@dataclass(slots=True)
class Worker:
    """One worker process; `leases` are its live leases, by id, with their groups."""

    name: str
    incarnation: str
    properties: Mapping[str, frozenset[str]]
    slots: int
    prefetch: int
    instances: frozenset[str]
    seen_at: float
    leases: dict[str, str] = field(default_factory=dict)
    taken: dict[str, float] = field(default_factory=dict)
    shapes: set[int] = field(default_factory=set)
    leased_at: float = 0.0
    draining: bool = False
    unhealthy: str = ""

    @property
    def room(self) -> int:
        """How many leases it can take now, fetching ahead included."""
        if self.draining or self.unhealthy:
            return 0
        return self.slots + self.prefetch - len(self.leases)

    @property
    def free_slots(self) -> int:
        """How many actions could start on it at once."""
        return 0 if self.draining or self.unhealthy else self.slots - len(self.leases)


@dataclass(slots=True)
class Shape:
    """A requirement in an instance; `barren_since` is when it last lost its only worker."""

    number: int
    instance: str
    requirement: Requirement
    demands: tuple[tuple[str, float], ...]
    workers: dict[str, None] = field(default_factory=dict)
    roomy: dict[str, None] = field(default_factory=dict)
    groups: set[str] = field(default_factory=set)
    barren_since: float | None = None


class Fleet:
    """All workers and shapes, and the matches between them."""

    def __init__(self, rules: MatchRules) -> None:
        self._rules = rules
        self.workers: dict[str, Worker] = {}
        self.shapes: dict[int, Shape] = {}
        self._numbers: dict[tuple[str, Requirement], int] = {}
        self._shapes_made = 0
        self.names_seen: set[str] = set()

    def intern(self, instance: str, requirement: Requirement, now: float) -> Shape:
        """The shape of a requirement; matched with every worker if it is new."""
        number = self._numbers.get((instance, requirement))
        if number is not None:
            return self.shapes[number]
        self._shapes_made += 1
        shape = Shape(self._shapes_made, instance, requirement, self._rules.demands(requirement))
        self._numbers[instance, requirement] = shape.number
        self.shapes[shape.number] = shape
        for worker in self.workers.values():
            self._match(worker, shape)
        if not shape.workers:
            shape.barren_since = now
        return shape

    def drop_shape(self, shape: Shape) -> None:
        """Forgets a shape that no group has any more."""
        del self._numbers[shape.instance, shape.requirement]
        del self.shapes[shape.number]
        for name in shape.workers:
            self.workers[name].shapes.discard(shape.number)

    def join(self, worker: Worker) -> None:
        """Adds a worker and matches it with every shape."""
        self.workers[worker.name] = worker
        self.names_seen.update(worker.properties)
        for shape in self.shapes.values():
            self._match(worker, shape)

    def leave(self, worker: Worker, now: float) -> None:
        """Removes a worker."""
        del self.workers[worker.name]
        for number in worker.shapes:
            shape = self.shapes[number]
            shape.workers.pop(worker.name, None)
            shape.roomy.pop(worker.name, None)
            if not shape.workers:
                shape.barren_since = now

    def take(self, worker: Worker, lease: str, group: str, shape: Shape, now: float) -> None:
        """Books a lease on a worker."""
        worker.leases[lease] = group
        worker.leased_at = now
        for name, amount in shape.demands:
            worker.taken[name] = worker.taken.get(name, 0.0) + amount
        self.refresh(worker)

    def give_back(self, worker: Worker, lease: str, shape: Shape) -> None:
        """Ends the booking of a lease."""
        if worker.leases.pop(lease, None) is None:
            return
        for name, amount in shape.demands:
            worker.taken[name] -= amount
        self.refresh(worker)

    def refresh(self, worker: Worker) -> None:
        """Lets every shape of the worker know whether it has room."""
        has_room = worker.room > 0
        for number in worker.shapes:
            roomy = self.shapes[number].roomy
            # Taken out and put back at the end: the first of a shape waited longest.
            roomy.pop(worker.name, None)
            if has_room:
                roomy[worker.name] = None

    def candidates(self, shape: Shape, bad: set[str]) -> list[Candidate]:
        """Up to 32 workers that can take an action of this shape now.

        Those that would start it at once come alone if there are any. Workers in `bad` come only
        when the shape has no others.
        """
        bad = bad if any(name not in bad for name in shape.workers) else set()
        free: list[Worker] = []
        ahead: list[Worker] = []
        for worker in self._with_room(shape, bad):
            (free if worker.free_slots > 0 else ahead).append(worker)
            if len(free) == MAX_CANDIDATES:
                break
        return [
            Candidate(worker.name, worker.free_slots, len(worker.leases), worker.leased_at)
            for worker in islice(free or ahead, MAX_CANDIDATES)
        ]

    def _with_room(self, shape: Shape, bad: set[str]) -> Iterator[Worker]:
        for name in shape.roomy:
            worker = self.workers[name]
            if name not in bad and self.fits(worker, shape):
                yield worker

    def fits(self, worker: Worker, shape: Shape) -> bool:
        """Whether what the worker has left of its `minimum` properties is enough."""
        return all(
            capacity(worker.properties[name]) - worker.taken.get(name, 0.0) >= amount
            for name, amount in shape.demands
        )

    def is_known(self, name: str) -> bool:
        """Whether the property is one that this site uses, or that a worker ever had (EXE-18)."""
        return name in self.names_seen or self._rules.is_known(name)

    def nearest(self, shape: Shape) -> tuple[Worker, tuple[Difference, ...]] | None:
        """The worker that lacks the least of what the shape needs, and what it lacks."""
        differences = [
            (worker, self._rules.differences(shape.requirement, worker.properties))
            for worker in self.workers.values()
            if _serves(worker, shape.instance)
        ]
        return min(differences, key=lambda pair: len(pair[1]), default=None)

    def _match(self, worker: Worker, shape: Shape) -> None:
        if not _serves(worker, shape.instance):
            return
        if self._rules.differences(shape.requirement, worker.properties):
            return
        worker.shapes.add(shape.number)
        shape.workers[worker.name] = None
        shape.barren_since = None
        if worker.room > 0:
            shape.roomy[worker.name] = None


def _serves(worker: Worker, instance: str) -> bool:
    return not worker.instances or instance in worker.instances
