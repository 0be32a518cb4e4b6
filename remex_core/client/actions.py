"""Actions on a server: their results, their execution, and the operations that run them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from google.protobuf import duration_pb2

from remex_core.client.blobs import Blobs
from remex_core.client.caller import to_digest
from remex_core.client.trees import build
from remex_core.digest import Key
from remex_core.errors import (
    MissingBlobs,
    NotFound,
    OperationNotFound,
    RemexError,
    Unavailable,
    Unreachable,
)
from remex_core.proto import operations, reapi
from remex_core.wire import methods
from remex_core.wire.status import to_error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from remex_core.client.trees import Content, Tree

_RETRIES: Final = 6
_FIRST_DELAY: Final = 0.2
"""Seconds; doubled with each failure, so that 6 retries last 13 s."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, and with what.

    `inputs` is a tree (see `client.trees`), or the key of an input root that is stored already.
    `outputs` are the paths of files and directories to keep, relative to `working_directory`.
    `timeout` is in seconds; None leaves it to the server.
    """

    arguments: Sequence[str]
    inputs: Tree | Key = field(default_factory=dict)
    outputs: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    platform: Mapping[str, str] = field(default_factory=dict)
    working_directory: str = ""
    timeout: float | None = None
    do_not_cache: bool = False
    salt: bytes = b""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An action, and the blobs that a server needs to have to run it."""

    action: Key
    blobs: Mapping[Key, Content]


@dataclass(frozen=True, slots=True)
class Finished:
    """An action that ran, or whose result was cached; its exit code may be any."""

    action: Key
    operation: str
    response: reapi.ExecuteResponse

    @property
    def result(self) -> reapi.ActionResult:
        """Exit code, outputs and execution metadata."""
        return self.response.result

    @property
    def cached(self) -> bool:
        """Whether the result came from the action cache."""
        return self.response.cached_result


