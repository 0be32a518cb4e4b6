"""One measured number, what it is compared with, and what it should be."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@dataclass(frozen=True, slots=True)
class Figure:
    """A measurement.

    Args:
        name: what was measured.
        value: how much of `unit` it was.
        unit: such as `MB/s` or `ms`.
        baseline: the same in the same unit for the bare thing it is compared with, or None.
        at_least: the ratio to the baseline, or without one the value, that is wanted or more.
        at_most: likewise, that or less.
    """

    name: str
    value: float
    unit: str
    baseline: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def compared(self) -> float:
        """What the bounds are about: the ratio to the baseline, or the value without one."""
        return self.value if self.baseline is None else self.value / self.baseline

    @property
    def holds(self) -> bool:
        """Whether it is within its bounds."""
        above = self.at_least is None or self.compared >= self.at_least
        below = self.at_most is None or self.compared <= self.at_most
        return above and below

    @property
    def bound(self) -> str:
        """The bound as it is written, such as `>= 60 %`; empty without one."""
        for sign, limit in ((">=", self.at_least), ("<=", self.at_most)):
            if limit is not None:
                shown = f"{limit:g} {self.unit}" if self.baseline is None else f"{limit:.0%}"
                return f"{sign} {shown}"
        return ""


async def in_turns(rounds: int, *measures: Callable[[], Awaitable[float]]) -> tuple[float, ...]:
    """The median of each measure over `rounds`, all of them once in each round.

    Taking turns lets a machine that grows slower or faster meanwhile disturb all alike.
    """
    taken: list[list[float]] = [[] for _ in measures]
    for _ in range(rounds):
        for results, measure in zip(taken, measures, strict=True):
            results.append(await measure())
    return tuple(map(median, taken))
