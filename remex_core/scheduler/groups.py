"""Operation groups: one action to be run once, and every Execute call that waits for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from remex_core.scheduler.events import LeaseState

if TYPE_CHECKING:
    from remex_core.scheduler.events import ActionSpec
    from remex_core.scheduler.policy import Job


class Phase(Enum):
    """Where a group stands inside the machine."""

    LOOKING_UP = "looking up"
    QUEUED = "queued"
    LEASED = "leased"


@dataclass(slots=True)
class LiveLease:
    """The one attempt of a group that counts."""

    id: str
    worker: str
    incarnation: str
    attempt: int
    leased_at: float
    state: LeaseState = LeaseState.ASSIGNED
    is_revoked: bool = False


@dataclass(slots=True)
class Group:
    """One action on its way; `shape` is its interned requirement, `job` what policies see."""

    id: str
    spec: ActionSpec
    shape: int
    submitted_at: float
    phase: Phase
    operations: dict[str, None] = field(default_factory=dict)
    attempts: int = 0
    failures: int = 0
    cas_failures: int = 0
    bad_workers: set[str] = field(default_factory=set)
    accepts_hit: bool = True
    job: Job | None = None
    lease: LiveLease | None = None
    last_reason: str = ""
