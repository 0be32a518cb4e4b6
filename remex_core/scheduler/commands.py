"""What the machine wants done. Commands are carried out in order; Persist is a barrier."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from remex_core.errors import Code


class Stage(Enum):
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


@dataclass(frozen=True, slots=True)
class LookUp:
    """Ask the action cache about this group, and answer with LookedUp."""

    group: str


@dataclass(frozen=True, slots=True)
class Row:
    """One fact for the journal: what became of an attempt, or of a group.

    `kind` is `queued`, `leased`, `requeued` or `finished`; `attempt` is 0 where none is meant.
    """

    kind: str
    group: str
    attempt: int = 0
    worker: str = ""


@dataclass(frozen=True, slots=True)
class Persist:
    """Write these rows; nothing that follows may happen before they are safe."""

    rows: tuple[Row, ...]


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
    """Forget these finished operations."""

    operations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Dismiss:
    """End this worker's session: it is considered gone, and starts anew if it lives."""

    worker: str
    incarnation: str
    reason: str


Command: TypeAlias = (
    LookUp | Persist | Lease | Revoke | Publish | Finish | Acknowledge | Touch | Expire | Dismiss
)
