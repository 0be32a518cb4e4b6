"""What the machine is told. Ids, names and times come in with the events."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from remex_core.digest import Key
    from remex_core.platform import Requirement


class LeaseState(IntEnum):
    """How far a worker is with a lease; the values are those of worker.proto."""

    ASSIGNED = 1
    FETCHING = 2
    READY = 3
    RUNNING = 4
    UPLOADING = 5
    DONE = 6


class Culprit(IntEnum):
    """Who is to blame for an attempt without a result; the values are those of worker.proto."""

    NOBODY = 0
    ACTION = 1
    WORKER = 2
    CAS = 3


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """What the machine has to know of an action.

    `merges` tells whether identical actions may share one run (EXE-10, EXE-11); `looks_up`
    whether the action cache is asked first (EXE-08, EXE-09). A lower `priority` is more urgent.
    """

    instance: str
    key: Key
    requirement: Requirement = ()
    priority: int = 0
    merges: bool = True
    looks_up: bool = True
    invocation: str = ""
    user: str = ""
    input_root: str = ""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A client wants an action run; `group` is the id for a new group if one is needed."""

    operation: str
    group: str
    spec: ActionSpec


@dataclass(frozen=True, slots=True)
class Rejected:
    """An operation that was done from the start, since its action cannot be run."""

    operation: str
    weight: int = 0


@dataclass(frozen=True, slots=True)
class LookedUp:
    """The answer to LookUp: whether the action cache has a complete result, of `weight` bytes."""

    group: str
    hit: bool
    weight: int = 0


@dataclass(frozen=True, slots=True)
class WorkerJoined:
    """A worker opened a session; the same incarnation resumes, another one starts anew.

    It is given nothing before its first statement, which tells what it still holds.
    """

    name: str
    incarnation: str
    properties: Mapping[str, frozenset[str]]
    slots: int
    prefetch: int = 0
    instances: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class WorkerStated:
    """All that a worker holds now, by lease id."""

    name: str
    incarnation: str
    leases: Mapping[str, LeaseState] = field(default_factory=dict)
    draining: bool = False
    unhealthy: str = ""


@dataclass(frozen=True, slots=True)
class WorkerDisconnected:
    """A worker's session ended. It keeps its leases until it is silent for too long."""

    name: str
    incarnation: str


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker is gone for good."""

    name: str
    incarnation: str
    reason: str


@dataclass(frozen=True, slots=True)
class Completed:
    """A worker says what became of a lease.

    `succeeded` means that the process ran to its end. Otherwise `culprit` decides what follows;
    `revoked` means that the worker gave the lease back unharmed. `caches` tells that the result
    is good for the action cache, `weight` how many bytes it has.
    """

    name: str
    incarnation: str
    lease: str
    succeeded: bool
    culprit: Culprit = Culprit.NOBODY
    revoked: bool = False
    caches: bool = False
    reason: str = ""
    weight: int = 0


@dataclass(frozen=True, slots=True)
class Stored:
    """The answer to Store: the result is in the action cache, or cannot be put there."""

    group: str


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """Somebody wants this worker to take nothing more."""

    name: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A client no longer wants this operation."""

    operation: str


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A client wants an operation's result deleted; one that is not done goes on (OP-07)."""

    operation: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed. `lag` is how late the tick is, in seconds: nobody is lost for our own delay."""

    lag: float = 0.0


Event: TypeAlias = (
    Submitted
    | Rejected
    | LookedUp
    | WorkerJoined
    | WorkerStated
    | WorkerDisconnected
    | WorkerLost
    | Completed
    | Stored
    | DrainRequested
    | Cancelled
    | Forgotten
    | Tick
)
