"""What a worker's result means: for the machine, for the client, and for the action cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from remex_core.errors import Code, InvalidArgument, RemexError
from remex_core.proto import reapi
from remex_core.scheduler.content import MAX_RESULT_BYTES
from remex_core.scheduler.events import Completed, Culprit
from remex_core.wire.status import to_status

if TYPE_CHECKING:
    from remex_core.proto import worker
    from remex_core.scheduler.records import GroupRecord

TIMEOUT_MESSAGE: Final = "execution timeout exceeded"
"""The exact text that clients compare with (EXE-24)."""

_TIMES_IN_ORDER: Final = (
    "worker_start_timestamp",
    "input_fetch_start_timestamp",
    "input_fetch_completed_timestamp",
    "execution_start_timestamp",
    "execution_completed_timestamp",
    "output_upload_start_timestamp",
    "output_upload_completed_timestamp",
    "worker_completed_timestamp",
)


def to_response(result: worker.Result, data: bytes) -> reapi.ExecuteResponse:
    """What the client will see; `data` is the serialised ActionResult.

    Raises:
        InvalidArgument: if the result is too large for a message (GEN-05).
        RemexError: if it cannot be read.
    """
    if len(data) > MAX_RESULT_BYTES:
        raise InvalidArgument(
            f"The action has so many outputs that its result has {len(data)} bytes, "
            f"more than a message may have.",
            hint="Declare output directories instead of very many output files.",
        )
    response = reapi.ExecuteResponse(status=result.status, message=result.message)
    try:
        response.result.ParseFromString(data)
    except DecodeError as error:
        raise RemexError(f"the result of lease {result.lease_id} is no ActionResult") from error
    if result.status.code == Code.DEADLINE_EXCEEDED:
        response.status.message = TIMEOUT_MESSAGE
    return response


def to_failure(error: RemexError) -> reapi.ExecuteResponse:
    """What the client sees of an error (EXE-14, EXE-21)."""
    return reapi.ExecuteResponse(status=to_status(error), message=error.hint)


def complete_metadata(
    record: GroupRecord, response: reapi.ExecuteResponse, worker_name: str, now: float
) -> None:
    """Names the worker and sets every time, none before its predecessor or after `now` (MET-01).

    The action was queued when the scheduler says so; the other times are the worker's, who
    measures how far its clock is from the scheduler's.
    """
    metadata = response.result.execution_metadata
    metadata.worker = metadata.worker or worker_name
    last = int(now * 1e9)
    earliest = min(int(record.queued_at * 1e9), last)
    metadata.queued_timestamp.FromNanoseconds(earliest)
    for name in _TIMES_IN_ORDER:
        field = getattr(metadata, name)
        told = field.ToNanoseconds()
        at = min(max(told, earliest), last)
        if at != told:
            field.FromNanoseconds(at)
        earliest = at


def is_cacheable(
    record: GroupRecord, response: reapi.ExecuteResponse, result: worker.Result
) -> bool:
    """Whether a result may enter the action cache (EXE-10, EXE-25, AC-17)."""
    return (
        record.submission.caches
        and result.cacheable
        and response.status.code == Code.OK
        and response.result.exit_code == 0
    )


def to_event(
    name: str, incarnation: str, result: worker.Result, *, caches: bool, weight: int
) -> Completed:
    """What the machine is told."""
    try:
        culprit = Culprit(result.culprit)
    except ValueError:
        # From a newer worker: whatever it means, the action is innocent until told otherwise.
        culprit = Culprit.WORKER
    return Completed(
        name,
        incarnation,
        result.lease_id,
        succeeded=result.status.code == Code.OK and not result.revoked,
        culprit=culprit,
        revoked=result.revoked,
        caches=caches,
        reason=result.status.message or result.message,
        weight=weight,
    )
