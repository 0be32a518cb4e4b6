"""The worker that has waited longest."""

from __future__ import annotations

import pytest

from remex_core.scheduler.policies.least_recently_used import LeastRecentlyUsed
from remex_core.scheduler.policy import Candidate
from remex_core.testing.policies import PlacementPolicyContract, job


class TestLeastRecentlyUsed(PlacementPolicyContract):
    @pytest.fixture
    def policy(self) -> LeastRecentlyUsed:
        return LeastRecentlyUsed()


def test_longest_idle_worker_is_chosen() -> None:
    """The candidate whose last lease is the oldest; one that never had one before all."""
    never, long_ago, lately = (Candidate(f"w{at}", 1, 0, float(at)) for at in (0, 5, 9))
    policy = LeastRecentlyUsed()
    assert long_ago == policy.choose(job(1), [lately, long_ago])
    assert never == policy.choose(job(1), [lately, long_ago, never])
