"""The timestamps of a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from remex_core.clock import ManualClock
from remex_core.worker.timeline import Mark, Timeline

if TYPE_CHECKING:
    from remex_core.proto import reapi

QUEUED = Timestamp(seconds=5000)


def stamps(metadata: reapi.ExecutedActionMetadata) -> list[float]:
    """Every timestamp, in the order in which the moments are to come."""
    fields = ("queued_timestamp", *(mark.value for mark in Mark))
    return [getattr(metadata, field).ToNanoseconds() / 1e9 for field in fields]


def test_all_in_order() -> None:
    """MET-01: the worker and all timestamps are set, in the scheduler's time."""
    clock = ManualClock(wall=1000.0)
    timeline = Timeline(clock, offset=4010.0)
    for mark in Mark:
        clock.advance(1.5)
        timeline.mark(mark)
    metadata = timeline.metadata("w1", QUEUED, 1.25)
    assert metadata.worker == "w1"
    assert stamps(metadata) == [5000.0, *(5010.0 + 1.5 * n for n in range(1, 9))]


def test_wall_clock_that_jumps() -> None:
    """MET-01: a clock that is set back while an action runs does not turn its time back."""
    clock = ManualClock(wall=6000.0)
    timeline = Timeline(clock, offset=0.0)
    timeline.mark(Mark.WORKER_START)
    clock.wall -= 3600
    clock.steady += 2
    timeline.mark(Mark.RUN_START)
    found = stamps(timeline.metadata("w1", QUEUED, 0.0))
    assert found == sorted(found)
    assert found[1] == 6000.0
    assert found[-1] == 6002.0


def test_not_before_it_was_queued() -> None:
    """MET-01: a wrong offset makes no moment earlier than the one before it."""
    timeline = Timeline(ManualClock(wall=1.0), offset=0.0)
    for mark in Mark:
        timeline.mark(mark)
    assert stamps(timeline.metadata("w1", QUEUED, 0.0)) == [5000.0] * 9
    assert timeline.since_queued(5000.0) == 0.0


def test_moments_that_never_came() -> None:
    """MET-01: a moment that an action did not reach is that of the one before, never 1970."""
    clock = ManualClock(wall=6000.0)
    timeline = Timeline(clock, offset=0.0)
    timeline.mark(Mark.WORKER_START)
    assert stamps(timeline.metadata("w1", QUEUED, 0.0)) == [5000.0] + [6000.0] * 8
    assert timeline.seconds(Mark.RUN_START, Mark.RUN_END) == 0.0


def test_duration_by_the_clock_of_the_limit() -> None:
    """MET-02: the run's duration is what the time limit is measured by."""
    metadata = Timeline(ManualClock(), 0.0).metadata("w1", QUEUED, 1.25)
    assert metadata.virtual_execution_duration.ToNanoseconds() == 1_250_000_000
