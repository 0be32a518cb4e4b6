"""First come, first served, the urgent ones before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from remex_core.scheduler.policies.fifo import Fifo
from remex_core.testing.policies import OrderPolicyContract, job

if TYPE_CHECKING:
    from remex_core.scheduler.policy import Job


class TestFifo(OrderPolicyContract):
    @pytest.fixture
    def policy(self) -> Fifo:
        return Fifo()


def order_of(*jobs: Job) -> list[str]:
    fifo = Fifo()
    for each in jobs:
        fifo.push(each)
    order = []
    while (following := fifo.peek(1)) is not None:
        fifo.remove(following)
        order.append(following.id)
    return order


def test_by_time_of_queueing() -> None:
    """Who queued first comes first, even if it was pushed last."""
    assert ["job-1", "job-2", "job-3"] == order_of(job(2), job(3), job(1))


def test_by_priority_before_time() -> None:
    """EXE-31: a lower priority number is sooner, whatever the time."""
    assert ["job-3", "job-1", "job-2"] == order_of(job(1), job(2, priority=1), job(3, priority=-1))


def test_same_time_is_the_order_of_pushing() -> None:
    """Jobs of one moment keep the order in which they came."""
    jobs = [job(number, queued_at=1.0) for number in (5, 1, 3)]
    assert ["job-5", "job-1", "job-3"] == order_of(*jobs)
