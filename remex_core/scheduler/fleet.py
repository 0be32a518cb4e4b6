"""The fleet: all workers and all shapes, and who could run what.

Each pair of shape and worker is matched once, when the later of the two appears. Afterwards a
shape knows its workers and a worker its shapes, so that no event looks at all of either.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from remex_core.scheduler.policy import Candidate
from remex_core.scheduler.shapes import Shape
from remex_core.scheduler.workers import Worker

if TYPE_CHECKING:
    from collections.abc import Iterable

    from remex_core.platform import Difference, MatchRules, Requirement
    from remex_core.scheduler.events import WorkerJoined

MAX_CANDIDATES: Final = 32
_MAX_IDLE_SHAPES: Final = 64
_MAX_NAMES: Final = 10_000


class Fleet:
    """Workers by name, shapes by number, and the matches between them."""

    def __init__(self, rules: MatchRules) -> None:
        self._rules = rules
        self.workers: dict[str, Worker] = {}
        self.shapes: dict[int, Shape] = {}
        self.names_seen: dict[str, None] = {}
        self._bases: dict[tuple[str, Requirement], Shape] = {}
        self._idle: dict[int, Shape] = {}
        self._shapes_made = 0

    def intern(
        self, instance: str, requirement: Requirement, excluded: frozenset[str], now: float
    ) -> Shape:
        """The shape of a requirement, matched with every worker if it is new.

        Whoever uses it calls `acquire`.
        """
        base = self._bases.get((instance, requirement))
        if base is None:
            base = self._new_shape(instance, requirement)
            self._bases[instance, requirement] = base
            for worker in self.workers.values():
                self._match(worker, base)
            _note_barren(base, now)
            self._retire(base)
        if not excluded:
            return base
        variant = base.variants.get(excluded)
        if variant is None:
            variant = self._new_shape(instance, requirement)
            variant.excluded, variant.base = excluded, base
            base.variants[excluded] = variant
            self.acquire(base)
            self._settle(variant, base.workers.values())
            _note_barren(variant, now)
        return variant

    def acquire(self, shape: Shape) -> None:
        """Keeps a shape for a queued group or a lease."""
        shape.users += 1
        self._idle.pop(shape.number, None)

    def let_go(self, shape: Shape) -> None:
        """Undoes one `acquire`; a shape that nobody uses is forgotten sooner or later."""
        shape.users -= 1
        if not shape.users:
            self._retire(shape)

    def join(self, event: WorkerJoined, heard_at: float) -> Worker:
        """Adds a worker and matches it with every shape."""
        worker = Worker(
            event.name,
            event.incarnation,
            event.properties,
            self._rules.capacities(event.properties),
            event.slots,
            event.prefetch,
            event.instances,
            heard_at,
        )
        self.workers[worker.name] = worker
        self._match_all(worker)
        return worker

    def rejoin(self, worker: Worker, event: WorkerJoined, now: float) -> None:
        """Takes over what a worker says of itself in a new session."""
        worker.slots, worker.prefetch = event.slots, event.prefetch
        if (worker.properties, worker.instances) == (event.properties, event.instances):
            return
        self._unmatch_all(worker, now)
        worker.properties, worker.instances = event.properties, event.instances
        worker.capacities = self._rules.capacities(event.properties)
        self._match_all(worker)

    def leave(self, worker: Worker, now: float) -> None:
        """Removes a worker."""
        self._unmatch_all(worker, now)
        del self.workers[worker.name]

    def refresh(self, worker: Worker) -> None:
        """Lets every shape of the worker know what room it has now."""
        free = worker.free() if worker.capacities else {}
        for shape in worker.shapes.values():
            shape.place(worker, free)

    def candidates(self, shape: Shape) -> list[Candidate]:
        """Up to 32 workers that can take an action of this shape now, all equally ready.

        Of more than that, those that changed longest ago and those that changed last.
        """
        tier = next((tier for tier in shape.tiers if tier), {})
        workers: Iterable[Worker] = tier.values()
        if len(tier) > MAX_CANDIDATES:
            half = MAX_CANDIDATES // 2
            workers = (*islice(tier.values(), half), *islice(reversed(tier.values()), half))
        return [
            Candidate(w.name, max(0, w.free_slots), len(w.leases), w.leased_at) for w in workers
        ]

    def is_known(self, name: str) -> bool:
        """Whether the property is one that this site uses, or that a worker ever had (EXE-18)."""
        return name in self.names_seen or self._rules.is_known(name)

    def nearest(self, shape: Shape) -> tuple[Worker, tuple[Difference, ...]] | None:
        """The worker that lacks the least of what the shape needs, and what it lacks."""
        return min(
            (
                (worker, self._rules.differences(shape.requirement, worker.properties))
                for worker in self.workers.values()
                if worker.serves(shape.instance)
            ),
            key=lambda pair: (len(pair[1]), sum(not each.offered for each in pair[1])),
            default=None,
        )

    def _new_shape(self, instance: str, requirement: Requirement) -> Shape:
        self._shapes_made += 1
        shape = Shape(
            self._shapes_made,
            instance,
            requirement,
            self._rules.demands(requirement),
            self._rules.wishes(requirement),
        )
        self.shapes[shape.number] = shape
        return shape

    def _retire(self, shape: Shape) -> None:
        """Keeps an unused shape for the next action of its kind; a variant has none."""
        if shape.base is not None:
            self._drop(shape)
            return
        self._idle[shape.number] = shape
        if len(self._idle) > _MAX_IDLE_SHAPES:
            self._drop(self._idle.pop(next(iter(self._idle))))

    def _drop(self, shape: Shape) -> None:
        del self.shapes[shape.number]
        for worker in shape.workers.values():
            del worker.shapes[shape.number]
        if shape.base is None:
            del self._bases[shape.instance, shape.requirement]
        else:
            del shape.base.variants[shape.excluded]
            self.let_go(shape.base)

    def _match_all(self, worker: Worker) -> None:
        for name in worker.properties:
            if len(self.names_seen) < _MAX_NAMES:
                self.names_seen[name] = None
        for base in list(self._bases.values()):
            self._match(worker, base)
            for variant in base.variants.values():
                self._settle(variant, (worker,) if worker.name in base.workers else ())

    def _unmatch_all(self, worker: Worker, now: float) -> None:
        shapes = list(worker.shapes.values())
        for shape in shapes:
            shape.remove(worker)
        worker.shapes.clear()
        for shape in shapes:
            for variant in shape.variants.values():
                self._settle(variant, ())
        for shape in shapes:
            _note_barren(shape, now)

    def _match(self, worker: Worker, base: Shape) -> None:
        if worker.serves(base.instance) and not self._rules.differences(
            base.requirement, worker.properties
        ):
            _admit(worker, base)

    def _settle(self, variant: Shape, joined: Iterable[Worker]) -> None:
        """Gives a variant what it should have of the workers of its base.

        Only `joined` and the excluded workers can have changed: the latter belong to the variant
        exactly while the base has no others.
        """
        assert variant.base is not None
        base = variant.base.workers
        for worker in joined:
            if worker.name not in variant.excluded:
                _admit(worker, variant)
        excluded = [base[name] for name in sorted(variant.excluded) if name in base]
        falls_back = len(excluded) == len(base)
        for worker in excluded:
            if falls_back and worker.name not in variant.workers:
                _admit(worker, variant)
            elif not falls_back and worker.name in variant.workers:
                variant.remove(worker)
                del worker.shapes[variant.number]


def _admit(worker: Worker, shape: Shape) -> None:
    worker.shapes[shape.number] = shape
    shape.workers[worker.name] = worker
    shape.barren_since = None
    shape.place(worker, worker.free() if worker.capacities else {})


def _note_barren(shape: Shape, now: float) -> None:
    if not shape.workers and shape.barren_since is None:
        shape.barren_since = now