class Actions(Blobs):
    """The calls about actions, their results and their operations."""

    def prepare(self, command: Command) -> Prepared:
        """The action of a command; hashes what it reads from disk (blocking)."""
        blobs: dict[Key, Content] = {}
        root = command.inputs
        if not isinstance(root, Key):
            built = build(root, self.function)
            root = built.root
            blobs.update(built.blobs)
        platform = reapi.Platform()
        for name, value in sorted(command.platform.items()):
            platform.properties.add(name=name, value=value)
        message = reapi.Command(
            arguments=command.arguments,
            output_paths=sorted(command.outputs),
            working_directory=command.working_directory,
            platform=platform,
        )
        for name, value in sorted(command.environment.items()):
            message.environment_variables.add(name=name, value=value)
        action = reapi.Action(
            command_digest=to_digest(self._keep(message, blobs)),
            input_root_digest=to_digest(root),
            do_not_cache=command.do_not_cache,
            salt=command.salt,
            platform=platform,
        )
        if command.timeout is not None:
            action.timeout.CopyFrom(duration_pb2.Duration())
            action.timeout.FromNanoseconds(round(command.timeout * 1e9))
        return Prepared(self._keep(action, blobs), blobs)

    async def run(
        self,
        command: Command,
        *,
        skip_cache_lookup: bool = False,
        on_update: Callable[[operations.Operation], None] | None = None,
    ) -> Finished:
        """Runs a command remotely, or takes its cached result; uploads what the server lacks.

        `on_update` is called with every Operation that the server streams.

        Raises:
            Unreachable: if nobody answers, again and again.
            RemexError: what kept the action from running; not an exit code other than 0.
        """
        prepared = await asyncio.to_thread(self.prepare, command)
        await self.upload_many(prepared.blobs)
        try:
            return await self.finish(
                prepared.action, skip_cache_lookup=skip_cache_lookup, on_update=on_update
            )
        except MissingBlobs:
            # They were evicted in between, or the server lost them (EXE-13): once more.
            await self.upload_many(prepared.blobs)
            return await self.finish(
                prepared.action, skip_cache_lookup=skip_cache_lookup, on_update=on_update
            )

    async def finish(
        self,
        action: Key,
        *,
        skip_cache_lookup: bool = False,
        on_update: Callable[[operations.Operation], None] | None = None,
    ) -> Finished:
        """Executes an action that the server has, and follows it to its end.

        A stream that breaks is taken up again by WaitExecution, or by Execute where the server
        has forgotten the operation (OP-02); several failures in a row are too many.

        Raises:
            Unreachable: if nobody answers, again and again.
            RemexError: what kept the action from running.
        """
        name = ""
        failures = 0
        while True:
            updates = (
                self.wait_execution(name)
                if name
                else self.execute(action, skip_cache_lookup=skip_cache_lookup)
            )
            try:
                async with aclosing(updates):
                    async for operation in updates:
                        failures = 0
                        name = operation.name
                        if on_update is not None:
                            on_update(operation)
                        if operation.done:
                            return _finished(action, operation)
                failure: RemexError = Unavailable("The server ended the stream too early.")
            except OperationNotFound as error:
                name = ""
                failure = error
            except (Unavailable, Unreachable) as error:
                failure = error
            failures += 1
            if failures > _RETRIES:
                raise failure
            await asyncio.sleep(_FIRST_DELAY * 2 ** (failures - 1))

    async def execute(
        self, action: Key, *, skip_cache_lookup: bool = False
    ) -> AsyncGenerator[operations.Operation]:
        """The Operations of a new execution, as they come (EXE-01)."""
        request = reapi.ExecuteRequest(
            instance_name=self.instance,
            action_digest=to_digest(action),
            skip_cache_lookup=skip_cache_lookup,
            digest_function=self._function,
        )
        stream = self.stream(methods.EXECUTE, request, timeout=None, action=action.hash)
        async with aclosing(stream) as updates:
            async for operation in updates:
                yield operation

    async def wait_execution(self, name: str) -> AsyncGenerator[operations.Operation]:
        """The Operations of a running execution, the current one first (OP-01).

        Raises:
            OperationNotFound: if the server does not know it.
        """
        request = reapi.WaitExecutionRequest(name=name)
        try:
            stream = self.stream(methods.WAIT_EXECUTION, request, timeout=None)
            async with aclosing(stream) as updates:
                async for operation in updates:
                    yield operation
        except NotFound as error:
            raise OperationNotFound(error.message, hint=error.hint) from error

    async def cancel(self, name: str) -> None:
        """Asks for an operation to end (OP-08).

        Raises:
            OperationNotFound: if the server does not know it.
        """
        try:
            await self.call(methods.CANCEL_OPERATION, operations.CancelOperationRequest(name=name))
        except NotFound as error:
            raise OperationNotFound(error.message, hint=error.hint) from error

    async def action_result(self, action: Key) -> reapi.ActionResult | None:
        """The cached result of an action, or None; stdout and stderr are inlined if small."""
        request = reapi.GetActionResultRequest(
            instance_name=self.instance,
            action_digest=to_digest(action),
            inline_stdout=True,
            inline_stderr=True,
            digest_function=self._function,
        )
        try:
            return await self.call(methods.GET_ACTION_RESULT, request, action=action.hash)
        except NotFound:
            return None

    async def update_action_result(
        self, action: Key, result: reapi.ActionResult
    ) -> reapi.ActionResult:
        """Puts a result into the action cache; answers what the server stored."""
        return await self.call(
            methods.UPDATE_ACTION_RESULT,
            reapi.UpdateActionResultRequest(
                instance_name=self.instance,
                action_digest=to_digest(action),
                action_result=result,
                digest_function=self._function,
            ),
            action=action.hash,
        )

    async def stdout(self, result: reapi.ActionResult) -> bytes:
        """What the action printed, wherever the result keeps it."""
        return await self._printed(result.stdout_raw, result.stdout_digest)

    async def stderr(self, result: reapi.ActionResult) -> bytes:
        """What the action printed as errors, wherever the result keeps it."""
        return await self._printed(result.stderr_raw, result.stderr_digest)

    async def _printed(self, raw: bytes, digest: reapi.Digest) -> bytes:
        if raw or not digest.size_bytes:
            return raw
        return await self.download(self.key(digest))

    def _keep(self, message: reapi.Command | reapi.Action, blobs: dict[Key, Content]) -> Key:
        data = message.SerializeToString(deterministic=True)
        key = self.key_of(data)
        blobs[key] = data
        return key


def _finished(action: Key, operation: operations.Operation) -> Finished:
    """What a done Operation says.

    Raises:
        RemexError: what its ExecuteResponse's status stands for (EXE-21).
    """
    response = reapi.ExecuteResponse()
    if not operation.response.Unpack(response):
        raise to_error(operation.error)
    if response.status.code:
        raise to_error(response.status, hint=response.message)
    return Finished(action, operation.name, response)
