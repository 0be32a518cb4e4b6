"""Policies that misbehave are replaced, and the queue goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from remex_core.clock import ManualClock
from remex_core.scheduler import commands as do
from remex_core.scheduler.guards import SLOW_SECONDS, TimedOrder, TimedPlacement
from remex_core.scheduler.policies.fifo import Fifo
from remex_core.scheduler.policies.least_recently_used import LeastRecentlyUsed
from remex_core.scheduler.policy import Candidate
from remex_core.testing.policies import job
from scheduler_support.driving import Machine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from remex_core.scheduler.policy import Job, OrderPolicy, PlacementPolicy


class RaisesOnPush(Fifo):
    def push(self, job: Job) -> None:
        raise ValueError("no room")


class RaisesOnRemove(Fifo):
    def remove(self, job: Job) -> None:
        raise ValueError("not here")


class RaisesOnPeek(Fifo):
    def peek(self, shape: int) -> Job | None:
        raise ValueError("I cannot see")


class Denies(Fifo):
    def peek(self, shape: int) -> Job | None:
        return None


class Invents(Fifo):
    def peek(self, shape: int) -> Job | None:
        return job(99, shape)


class Confuses(Fifo):
    """Proposes jobs of another shape."""

    def peek(self, shape: int) -> Job | None:
        return super().peek(3 - shape) or super().peek(shape)


class RaisesOnChoose(LeastRecentlyUsed):
    def choose(self, job: Job, candidates: Sequence[Candidate]) -> Candidate | None:
        raise ValueError("hard to say")


class ChoosesNobody(LeastRecentlyUsed):
    def choose(self, job: Job, candidates: Sequence[Candidate]) -> Candidate | None:
        return Candidate("nobody", 1, 0, 0.0)


class Waits(LeastRecentlyUsed):
    """Lets every job wait until it is told not to."""

    waits = True

    def choose(self, job: Job, candidates: Sequence[Candidate]) -> Candidate | None:
        return None if self.waits else super().choose(job, candidates)


@pytest.mark.parametrize(
    "policy", [RaisesOnPush, RaisesOnRemove, RaisesOnPeek, Denies, Invents, Confuses]
)
def test_broken_order_is_replaced_by_fifo(policy: type[OrderPolicy]) -> None:
    """Whatever an order policy does wrong, actions run, and what happened is told."""
    machine = Machine(order=policy())
    machine.submit("a", OSFamily="linux")
    machine.submit("b", OSFamily="macos")
    machine.join("w1", slots=2, OSFamily="macos")
    assert "group2" == machine.lease().group
    machine.join("w2", slots=2, OSFamily="linux")
    assert "group1" == machine.lease().group
    (fault,) = machine.state.dispatcher.faults
    assert f"the order policy {policy.__name__} was replaced by fifo" in fault


@pytest.mark.parametrize("policy", [RaisesOnChoose, ChoosesNobody])
def test_broken_placement_is_replaced_by_least_recently_used(policy: type[PlacementPolicy]) -> None:
    """Whatever a placement policy does wrong, actions run, and what happened is told."""
    machine = Machine(placement=policy())
    machine.submit()
    machine.join()
    machine.lease()
    (fault,) = machine.state.dispatcher.faults
    assert f"the placement policy {policy.__name__} was replaced by least_recently_used" in fault


def test_placement_may_let_a_job_wait() -> None:
    """A job that a policy leaves waiting is offered again with each tick."""
    placement = Waits()
    machine = Machine(placement=placement)
    machine.join()
    machine.submit()
    assert not machine.given(do.Lease)
    placement.waits = False
    machine.pass_time(1)
    machine.lease()
    assert [] == machine.state.dispatcher.faults


def test_good_policies_are_left_alone() -> None:
    """Nothing is replaced without a reason."""
    machine = Machine()
    machine.join()
    machine.submit()
    assert [] == machine.state.dispatcher.faults


class Slow(Fifo, LeastRecentlyUsed):
    """Takes a while for everything."""

    def __init__(self, clock: ManualClock, seconds: float) -> None:
        super().__init__()
        self._clock = clock
        self._seconds = seconds

    def peek(self, shape: int) -> Job | None:
        self._clock.advance(self._seconds)
        return super().peek(shape)

    def choose(self, job: Job, candidates: Sequence[Candidate]) -> Candidate | None:
        self._clock.advance(self._seconds)
        return super().choose(job, candidates)


def run_actions(policy_seconds: float) -> Machine:
    """A machine with slow policies on both axes, after ten actions."""
    clock = ManualClock()
    order, placement = Slow(clock, policy_seconds), Slow(clock, policy_seconds)
    machine = Machine(
        order=TimedOrder(order, clock.monotonic),
        placement=TimedPlacement(placement, clock.monotonic),
    )
    machine.join(slots=20)
    for number in range(10):
        machine.submit(f"action {number}")
        machine.lease()
    return machine


def test_policy_that_is_slow_again_and_again_is_replaced() -> None:
    """A policy that holds the scheduler up is as bad as one that raises."""
    faults = run_actions(SLOW_SECONDS * 2).state.dispatcher.faults
    assert [True, True] == ["Slow was replaced" in fault for fault in faults]


def test_quick_policy_stays() -> None:
    """A policy that answers within its time is kept."""
    assert [] == run_actions(SLOW_SECONDS / 2).state.dispatcher.faults
