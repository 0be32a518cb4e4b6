"""What a measured number says of itself."""

from __future__ import annotations

import pytest

from remex_core.bench.figure import Figure, in_turns


@pytest.mark.parametrize(
    ("figure", "holds", "bound"),
    [
        (Figure("read", 60, "MB/s", baseline=100, at_least=0.6), True, ">= 60%"),
        (Figure("read", 59, "MB/s", baseline=100, at_least=0.6), False, ">= 60%"),
        (Figure("link", 201, "ms", baseline=100, at_most=2), False, "<= 200%"),
        (Figure("help", 250, "ms", at_most=250), True, "<= 250 ms"),
        (Figure("actions", 99, "/s", at_least=100), False, ">= 100 /s"),
        (Figure("free", 1, "s"), True, ""),
    ],
)
def test_a_figure_holds_within_its_bound(figure: Figure, holds: bool, bound: str) -> None:
    """Bounds are about the ratio where there is a baseline, else about the value."""
    assert (holds, bound) == (figure.holds, figure.bound)


async def test_measures_take_turns_and_the_median_counts() -> None:
    """Each round runs every measure once, and one odd round does not matter."""
    order: list[str] = []

    def measure(name: str, values: list[float]) -> float:
        order.append(name)
        return values.pop(0)

    first, second = [1.0, 100.0, 2.0], [5.0, 6.0, 7.0]

    async def one() -> float:
        return measure("first", first)

    async def other() -> float:
        return measure("second", second)

    assert (2.0, 6.0) == await in_turns(3, one, other)
    assert ["first", "second"] * 3 == order
