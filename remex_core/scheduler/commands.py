"""What the machine wants done. Commands are carried out in order; Persist is a barrier."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from remex_core.errors import Code


class Stage(IntEnum):
    """Where an operation stands; the values are those of ExecutionStage."""

    CACHE_CHECK = 1
    QUEUED = 2
    EXECUTING = 3
    COMPLETED = 4


class Ending(Enum):
    """Why an operation is complete."""

    CACHED = "cached"
    RAN = "ran"
    FAILED = "failed"
    CANCELLED = "cancelled"


class FactKind(Enum):
    """What the journal is told about."""

    QUEUED = "queued"
    """A group waits for a worker: from now on it survives a restart, its operations with it."""
    JOINED = "joined"
    """An operation shares the run of a group that was queued before."""
    LEASED = "leased"
    """An attempt of the group was given to a worker."""
    REQUEUED = "requeued"
    """The group's attempt ended without a result; it waits again."""
    FINISHED = "finished"
    """Operations of the group are done; `ended` tells that the group is, too."""
    EXPIRED = "expired"
    """Operations need not be remembered any more."""


@dataclass(frozen=True, slots=True)
class Fact:
    """What is to survive a restart of the scheduler.

    `attempt` and `failures` are the group's counts; `worker` and `incarnation` are those of
    LEASED; `ended` tells of FINISHED that it was the group's last operation.
    """

    kind: FactKind
    group: str = ""
    operations: tuple[str, ...] = ()
    attempt: int = 0
    failures: int = 0
    worker: str = ""
    incarnation: str = ""
    ended: bool = False


@dataclass(frozen=True, slots=True)
class LookUp:
    """Ask the action cache about this group, and answer with LookedUp."""

    group: str


@dataclass(frozen=True, slots=True)
class Store:
    """Put the group's result into the action cache, and answer with Stored."""

    group: str


@dataclass(frozen=True, slots=True)
class Persist:
    """Write these facts down; nothing that follows may happen before they are safe."""

    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Lease:
    """Give this attempt to this worker."""

    worker: str
    incarnation: str
    lease: str
    group: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Revoke:
    """Take a lease back; `kill` also stops a process that runs."""

    worker: str
    incarnation: str
    lease: str
    reason: str
    kill: bool


@dataclass(frozen=True, slots=True)
class Publish:
    """Tell these operations that their stage is now this one."""

    operations: tuple[str, ...]
    stage: Stage


@dataclass(frozen=True, slots=True)
class Finish:
    """Tell these operations how they ended.

    `code`, `message` and `explanation` are set for FAILED and CANCELLED; for RAN and CACHED
    the engine has the response. `group_ended` tells that nobody needs the group's
    content any more.
    """

    operations: tuple[str, ...]
    group: str
    ending: Ending
    code: Code | None = None
    message: str = ""
    explanation: str = ""
    group_ended: bool = True


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Tell the worker that it may forget this lease's result."""

    worker: str
    incarnation: str
    lease: str


@dataclass(frozen=True, slots=True)
class Touch:
    """Keep the inputs of these groups alive."""

    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Expire:
    """Forget these operations."""

    operations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Dismiss:
    """End this worker's session: it is considered gone, and starts anew if it lives."""

    worker: str
    incarnation: str
    reason: str


Command: TypeAlias = (
    LookUp
    | Store
    | Persist
    | Lease
    | Revoke
    | Publish
    | Finish
    | Acknowledge
    | Touch
    | Expire
    | Dismiss
)
