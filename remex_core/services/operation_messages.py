"""How an operation looks on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from remex_core.digest import FUNCTIONS
from remex_core.proto import operations, reapi

if TYPE_CHECKING:
    from remex_core.scheduler.records import OperationRecord


def operation_message(
    record: OperationRecord, response: reapi.ExecuteResponse | None = None
) -> operations.Operation:
    """The operation's latest state; `response` replaces the record's own.

    `error` is never set (EXE-03): what went wrong stands in the response (EXE-21).
    """
    response = response or record.response
    operation = operations.Operation(name=record.name)
    operation.metadata.Pack(_metadata(record, response))
    if response is not None:
        operation.done = True
        operation.response.Pack(response)
    return operation


def _metadata(
    record: OperationRecord, response: reapi.ExecuteResponse | None
) -> reapi.ExecuteOperationMetadata:
    key = record.spec.key
    # The numbers of our stages and functions are those of the protocol.
    metadata = reapi.ExecuteOperationMetadata(
        stage=record.stage.value,  # type: ignore[arg-type] # a number is as good as a name
        action_digest=reapi.Digest(hash=key.hash, size_bytes=key.size),
        digest_function=FUNCTIONS[key.function].number,  # type: ignore[arg-type] # a number is as good as a name
    )
    partial = metadata.partial_execution_metadata
    if response is not None:
        partial.CopyFrom(response.result.execution_metadata)
    else:
        queued_at = record.created_at if record.group is None else record.group.queued_at
        partial.queued_timestamp.FromNanoseconds(int(queued_at * 1e9))
        if record.group is not None:
            partial.worker = record.group.worker
    return metadata
