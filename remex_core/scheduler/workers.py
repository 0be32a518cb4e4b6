"""One worker as the scheduler sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from remex_core.platform import Offer
    from remex_core.scheduler.groups import LiveLease
    from remex_core.scheduler.shapes import Shape


@dataclass(slots=True, eq=False)
class Worker:
    """One worker process; `leases` are those it has, by id.

    `capacities` is how much it has of each resource that actions can take up. `heard_at` counts
    in the scheduler's own time, that is without the time in which the scheduler itself stood
    still. `expected` counts leases that were asked back from other workers on its behalf.
    """

    name: str
    incarnation: str
    properties: Offer
    capacities: dict[str, float]
    slots: int
    prefetch: int
    instances: frozenset[str]
    heard_at: float
    leases: dict[str, LiveLease] = field(default_factory=dict)
    ahead: dict[str, LiveLease] = field(default_factory=dict)
    shapes: dict[int, Shape] = field(default_factory=dict)
    leased_at: float = 0.0
    expected: int = 0
    is_connected: bool = True
    has_stated: bool = False
    draining: bool = False
    unhealthy: str = ""

    @property
    def takes_leases(self) -> bool:
        """Whether it can be given anything at all."""
        return self.is_connected and self.has_stated and not self.draining and not self.unhealthy

    @property
    def free_slots(self) -> int:
        """How many actions could start on it at once; below 0 if it fetches ahead."""
        return self.slots - len(self.leases)

    def free(self) -> dict[str, float]:
        """What its leases leave of its resources."""
        free = dict(self.capacities)
        for lease in self.leases.values():
            for resource, amount in lease.shape.demands:
                free[resource] = free.get(resource, 0.0) - amount
        return free

    def serves(self, instance: str) -> bool:
        """Whether it runs actions of this instance."""
        return not self.instances or instance in self.instances
