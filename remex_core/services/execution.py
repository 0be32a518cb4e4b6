"""Execution: Execute and WaitExecution, as streams of the operation's latest state."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from remex_core.errors import OperationNotFound, RemexError, Unavailable, Unimplemented
from remex_core.proto import reapi
from remex_core.scheduler.events import ActionSpec
from remex_core.services.inlining import inline_outputs
from remex_core.services.operation_messages import operation_message
from remex_core.services.submissions import read_submission
from remex_core.wire import methods

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from remex_core.proto import operations
    from remex_core.scheduler.engine import Scheduler
    from remex_core.scheduler.records import OperationRecord
    from remex_core.services.instances import Instances
    from remex_core.wire.call import Call, Handler
    from remex_core.wire.methods import Method


class ExecutionService:
    """Runs actions for clients of every instance that executes."""

    def __init__(self, instances: Instances, scheduler: Scheduler) -> None:
        self._instances = instances
        self._scheduler = scheduler

    def handlers(self) -> Mapping[Method[Any, Any], Handler]:
        """The handlers by method."""
        return {
            methods.EXECUTE: self.execute,
            methods.WAIT_EXECUTION: self.wait_execution,
        }

    async def execute(
        self, call: Call, request: reapi.ExecuteRequest
    ) -> AsyncGenerator[operations.Operation]:
        """The states of a new operation, from the first until it is done (EXE-01..EXE-37).

        The end of the stream does not end the operation (EXE-34). What is wrong with the request
        itself is an error of the call (EXE-12); what is wrong with the action, or happens to it,
        stands in the done operation (EXE-14, EXE-21).

        Raises:
            InvalidArgument: if the request names no usable action or instance.
            ResourceExhausted: if the queue is full.
        """
        instance = self._instances.resolve(request.instance_name)
        if not instance.executes:
            raise Unimplemented(
                "This server is a cache and does not execute actions.",
                hint="Point --remote_executor at a scheduler, or use --remote_cache alone.",
            )
        digest = request.action_digest
        maker = instance.functions.for_request(request.digest_function, (digest.hash,))
        key = maker.key(digest.hash, digest.size_bytes)
        try:
            submission = await read_submission(
                instance, maker, key, call, request, self._scheduler.options
            )
        except RemexError as error:
            record = self._scheduler.reject(ActionSpec(instance.name, key), error)
        else:
            record = self._scheduler.submit(submission)
        async with aclosing(self._follow(record)) as states:
            async for state in states:
                yield state

    async def wait_execution(
        self, _call: Call, request: reapi.WaitExecutionRequest
    ) -> AsyncGenerator[operations.Operation]:
        """The states of an operation, from the current one until it is done (OP-01, OP-03).

        Raises:
            OperationNotFound: if there is none of this name (OP-02).
        """
        record = self._scheduler.operation(request.name)
        if record is None:
            raise OperationNotFound(
                f"There is no operation {request.name!r}; finished ones are kept for a while.",
                hint="Call Execute again.",
            )
        async with aclosing(self._follow(record)) as states:
            async for state in states:
                yield state

    async def _follow(self, record: OperationRecord) -> AsyncGenerator[operations.Operation]:
        """The operation's states until it is done; repeated when nothing happens (EXE-35).

        Raises:
            Unavailable: if the scheduler stops before it is done (OP-05).
        """
        while not record.is_done:
            version = record.version
            yield operation_message(record)
            await record.wait(version, self._scheduler.options.update_interval)
            if self._scheduler.is_stopping and not record.is_done:
                raise Unavailable(
                    "The scheduler is stopping; the operation is not done.",
                    hint="Call WaitExecution or Execute again in a moment.",
                )
        yield operation_message(record, await self._inlined(record))

    async def _inlined(self, record: OperationRecord) -> reapi.ExecuteResponse | None:
        """The response with the outputs that the client wants inside it, if any (EXE-32)."""
        if record.inline is None or record.response is None:
            return None
        instance = self._instances.resolve(record.spec.instance)
        maker = instance.functions.for_name(record.spec.key.function)
        response = reapi.ExecuteResponse()
        response.CopyFrom(record.response)
        await inline_outputs(instance.cas, maker, record.inline, response.result)
        return response
