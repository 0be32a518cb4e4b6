"""How an operation looks on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from remex_core.digest import FUNCTIONS
from remex_core.proto import operations, reapi

if TYPE_CHECKING:
    from remex_core.scheduler.records import OperationRecord

_MAX_RESPONSE_BYTES: Final = 3 * 1024 * 1024


def operation_message(
    record: OperationRecord, response: reapi.ExecuteResponse | None = None
) -> operations.Operation:
    """The operation's latest state; `response` replaces the record's own.

    `error` is never set (EXE-03): what went wrong stands in the response (EXE-21).
    """
    response = response or record.response
    operation = operations.Operation(name=record.name, done=response is not None)
    operation.metadata.Pack(_metadata(record, response))
    if response is not None:
        operation.response.Pack(response)
    return operation


def _metadata(
    record: OperationRecord, response: reapi.ExecuteResponse | None
) -> reapi.ExecuteOperationMetadata:
    key = record.spec.key
    metadata = reapi.ExecuteOperationMetadata(
        stage=reapi.ExecutionStage.Value.Name(record.stage.value)
        if response is None
        else "COMPLETED",
        digest_function=reapi.DigestFunction.Value.Name(FUNCTIONS[key.function].number),
    )
    metadata.action_digest.hash = key.hash
    metadata.action_digest.size_bytes = key.size
    partial = metadata.partial_execution_metadata
    if response is not None:
        partial.CopyFrom(response.result.execution_metadata)
    else:
        partial.queued_timestamp.FromNanoseconds(int(record.created_at * 1e9))
        if record.group is not None:
            partial.worker = record.group.worker
    return metadata
