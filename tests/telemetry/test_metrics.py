"""Counting, and the text that is scraped."""

from __future__ import annotations

import re

import pytest

from remex_core.telemetry import names
from remex_core.telemetry.metrics import Histogram, Registry
from remex_core.telemetry.names import Metric

CALLS = Metric("remex_test_total", "counter", "Calls.", ("who", "what"))
DEPTH = Metric("remex_depth", "gauge", "Depth.")
SECONDS = Metric("remex_seconds", "histogram", "Seconds.", ("who",))


def test_the_same_labels_are_the_same_series() -> None:
    """Whoever asks for a series again gets the one that counts already."""
    registry = Registry()
    registry.number(CALLS, "a", "b").value += 2
    registry.number(CALLS, "a", "b").value += 1
    registry.number(CALLS, "a", "c").value += 5
    assert 3 == registry.number(CALLS, "a", "b").value
    registry.histogram(SECONDS, "a").observe(1.0)
    assert 1.0 == registry.histogram(SECONDS, "a").sum


def test_the_text_format() -> None:
    """Help, type and samples of each metric stand together, labels escaped, numbers plain."""
    registry = Registry()
    registry.number(CALLS, 'x"\\\n', "b").value += 2
    registry.number(DEPTH).value = 0.5
    registry.histogram(SECONDS, "a", bounds=(0.1, 1.0)).observe(0.1)
    registry.histogram(SECONDS, "a").observe(0.5)
    registry.histogram(SECONDS, "a").observe(7)
    expected = """\
# HELP remex_depth Depth.
# TYPE remex_depth gauge
remex_depth 0.5
# HELP remex_seconds Seconds.
# TYPE remex_seconds histogram
remex_seconds_bucket{who="a",le="0.1"} 1
remex_seconds_bucket{who="a",le="1.0"} 2
remex_seconds_bucket{who="a",le="+Inf"} 3
remex_seconds_sum{who="a"} 7.6
remex_seconds_count{who="a"} 3
# HELP remex_test_total Calls.
# TYPE remex_test_total counter
remex_test_total{who="x\\"\\\\\\n",what="b"} 2
"""
    assert expected == registry.render()


def test_what_is_only_known_by_asking() -> None:
    """Collectors run before each rendering."""
    registry = Registry()
    asked = 0

    def collect() -> None:
        nonlocal asked
        asked += 1
        registry.number(DEPTH).value = asked

    registry.before_scrape(collect)
    assert "remex_depth 1\n" in registry.render()
    assert "remex_depth 2\n" in registry.render()


@pytest.mark.parametrize(("value", "bucket"), [(0, 0), (0.1, 0), (0.11, 1), (1.0, 1), (9e9, 2)])
def test_bounds_are_inclusive(value: float, bucket: int) -> None:
    """A value that equals a bound counts as up to it; what is above all is counted last."""
    histogram = Histogram((0.1, 1.0))
    histogram.observe(value)
    assert bucket == histogram.buckets.index(1)


def test_names_are_what_prometheus_wants() -> None:
    """Names start with `remex_`, counters end in `_total`, labels are plain, helps sentences."""
    metrics = [value for value in vars(names).values() if isinstance(value, Metric)]
    assert metrics
    assert len({metric.name for metric in metrics}) == len(metrics)
    for metric in metrics:
        assert re.fullmatch(r"remex(_[a-z0-9]+)+", metric.name)
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        assert metric.help.endswith(".")
        assert all(re.fullmatch(r"[a-z_]+", label) for label in metric.labels)
        assert not {"le", "digest", "hash"} & set(metric.labels)
