"""The two policy contracts: which job is next, and which worker gets it.

Policies are pure and bounded: they see what the machine shows them, keep what they need between
calls, and neither read a clock nor wait. One that raises or proposes the impossible is replaced.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Job:
    """What an order policy may know of a queued action.

    `shape` is the interned platform requirement with its instance; `queued_at` is in seconds on
    the scheduler's clock; a lower `priority` is more urgent (EXE-31); `expected_seconds` is the
    learned duration or None.
    """

    id: str
    shape: int
    priority: int
    queued_at: float
    instance: str = ""
    invocation: str = ""
    user: str = ""
    input_root: str = ""
    expected_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A worker that could take the job now.

    `last_leased_at` is in seconds on the scheduler's clock, 0 for never.
    """

    worker: str
    free_slots: int
    running: int
    last_leased_at: float


class OrderPolicy(ABC):
    """Which queued job of a shape comes next."""

    @abstractmethod
    def push(self, job: Job) -> None:
        """Takes a job into the queue."""

    @abstractmethod
    def remove(self, job: Job) -> None:
        """Forgets a queued job."""

    @abstractmethod
    def peek(self, shape: int) -> Job | None:
        """The next job of this shape, left in the queue; None when there is none."""


class PlacementPolicy(ABC):
    """Which worker takes a job."""

    @abstractmethod
    def choose(self, job: Job, candidates: Sequence[Candidate]) -> Candidate | None:
        """One of at most 32 candidates, or None to let the job wait."""
