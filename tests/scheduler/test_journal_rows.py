"""What is written down, so that a successor can go on."""

from __future__ import annotations

import pytest

from remex_core.clock import ManualClock
from remex_core.digest import SHA256
from remex_core.proto import journal, reapi
from remex_core.scheduler import commands as do
from remex_core.scheduler import events as on
from remex_core.scheduler.journal import NoJournal
from remex_core.scheduler.journal_rows import VERSION, rows_of
from remex_core.scheduler.records import GroupRecord, OperationRecord, Submission
from scheduler_support.driving import Machine

SPEC = on.ActionSpec("main", SHA256.key_of(b"a"), priority=3)


class Written:
    """A machine, and the journal as it stands after each event."""

    def __init__(self) -> None:
        self.machine = Machine()
        submission = Submission(SPEC, b"action", b"command", (), 60.0, True, "trace", b"metadata")
        self.group = GroupRecord(submission, queued_at=5.0)
        self.operations = {
            f"op{number}": OperationRecord(f"op{number}", SPEC, 4.0) for number in range(1, 9)
        }
        self.rows: dict[str, bytes] = {}
        self._seen = 0

    def take(self) -> dict[str, bytes]:
        """Writes down what the machine wants since the last call, and answers all rows."""
        commands, self._seen = self.machine.all[self._seen :], len(self.machine.all)
        for key, value in rows_of(commands, 7, {"group1": self.group}, self.operations):
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value
        return self.rows


@pytest.fixture
def written() -> Written:
    return Written()


def test_queued_action_is_written_whole(written: Written) -> None:
    """A successor can run the action without asking anybody."""
    written.machine.submit()
    rows = written.take()
    assert {"group/group1", "operation/op1"} == set(rows)
    group = journal.Group.FromString(rows["group/group1"])
    assert (
        VERSION,
        "main",
        "sha256",
        SPEC.key.hash,
        SPEC.key.size,
        b"action",
        b"command",
        3,
        True,
        60.0,
        5.0,
        "trace",
        b"metadata",
    ) == (
        group.version,
        group.instance_name,
        group.digest_function,
        group.action_hash,
        group.action_size_bytes,
        group.action,
        group.command,
        group.priority,
        group.caches,
        group.timeout_seconds,
        group.queued_at,
        group.traceparent,
        group.request_metadata,
    )
    operation = journal.Operation.FromString(rows["operation/op1"])
    assert ("group1", 4.0, b"") == (operation.group, operation.created_at, operation.response)


def test_attempt_is_written_with_its_worker(written: Written) -> None:
    """A successor knows who may still run what."""
    written.machine.submit()
    written.machine.join()
    attempt = journal.Attempt.FromString(written.take()["attempt/group1"])
    assert (1, 0, "w1", "i1", 7) == (
        attempt.number,
        attempt.failures,
        attempt.worker,
        attempt.incarnation,
        attempt.epoch,
    )


def test_lost_attempt_is_written(written: Written) -> None:
    """EXE-26: attempts stay bounded across restarts."""
    written.machine.submit()
    written.machine.join()
    written.machine.handle(on.WorkerLost("w1", "i1", "it burnt"))
    attempt = journal.Attempt.FromString(written.take()["attempt/group1"])
    assert (1, 1, "") == (attempt.number, attempt.failures, attempt.worker)


def test_operation_that_joins_is_written(written: Written) -> None:
    """EXE-11: a merged caller survives as the first one does."""
    written.machine.submit()
    written.machine.submit()
    assert "operation/op2" in written.take()


def test_finished_operation_keeps_its_response(written: Written) -> None:
    """OP-04: the result of an action that ran is not lost; the rest of it is forgotten."""
    written.machine.join()
    written.machine.submit()
    written.take()
    written.machine.complete(written.machine.lease())
    written.group.response = reapi.ExecuteResponse(message="done")
    rows = written.take()
    assert {"operation/op1"} == set(rows)
    response = journal.Operation.FromString(rows["operation/op1"]).response
    assert "done" == reapi.ExecuteResponse.FromString(response).message


def test_cached_result_leaves_no_row(written: Written) -> None:
    """EXE-08: what the action cache has need not be written twice."""
    written.machine.submit(cached=True)
    assert {} == written.take()


def test_cancelled_operation_leaves_no_row(written: Written) -> None:
    """OP-08: a cancelled action is not taken up again."""
    operation = written.machine.submit()
    written.take()
    written.machine.handle(on.Cancelled(operation))
    assert {} == written.take()


def test_expired_operation_leaves_no_row(written: Written) -> None:
    """OP-04: what is forgotten is forgotten everywhere."""
    written.machine.join()
    written.machine.submit()
    written.machine.complete(written.machine.lease())
    written.group.response = reapi.ExecuteResponse()
    written.take()
    written.machine.pass_time(written.machine.options.retain_seconds + 1)
    assert {} == written.take()


def test_every_key_once(written: Written) -> None:
    """Of one batch, each key is written once, with what it is at the end."""
    written.machine.join()
    written.machine.submit()
    rows = rows_of(written.machine.all, 7, {"group1": written.group}, written.operations)
    keys = [row.key for row in rows]
    assert sorted(set(keys)) == sorted(keys)


def test_persist_without_facts_is_nothing(written: Written) -> None:
    """Commands that are not about the journal make no rows."""
    assert [] == rows_of([do.LookUp("group1")], 7, {"group1": written.group}, {})


async def test_epochs_rise_without_a_journal() -> None:
    """Every start of a scheduler has a higher epoch, even where nothing is kept."""
    clock = ManualClock()
    first = await NoJournal(clock).open()
    clock.advance(0.1)
    assert first < await NoJournal(clock).open()
