"""When each stage of an action began and ended, in the scheduler's time and in order (MET-01)."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from remex_core.proto import reapi

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from remex_core.clock import Clock


class Mark(Enum):
    """The moments of an ExecutedActionMetadata, in their order; the values are its fields."""

    WORKER_START = "worker_start_timestamp"
    FETCH_START = "input_fetch_start_timestamp"
    FETCH_END = "input_fetch_completed_timestamp"
    RUN_START = "execution_start_timestamp"
    RUN_END = "execution_completed_timestamp"
    UPLOAD_START = "output_upload_start_timestamp"
    UPLOAD_END = "output_upload_completed_timestamp"
    WORKER_END = "worker_completed_timestamp"


class Timeline:
    """The marks of one action.

    Args:
        clock: the worker's.
        offset: what to add to the worker's wall clock to get the scheduler's, in seconds. It is
            read once, and time then goes on by the monotonic clock, so that it never goes back.
    """

    def __init__(self, clock: Clock, offset: float) -> None:
        self._clock = clock
        self._base = clock.now() + offset - clock.monotonic()
        self._marks: dict[Mark, float] = {}

    def mark(self, mark: Mark) -> None:
        """Notes that this moment is now."""
        self._marks[mark] = self._base + self._clock.monotonic()

    def seconds(self, start: Mark, end: Mark) -> float:
        """The time between two moments; 0 where one of them never came."""
        if start not in self._marks or end not in self._marks:
            return 0.0
        return self._marks[end] - self._marks[start]

    def since_queued(self, queued_at: float) -> float:
        """Seconds from a moment of the scheduler's time to the worker's start, at least 0."""
        return max(0.0, self._marks.get(Mark.WORKER_START, queued_at) - queued_at)

    def metadata(
        self, worker: str, queued_at: Timestamp, run_seconds: float
    ) -> reapi.ExecutedActionMetadata:
        """The metadata of a result, with every timestamp set and none before its predecessor.

        `run_seconds` is what the time limit is measured by (MET-02). A moment that never came, as
        when the inputs could not be fetched, is that of its predecessor.
        """
        metadata = reapi.ExecutedActionMetadata(worker=worker)
        metadata.queued_timestamp.CopyFrom(queued_at)
        latest = queued_at.ToNanoseconds()
        for mark in Mark:
            at = self._marks.get(mark)
            if at is not None:
                latest = max(latest, int(at * 1e9))
            field: Timestamp = getattr(metadata, mark.value)
            field.FromNanoseconds(latest)
        metadata.virtual_execution_duration.FromNanoseconds(int(run_seconds * 1e9))
        return metadata
