"""What the demo's two builds show, and whether that is what they should."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from remex_core.demo.build import Done


@dataclass(frozen=True, slots=True)
class Outcome:
    """Both builds, step by step in the same order, and whether the program ran as it should."""

    first: Sequence[Done]
    second: Sequence[Done]
    program_ran: bool

    @property
    def faults(self) -> Sequence[str]:
        """What went otherwise than a demo should, in sentences; empty when all is well."""
        cached = [done.output for done in self.first if done.cached]
        run = [done.output for done in self.second if not done.cached]
        faults = []
        if cached:
            faults.append(f"{len(cached)} actions of the first build were cached: {cached}.")
        if run:
            faults.append(f"{len(run)} actions of the second build were not cached: {run}.")
        if not self.program_ran:
            faults.append("The program that was built does not print what it should.")
        return faults

    @property
    def by_worker(self) -> Mapping[str, int]:
        """How many actions of the first build each worker ran."""
        return dict(sorted(Counter(done.worker for done in self.first).items()))
