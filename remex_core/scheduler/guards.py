"""Policies under guard: one that raises, or proposes the impossible, is replaced for good.

Policies are plugins. What is wrong with one must not stop the queue, so each call goes through
a guard that knows enough to check the answer, and the built-in policy of the axis takes over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from remex_core.scheduler.policies.fifo import Fifo
from remex_core.scheduler.policies.least_recently_used import LeastRecentlyUsed
from remex_core.scheduler.policy import OrderPolicy, PlacementPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from remex_core.scheduler.policy import Candidate, Job

SLOW_SECONDS = 0.05
"""How long one call of a policy may take."""

_SLOW_CALLS = 3
_QUICK_CALLS = 100


class GuardedOrder:
    """The queue by an order policy; `fault` says why that was replaced by fifo, if it was."""

    def __init__(self, policy: OrderPolicy) -> None:
        self._policy = policy
        self._jobs: dict[str, Job] = {}
        self.fault = ""

    def __len__(self) -> int:
        return len(self._jobs)

    def push(self, job: Job) -> None:
        """Takes a job into the queue."""
        self._jobs[job.id] = job
        try:
            self._policy.push(job)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            self._replace(f"it raised {error!r}")

    def remove(self, job: Job) -> None:
        """Takes a job out of the queue."""
        del self._jobs[job.id]
        try:
            self._policy.remove(job)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            self._replace(f"it raised {error!r}")

    def peek(self, shape: int) -> Job:
        """The next job of a shape that has some."""
        try:
            job = self._policy.peek(shape)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            return self._replaced(shape, f"it raised {error!r}")
        if job is None:
            return self._replaced(shape, "it says that nothing is queued where something is")
        queued = self._jobs.get(job.id)
        if job.shape != shape or (queued is not job and queued != job):
            return self._replaced(shape, f"it proposed {job.id}, which is not queued there")
        return job

    def _replaced(self, shape: int, why: str) -> Job:
        self._replace(why)
        job = self._policy.peek(shape)
        assert job is not None
        return job

    def _replace(self, why: str) -> None:
        self.fault = _fault("order", self._policy, why, "fifo")
        self._policy = Fifo()
        for job in self._jobs.values():
            self._policy.push(job)


class GuardedPlacement:
    """A placement policy; `fault` says why it was replaced by least_recently_used, if it was."""

    def __init__(self, policy: PlacementPolicy) -> None:
        self._policy = policy
        self.fault = ""

    def choose(self, job: Job, candidates: Sequence[Candidate]) -> Candidate | None:
        """One of the candidates, of which there is at least one, or None to let the job wait."""
        try:
            chosen = self._policy.choose(job, candidates)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            self._replace(f"it raised {error!r}")
            return self._policy.choose(job, candidates)
        if chosen is not None and chosen not in candidates:
            self._replace(f"it proposed {chosen!r}, which is no candidate")
            return self._policy.choose(job, candidates)
        return chosen

    def _replace(self, why: str) -> None:
        self.fault = _fault("placement", self._policy, why, "least_recently_used")
        self._policy = LeastRecentlyUsed()


class TooSlow(Exception):
    """A policy took too long again and again."""


class _Stopwatch:
    """Raises TooSlow at the third slow call, unless there were a hundred quick ones in between."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._slow = self._quick = 0

    def check(self, started: float) -> None:
        if self._monotonic() - started <= SLOW_SECONDS:
            self._quick += 1
            if self._quick >= _QUICK_CALLS:
                self._slow = self._quick = 0
            return
        self._slow += 1
        if self._slow >= _SLOW_CALLS:
            raise TooSlow(f"{self._slow} calls took longer than {SLOW_SECONDS} s each")


class TimedOrder(OrderPolicy):
    """An order policy that raises when it has been slow again and again.

    The machine reads no clock; so its shell puts this between guard and policy.
    """

    def __init__(self, policy: OrderPolicy, monotonic: Callable[[], float]) -> None:
        self.policy = policy
        self._monotonic = monotonic
        self._stopwatch = _Stopwatch(monotonic)

    def push(self, job: Job) -> None:
        started = self._monotonic()
        self.policy.push(job)
        self._stopwatch.check(started)

    def remove(self, job: Job) -> None:
        started = self._monotonic()
        self.policy.remove(job)
        self._stopwatch.check(started)

    def peek(self, shape: int) -> Job | None:
        started = self._monotonic()
        job = self.policy.peek(shape)
        self._stopwatch.check(started)
        return job


class TimedPlacement(PlacementPolicy):
    """A placement policy that raises when it has been slow again and again."""

    def __init__(self, policy: PlacementPolicy, monotonic: Callable[[], float]) -> None:
        self.policy = policy
        self._monotonic = monotonic
        self._stopwatch = _Stopwatch(monotonic)

    def choose(self, job: Job, candidates: Sequence[Candidate]) -> Candidate | None:
        started = self._monotonic()
        chosen = self.policy.choose(job, candidates)
        self._stopwatch.check(started)
        return chosen


def _fault(axis: str, policy: object, why: str, instead: str) -> str:
    inner = policy.policy if isinstance(policy, TimedOrder | TimedPlacement) else policy
    name = type(inner).__name__
    return f"the {axis} policy {name} was replaced by {instead}: {why}"
