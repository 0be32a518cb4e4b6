"""The worker that has waited longest for an action."""

from __future__ import annotations

from typing import TYPE_CHECKING

from remex_core.scheduler.policy import PlacementPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from remex_core.scheduler.policy import Candidate, Job


class LeastRecentlyUsed(PlacementPolicy):
    """Spreads actions over all workers: the one leased to longest ago is next."""

    def choose(self, job: Job, candidates: Sequence[Candidate]) -> Candidate | None:
        return min(candidates, key=lambda candidate: candidate.last_leased_at, default=None)
