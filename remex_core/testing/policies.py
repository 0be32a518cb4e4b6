"""The policy contracts as test suites: subclass one, give one fixture, and every promise is tested.

A plugin's test module is::

    class TestMyOrder(OrderPolicyContract):
        @pytest.fixture
        def policy(self):
            return MyOrder()

and the same with `PlacementPolicyContract`. A policy must be pure: the kit calls it twice with
the same story and wants the same answers.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from copy import deepcopy
from typing import TYPE_CHECKING, Final

import pytest

from remex_core.scheduler.policy import Candidate, Job

if TYPE_CHECKING:
    from remex_core.scheduler.policy import OrderPolicy, PlacementPolicy

MAX_CANDIDATES: Final = 32
_STORIES: Final = range(20)


def job(number: int, shape: int = 1, priority: int = 0, *, queued_at: float | None = None) -> Job:
    """A job as the scheduler describes one; several invocations of several users."""
    return Job(
        id=f"job-{number}",
        shape=shape,
        priority=priority,
        queued_at=float(number) if queued_at is None else queued_at,
        invocation=f"invocation-{number % 3}",
        user=f"user-{number % 2}",
    )


def candidates(count: int, seed: int = 0) -> list[Candidate]:
    """Workers with room, as the scheduler shows them."""
    chance = random.Random(seed)  # noqa: S311 - tests need chance that repeats
    return [
        Candidate(
            worker=f"w{number}",
            free_slots=chance.randint(0, 4),
            running=chance.randint(0, 4),
            last_leased_at=chance.choice((0.0, chance.uniform(1.0, 100.0))),
        )
        for number in range(count)
    ]


class OrderPolicyContract(ABC):
    """What every order policy promises."""

    @pytest.fixture
    @abstractmethod
    def policy(self) -> OrderPolicy:
        """A policy with nothing in its queue."""

    def test_nothing_queued_is_none(self, policy: OrderPolicy) -> None:
        """An empty queue has no next job."""
        assert policy.peek(1) is None

    def test_peek_leaves_the_job_in_the_queue(self, policy: OrderPolicy) -> None:
        """Looking at the next job does not take it."""
        policy.push(job(1))
        assert policy.peek(1) == job(1)
        assert policy.peek(1) == job(1)

    def test_removed_job_is_never_proposed(self, policy: OrderPolicy) -> None:
        """A job that was removed is gone, wherever it stood."""
        for number in range(3):
            policy.push(job(number))
        policy.remove(job(1))
        assert {"job-0", "job-2"} == set(_drained(policy, 1))

    def test_removed_job_can_come_back(self, policy: OrderPolicy) -> None:
        """A job whose worker was lost is queued again under its own id."""
        policy.push(job(1))
        policy.remove(job(1))
        policy.push(job(1))
        assert policy.peek(1) == job(1)
        policy.remove(job(1))
        assert policy.peek(1) is None

    def test_shapes_are_apart(self, policy: OrderPolicy) -> None:
        """The next job of a shape is one of that shape."""
        policy.push(job(1, shape=1))
        policy.push(job(2, shape=2))
        assert policy.peek(1) == job(1, shape=1)
        assert policy.peek(2) == job(2, shape=2)
        assert policy.peek(3) is None

    def test_job_may_change_its_shape(self, policy: OrderPolicy) -> None:
        """A job that failed on a worker is queued in a shape without that worker."""
        policy.push(job(1, shape=1))
        policy.remove(job(1, shape=1))
        policy.push(job(1, shape=2))
        assert policy.peek(1) is None
        assert policy.peek(2) == job(1, shape=2)

    @pytest.mark.parametrize("seed", _STORIES)
    def test_every_job_comes_up_once(self, policy: OrderPolicy, seed: int) -> None:
        """Whatever is pushed and removed in between, nothing is lost and nothing comes twice."""
        chance = random.Random(seed)  # noqa: S311 - tests need chance that repeats
        queued: dict[str, Job] = {}
        for number in range(200):
            if queued and chance.random() < 0.4:
                policy.remove(queued.pop(chance.choice(sorted(queued))))
            else:
                made = job(number, chance.randint(1, 3), chance.randint(-1, 1))
                queued[made.id] = made
                policy.push(made)
        drained = [name for shape in (1, 2, 3) for name in _drained(policy, shape)]
        assert sorted(queued) == sorted(drained)

    @pytest.mark.parametrize("seed", _STORIES)
    def test_same_story_same_order(self, policy: OrderPolicy, seed: int) -> None:
        """A policy neither reads a clock nor draws lots."""
        twin = deepcopy(policy)
        chance = random.Random(seed)  # noqa: S311 - tests need chance that repeats
        for number in range(50):
            made = job(number, priority=chance.randint(-1, 1))
            policy.push(made)
            twin.push(made)
        assert _drained(policy, 1) == _drained(twin, 1)


class PlacementPolicyContract(ABC):
    """What every placement policy promises."""

    @pytest.fixture
    @abstractmethod
    def policy(self) -> PlacementPolicy:
        """A policy that has chosen nothing yet."""

    @pytest.mark.parametrize("count", [1, 2, MAX_CANDIDATES])
    def test_choice_is_a_candidate(self, policy: PlacementPolicy, count: int) -> None:
        """A policy chooses among those it is shown, or lets the job wait."""
        for seed in _STORIES:
            offered = candidates(count, seed)
            chosen = policy.choose(job(seed), offered)
            assert chosen is None or chosen in offered

    def test_candidates_are_left_as_they_are(self, policy: PlacementPolicy) -> None:
        """The list belongs to the scheduler."""
        offered = candidates(8)
        policy.choose(job(1), offered)
        assert offered == candidates(8)

    def test_same_story_same_choice(self, policy: PlacementPolicy) -> None:
        """A policy neither reads a clock nor draws lots."""
        twin = deepcopy(policy)
        for seed in _STORIES:
            offered = candidates(8, seed)
            assert policy.choose(job(seed), offered) == twin.choose(job(seed), offered)


def _drained(policy: OrderPolicy, shape: int) -> list[str]:
    """The ids of all jobs of a shape, in the order in which they come up."""
    order: list[str] = []
    while (next_job := policy.peek(shape)) is not None:
        policy.remove(next_job)
        order.append(next_job.id)
    return order
