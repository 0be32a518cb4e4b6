"""Execution: Execute and WaitExecution, as streams of the operation's latest state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from remex_core.errors import (
    BlobNotFound,
    InvalidArgument,
    MissingBlobs,
    OperationNotFound,
    RemexError,
    Unavailable,
    Unimplemented,
)
from remex_core.platform import requirement
from remex_core.proto import operations, reapi
from remex_core.scheduler.events import ActionSpec
from remex_core.scheduler.records import Submission
from remex_core.services.blobs import read_blobs
from remex_core.services.inlining import inline_outputs
from remex_core.services.operation_messages import operation_message
from remex_core.wire import methods
from remex_core.wire.status import to_status
from remex_core.worker.command import parse_action, parse_command

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from remex_core.digest import Key, KeyMaker
    from remex_core.scheduler.engine import Scheduler
    from remex_core.scheduler.records import OperationRecord
    from remex_core.services.instances import Instance, Instances
    from remex_core.wire.call import Call
    from remex_core.wire.methods import Method

_MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024


class ExecutionService:
    """Runs actions for clients of every instance that executes."""

    def __init__(self, instances: Instances, scheduler: Scheduler) -> None:
        self._instances = instances
        self._scheduler = scheduler

    def handlers(self) -> Mapping[Method[Any, Any], Callable[..., Any]]:
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
        record = await self._submit(call, request, instance, maker, key)
        async for state in self._follow(record):
            if state.done:
                state = await self._inlined(record, request, instance, maker)  # noqa: PLW2901
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
        async for state in self._follow(record):
            yield state

    async def _submit(
        self,
        call: Call,
        request: reapi.ExecuteRequest,
        instance: Instance,
        maker: KeyMaker,
        key: Key,
    ) -> OperationRecord:
        bare = ActionSpec(instance.name, key)
        try:
            submission = await self._read_action(call, request, instance, maker, key)
        except RemexError as error:
            response = reapi.ExecuteResponse(status=to_status(error), message=error.hint)
            return self._scheduler.reject(bare, response)
        return self._scheduler.submit(submission)

    async def _read_action(
        self,
        call: Call,
        request: reapi.ExecuteRequest,
        instance: Instance,
        maker: KeyMaker,
        key: Key,
    ) -> Submission:
        """The submission that a request asks for.

        Raises:
            MissingBlobs: if the Action or Command is not in the CAS (EXE-13).
            InvalidArgument: if either breaks a rule (EXE-17, EXE-27).
        """
        action_bytes = await _read(instance, key)
        action = parse_action(action_bytes)
        command_key = maker.key(action.command_digest.hash, action.command_digest.size_bytes)
        # Checked here as well: a digest that cannot be one must not reach a worker.
        root = maker.key(action.input_root_digest.hash, action.input_root_digest.size_bytes)
        timeout = self._timeout(action)
        command_bytes = await _read(instance, command_key)
        platform = action.platform if action.HasField("platform") else None
        command = parse_command(command_bytes, platform)
        metadata = call.request_metadata
        spec = ActionSpec(
            instance=instance.name,
            key=key,
            requirement=requirement(
                (name, value) for name, values in command.properties.items() for value in values
            ),
            priority=request.execution_policy.priority,
            merges=not action.do_not_cache,
            looks_up=not (request.skip_cache_lookup or action.do_not_cache),
            invocation="" if metadata is None else metadata.tool_invocation_id,
            input_root=root.hash,
        )
        return Submission(
            spec=spec,
            action=action_bytes,
            command=command_bytes,
            timeout=timeout,
            caches=not action.do_not_cache,
            traceparent=call.traceparent,
            request_metadata=b"" if metadata is None else metadata.SerializeToString(),
        )

    def _timeout(self, action: reapi.Action) -> float | None:
        """The time limit of an action in seconds; 0 counts as none given (EXE-27)."""
        options = self._scheduler.options
        seconds = action.timeout.seconds + action.timeout.nanos / 1e9
        if seconds < 0:
            raise InvalidArgument(f"The action's timeout of {seconds:g} s is negative.")
        if not seconds:
            return options.default_timeout
        if options.max_timeout is not None and seconds > options.max_timeout:
            raise InvalidArgument(
                f"The action's timeout of {seconds:g} s is over the {options.max_timeout:g} s "
                f"that are allowed here.",
                hint="Ask for less, or raise scheduler.max_timeout.",
            )
        return seconds

    async def _follow(self, record: OperationRecord) -> AsyncGenerator[operations.Operation]:
        """The operation's states until it is done; repeated when nothing happens (EXE-35)."""
        while True:
            version = record.version
            state = operation_message(record)
            yield state
            if state.done:
                return
            await record.wait(version, self._scheduler.options.update_interval)
            if self._scheduler.is_stopping and not record.is_done:
                raise Unavailable(
                    "The scheduler is stopping; the operation is not done.",
                    hint="Call WaitExecution or Execute again in a moment.",
                )

    async def _inlined(
        self,
        record: OperationRecord,
        request: reapi.ExecuteRequest,
        instance: Instance,
        maker: KeyMaker,
    ) -> operations.Operation:
        """The done operation, with the outputs that the request wants inside it (EXE-32)."""
        wants = request.inline_stdout or request.inline_stderr or request.inline_output_files
        if not wants or record.response is None:
            return operation_message(record)
        response = reapi.ExecuteResponse()
        response.CopyFrom(record.response)
        await inline_outputs(instance.cas, maker, request, response.result)
        return operation_message(record, response)


async def _read(instance: Instance, key: Key) -> bytes:
    values = await read_blobs(instance.cas, (key,), max_bytes=_MAX_MESSAGE_BYTES)
    value = values[key]
    if isinstance(value, BlobNotFound):
        raise MissingBlobs((key,)) from value
    if isinstance(value, RemexError):
        raise value
    return value
