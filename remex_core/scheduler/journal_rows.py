"""From what the machine wants remembered to the journal's rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from remex_core.proto import journal
from remex_core.scheduler.commands import Ending, FactKind, Finish, Persist
from remex_core.scheduler.journal import JournalRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from remex_core.scheduler.commands import Command, Fact
    from remex_core.scheduler.records import GroupRecord, OperationRecord

VERSION: Final = 1


def rows_of(
    commands: Iterable[Command],
    epoch: int,
    groups: Mapping[str, GroupRecord],
    operations: Mapping[str, OperationRecord],
) -> list[JournalRow]:
    """The rows for the Persist commands among `commands`, each key once, with its last value.

    Of finished operations those that ran are kept with their responses. The others are
    forgotten: their clients ask again, and lose nothing.
    """
    rows: dict[str, bytes | None] = {}
    ran: set[str] = set()
    for command in commands:
        if isinstance(command, Finish) and command.ending is Ending.RAN:
            ran.update(command.operations)
    for command in commands:
        for fact in command.facts if isinstance(command, Persist) else ():
            rows.update(_rows(fact, epoch, groups, operations, ran))
    return [JournalRow(key, value) for key, value in rows.items()]


def _rows(
    fact: Fact,
    epoch: int,
    groups: Mapping[str, GroupRecord],
    operations: Mapping[str, OperationRecord],
    ran: set[str],
) -> dict[str, bytes | None]:
    rows: dict[str, bytes | None] = {}
    record = groups.get(fact.group)
    if fact.kind is FactKind.QUEUED and record is not None:
        rows[f"group/{fact.group}"] = _group(record)
    if fact.kind in {FactKind.LEASED, FactKind.REQUEUED}:
        rows[f"attempt/{fact.group}"] = journal.Attempt(
            version=VERSION,
            number=fact.attempt,
            failures=fact.failures,
            worker=fact.worker,
            incarnation=fact.incarnation,
            epoch=epoch,
        ).SerializeToString()
    if fact.ended:
        rows[f"group/{fact.group}"] = rows[f"attempt/{fact.group}"] = None
    for name in fact.operations:
        operation = operations.get(name)
        is_kept = fact.kind in {FactKind.QUEUED, FactKind.JOINED} or name in ran
        rows[f"operation/{name}"] = (
            _operation(operation, fact.group, record if name in ran else None)
            if operation is not None and is_kept
            else None
        )
    return rows


def _group(record: GroupRecord) -> bytes:
    submission = record.submission
    spec = submission.spec
    return journal.Group(
        version=VERSION,
        instance_name=spec.instance,
        digest_function=spec.key.function,
        action_hash=spec.key.hash,
        action_size_bytes=spec.key.size,
        action=submission.action,
        command=submission.command,
        priority=spec.priority,
        merges=spec.merges,
        caches=submission.caches,
        timeout_seconds=submission.timeout or 0.0,
        queued_at=record.queued_at,
        traceparent=submission.traceparent,
        request_metadata=submission.request_metadata,
    ).SerializeToString()


def _operation(operation: OperationRecord, group: str, ended: GroupRecord | None) -> bytes:
    message = journal.Operation(version=VERSION, group=group, created_at=operation.created_at)
    if ended is not None and ended.response is not None:
        message.response = ended.response.SerializeToString()
    return message.SerializeToString()
