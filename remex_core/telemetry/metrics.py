"""Counting on hot paths, and the text that Prometheus scrapes.

Counting is adding to a plain number; everything else happens at the scrape. Who counts asks the
registry once, at start-up, for a series and keeps it.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from remex_core.telemetry.names import Metric

LATENCY_BOUNDS: Final = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
)
"""Upper bounds of a latency histogram's buckets, in seconds."""


class Number:
    """The series of a counter or a gauge: add to `value`, or set a gauge's."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0


class Histogram:
    """The series of a histogram."""

    __slots__ = ("_bounds", "buckets", "sum")

    def __init__(self, bounds: Sequence[float] = LATENCY_BOUNDS) -> None:
        self._bounds = tuple(bounds)
        self.buckets = [0] * (len(self._bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Counts one observation."""
        self.buckets[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> Iterator[tuple[str, int]]:
        """(upper bound, observations up to it) pairs, the last one for `+Inf`."""
        total = 0
        for bound, count in zip((*self._bounds, None), self.buckets, strict=True):
            total += count
            yield "+Inf" if bound is None else repr(float(bound)), total


_Series = Number | Histogram


class Registry:
    """All series of one process, by metric and label values."""

    def __init__(self) -> None:
        self._series: dict[Metric, dict[tuple[str, ...], _Series]] = {}
        self._collectors: list[Callable[[], None]] = []

    def number(self, metric: Metric, *labels: str) -> Number:
        """The one series of a counter or gauge with these label values."""
        series = self._family(metric, labels).setdefault(labels, Number())
        assert isinstance(series, Number), metric
        return series

    def histogram(
        self, metric: Metric, *labels: str, bounds: Sequence[float] = LATENCY_BOUNDS
    ) -> Histogram:
        """The one series of a histogram with these label values."""
        series = self._family(metric, labels).setdefault(labels, Histogram(bounds))
        assert isinstance(series, Histogram), metric
        return series

    def before_scrape(self, collect: Callable[[], None]) -> None:
        """Calls `collect` before each rendering, to set what is only known by asking."""
        self._collectors.append(collect)

    def render(self) -> str:
        """Everything in the Prometheus text format, version 0.0.4."""
        for collect in self._collectors:
            collect()
        lines: list[str] = []
        for metric in sorted(self._series, key=lambda metric: metric.name):
            lines += (f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}")
            for values, series in sorted(self._series[metric].items()):
                labels = [
                    f'{name}="{_escaped(value)}"'
                    for name, value in zip(metric.labels, values, strict=True)
                ]
                lines += _lines(metric.name, labels, series)
        return "".join(f"{line}\n" for line in lines)

    def _family(self, metric: Metric, labels: tuple[str, ...]) -> dict[tuple[str, ...], _Series]:
        assert len(labels) == len(metric.labels), metric
        return self._series.setdefault(metric, {})


def _lines(name: str, labels: list[str], series: _Series) -> Iterator[str]:
    if isinstance(series, Number):
        yield f"{name}{_braced(labels)} {_number(series.value)}"
        return
    count = 0
    for bound, count in series.cumulative():
        within = _braced([*labels, f'le="{bound}"'])
        yield f"{name}_bucket{within} {count}"
    yield f"{name}_sum{_braced(labels)} {_number(series.sum)}"
    yield f"{name}_count{_braced(labels)} {count}"


def _braced(labels: list[str]) -> str:
    return f"{{{','.join(labels)}}}" if labels else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
