"""Operation groups: one action to be run once, and every Execute call that waits for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from remex_core.scheduler.commands import Stage
from remex_core.scheduler.events import LeaseState

if TYPE_CHECKING:
    from remex_core.scheduler.events import ActionSpec
    from remex_core.scheduler.policy import Job
    from remex_core.scheduler.shapes import Shape
    from remex_core.scheduler.workers import Worker


class Phase(Enum):
    """Where a group stands inside the machine."""

    LOOKING_UP = "looking up"
    QUEUED = "queued"
    RESTING = "resting"
    """Waits a while before it is queued again, since the CAS failed."""
    LEASED = "leased"
    STORING = "storing"
    """Its result was accepted and is on its way into the action cache."""


@dataclass(slots=True, eq=False)
class LiveLease:
    """One attempt that a worker has.

    `group` is None once nobody wants the result: the lease then only keeps its place on the
    worker until that has killed the process. `is_ahead` tells that it was given beyond the
    worker's slots, to have its inputs fetched; `stolen_for` names the idle worker for which it
    was asked back.
    """

    id: str
    group: Group | None
    shape: Shape
    worker: Worker
    attempt: int
    leased_at: float
    state: LeaseState = LeaseState.ASSIGNED
    is_ahead: bool = False
    stolen_for: str = ""

    @property
    def has_started(self) -> bool:
        """Whether its process runs or has run."""
        return self.state >= LeaseState.RUNNING


@dataclass(slots=True, eq=False)
class Group:
    """One action on its way.

    `operations` tells of each whether a cached result would do for it. `shape` is where it
    queues, `job` what policies see of it. `first_queued_at` orders it in the queue, however
    often it comes back; `queued_at` is when it came last.
    """

    id: str
    spec: ActionSpec
    phase: Phase
    priority: int = 0
    operations: dict[str, bool] = field(default_factory=dict)
    shape: Shape | None = None
    job: Job | None = None
    first_queued_at: float = 0.0
    queued_at: float = 0.0
    attempts: int = 0
    failures: int = 0
    cas_failures: int = 0
    bad_workers: set[str] = field(default_factory=set)
    lease: LiveLease | None = None
    delivered: LiveLease | None = None
    """The lease whose result was accepted; acknowledged when the result is safe."""
    weight: int = 0
    last_reason: str = ""

    @property
    def stage(self) -> Stage:
        """What clients are told of it."""
        if self.phase is Phase.LOOKING_UP:
            return Stage.CACHE_CHECK
        if self.phase is Phase.STORING or (self.lease is not None and self.lease.has_started):
            return Stage.EXECUTING
        return Stage.QUEUED
