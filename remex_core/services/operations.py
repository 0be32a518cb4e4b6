"""google.longrunning.Operations: look at operations, cancel them, wait for them, forget them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import empty_pb2

from remex_core.errors import InvalidArgument, OperationNotFound
from remex_core.proto import operations
from remex_core.services.operation_messages import operation_message
from remex_core.wire import methods

if TYPE_CHECKING:
    from collections.abc import Mapping

    from remex_core.scheduler.engine import Scheduler
    from remex_core.scheduler.records import OperationRecord
    from remex_core.wire.call import Call, Handler
    from remex_core.wire.methods import Method

_MAX_PAGE: Final = 500
_MAX_PAGE_BYTES: Final = 2 * 1024 * 1024
_MAX_WAIT_SECONDS: Final = 50.0


class OperationsService:
    """The operations of one scheduler; the name alone identifies one (INS-08, OP-10)."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def handlers(self) -> Mapping[Method[Any, Any], Handler]:
        """The handlers by method."""
        return {
            methods.LIST_OPERATIONS: self.list_operations,
            methods.GET_OPERATION: self.get_operation,
            methods.CANCEL_OPERATION: self.cancel_operation,
            methods.DELETE_OPERATION: self.delete_operation,
            methods.WAIT_OPERATION: self.wait_operation,
        }

    async def list_operations(
        self, _call: Call, request: operations.ListOperationsRequest
    ) -> operations.ListOperationsResponse:
        """A page of operations, the oldest first (OP-07).

        Raises:
            InvalidArgument: if the page size or token is none.
        """
        if request.page_size < 0:
            raise InvalidArgument(f"The page size {request.page_size} is negative.")
        start = _position(request.page_token)
        size = min(request.page_size or _MAX_PAGE, _MAX_PAGE)
        records = self._of_collection(request.name)
        response = operations.ListOperationsResponse()
        used = 0
        for record in records[start : start + size]:
            message = operation_message(record)
            used += message.ByteSize()
            if response.operations and used > _MAX_PAGE_BYTES:
                break
            response.operations.append(message)
        end = start + len(response.operations)
        if end < len(records):
            response.next_page_token = base64.urlsafe_b64encode(str(end).encode()).decode()
        return response

    async def get_operation(
        self, _call: Call, request: operations.GetOperationRequest
    ) -> operations.Operation:
        """The latest state (OP-06)."""
        return operation_message(self._find(request.name))

    async def cancel_operation(
        self, _call: Call, request: operations.CancelOperationRequest
    ) -> empty_pb2.Empty:
        """Ends an operation; one that is done stays as it is (OP-08)."""
        record = self._find(request.name)
        if not record.is_done:
            self._scheduler.cancel(request.name)
        return empty_pb2.Empty()

    async def delete_operation(
        self, _call: Call, request: operations.DeleteOperationRequest
    ) -> empty_pb2.Empty:
        """Forgets an operation and its result; if it is not done, it goes on (OP-07)."""
        self._find(request.name)
        self._scheduler.forget(request.name)
        return empty_pb2.Empty()

    async def wait_operation(
        self, _call: Call, request: operations.WaitOperationRequest
    ) -> operations.Operation:
        """The state when the operation is done, or when the timeout is over (OP-07)."""
        record = self._find(request.name)
        wanted = request.timeout.seconds + request.timeout.nanos / 1e9
        left = min(wanted, _MAX_WAIT_SECONDS) if request.HasField("timeout") else _MAX_WAIT_SECONDS
        monotonic = self._scheduler.clock.monotonic
        deadline = monotonic() + left
        while not record.is_done and (left := deadline - monotonic()) > 0:
            await record.wait(record.version, left)
            if self._scheduler.is_stopping:
                break
        return operation_message(record)

    def _of_collection(self, name: str) -> list[OperationRecord]:
        """The operations of `[instance/]operations`; without an instance, those of all."""
        instance = name.removesuffix("operations").rstrip("/")
        records = self._scheduler.operations()
        if not instance:
            return records
        return [record for record in records if record.spec.instance == instance]

    def _find(self, name: str) -> OperationRecord:
        record = self._scheduler.operation(name)
        if record is None:
            raise OperationNotFound(
                f"There is no operation {name!r}; finished ones are kept for a while."
            )
        return record


def _position(token: str) -> int:
    if not token:
        return 0
    try:
        return max(0, int(base64.urlsafe_b64decode(token.encode())))
    except ValueError as error:
        raise InvalidArgument(f"The page token {token!r} is not one of this server's.") from error
