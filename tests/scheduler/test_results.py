"""What becomes of a worker's result on its way to the client."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from remex_core.digest import SHA256
from remex_core.errors import Code, InvalidArgument, RemexError
from remex_core.proto import reapi, rpc_status, worker
from remex_core.scheduler import results
from remex_core.scheduler.content import MAX_RESULT_BYTES
from remex_core.scheduler.events import ActionSpec, Culprit
from remex_core.scheduler.records import GroupRecord, Submission

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMES = [
    name
    for name in reapi.ExecutedActionMetadata.DESCRIPTOR.fields_by_name
    if name.endswith("_timestamp")
]


def record(*, caches: bool = True, queued_at: float = 100.0) -> GroupRecord:
    spec = ActionSpec("", SHA256.key_of(b"action"))
    return GroupRecord(Submission(spec, b"", b"", (), None, caches), queued_at)


def response(
    exit_code: int = 0, code: Code = Code.OK, times: Mapping[str, float] | None = None
) -> reapi.ExecuteResponse:
    made = reapi.ExecuteResponse(status=rpc_status.Status(code=code))
    made.result.exit_code = exit_code
    for name, at in (times or {}).items():
        getattr(made.result.execution_metadata, name).FromNanoseconds(int(at * 1e9))
    return made


def seconds(metadata: reapi.ExecutedActionMetadata) -> dict[str, float]:
    return {name: getattr(metadata, name).ToNanoseconds() / 1e9 for name in TIMES}


def test_times_of_the_worker_stay() -> None:
    """MET-01: what the worker says is kept, with the scheduler's time of queueing."""
    told = {name: 110.0 + number for number, name in enumerate(results._TIMES_IN_ORDER)}
    made = response(times=told)
    results.complete_metadata(record(), made, "w1", now=200.0)
    expected = {**told, "queued_timestamp": 100.0}
    assert expected == seconds(made.result.execution_metadata)
    assert "w1" == made.result.execution_metadata.worker


def test_missing_times_are_filled() -> None:
    """MET-01: every time is set and none is before its predecessor."""
    made = response(times={"execution_start_timestamp": 120.0})
    results.complete_metadata(record(), made, "w1", now=200.0)
    assert {
        "queued_timestamp": 100.0,
        "worker_start_timestamp": 100.0,
        "input_fetch_start_timestamp": 100.0,
        "input_fetch_completed_timestamp": 100.0,
        "execution_start_timestamp": 120.0,
        "execution_completed_timestamp": 120.0,
        "output_upload_start_timestamp": 120.0,
        "output_upload_completed_timestamp": 120.0,
        "worker_completed_timestamp": 120.0,
    } == seconds(made.result.execution_metadata)


@pytest.mark.parametrize("skew", [-5000.0, -1.0, 3.0, 5000.0])
def test_clock_that_is_off_does_not_turn_time_back(skew: float) -> None:
    """MET-01: a worker's clock may be off; spans are never negative and never in the future."""
    told = {name: 110.0 + n + skew for n, name in enumerate(results._TIMES_IN_ORDER)}
    made = response(times=told)
    results.complete_metadata(record(), made, "w1", now=120.0)
    times = seconds(made.result.execution_metadata)
    ordered = [times[name] for name in ("queued_timestamp", *results._TIMES_IN_ORDER)]
    assert sorted(ordered) == ordered
    assert (100.0, True) == (ordered[0], ordered[-1] <= 120.0)


def test_worker_names_itself() -> None:
    """A name that the worker gave is kept."""
    made = response()
    made.result.execution_metadata.worker = "w1 of rack 7"
    results.complete_metadata(record(), made, "w1", now=120.0)
    assert "w1 of rack 7" == made.result.execution_metadata.worker


def test_timeout_has_the_text_that_clients_know() -> None:
    """EXE-24: the message is exact, whatever the worker wrote."""
    result = worker.Result(
        status=rpc_status.Status(code=Code.DEADLINE_EXCEEDED, message="took too long"),
        message="It ran for 60 s.",
    )
    made = results.to_response(result, reapi.ActionResult(exit_code=143).SerializeToString())
    assert "execution timeout exceeded" == made.status.message
    assert ("It ran for 60 s.", 143) == (made.message, made.result.exit_code)


def test_result_too_large_for_a_message() -> None:
    """GEN-05: a result that would not fit into 4 MiB is refused, with what to do."""
    with pytest.raises(InvalidArgument, match="more than a message may have") as caught:
        results.to_response(worker.Result(), b"x" * (MAX_RESULT_BYTES + 1))
    assert "output directories" in caught.value.hint


def test_result_that_is_none() -> None:
    """Bytes that are no ActionResult do not pass for one."""
    with pytest.raises(RemexError, match="no ActionResult"):
        results.to_response(worker.Result(lease_id="l1"), b"\xff\xff")


@pytest.mark.parametrize(
    ("caches", "cacheable", "code", "exit_code", "expected"),
    [
        (True, True, Code.OK, 0, True),
        (False, True, Code.OK, 0, False),
        (True, False, Code.OK, 0, False),
        (True, True, Code.DEADLINE_EXCEEDED, 0, False),
        (True, True, Code.OK, 1, False),
    ],
)
def test_what_is_cached(
    caches: bool, cacheable: bool, code: Code, exit_code: int, expected: bool
) -> None:
    """EXE-10, EXE-25, AC-17: only a good result of an action that may be cached."""
    assert expected is results.is_cacheable(
        record(caches=caches), response(exit_code, code), worker.Result(cacheable=cacheable)
    )


def test_what_the_machine_is_told() -> None:
    """The event carries the verdict, and the reason in the worker's words."""
    result = worker.Result(
        lease_id="l1",
        status=rpc_status.Status(code=Code.UNAVAILABLE, message="the disk is gone"),
        culprit=worker.WORKER,
    )
    event = results.to_event("w1", "i1", result, caches=False, weight=3)
    assert ("l1", False, Culprit.WORKER, "the disk is gone", 3) == (
        event.lease,
        event.succeeded,
        event.culprit,
        event.reason,
        event.weight,
    )


def test_culprit_of_a_newer_worker() -> None:
    """A culprit that this version does not know is not the action."""
    event = results.to_event(
        "w1", "i1", worker.Result(culprit=cast("worker.Culprit", 77)), caches=False, weight=0
    )
    assert Culprit.WORKER is event.culprit


def test_revoked_lease_has_not_succeeded() -> None:
    """A lease that was given back has no result, even if its status is OK."""
    event = results.to_event("w1", "i1", worker.Result(revoked=True), caches=False, weight=0)
    assert (False, True) == (event.succeeded, event.revoked)
