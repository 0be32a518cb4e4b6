"""A scheduler with all its services behind a real listener, and a client of them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from remex_core.clock import SYSTEM
from remex_core.digest import SHA256, DigestFunctions, Key, ac_space
from remex_core.proto import operations, reapi
from remex_core.scheduler.engine import Scheduler
from remex_core.scheduler.journal import NoJournal
from remex_core.scheduler.options import SchedulerOptions
from remex_core.scheduler.policies.fifo import Fifo
from remex_core.scheduler.policies.least_recently_used import LeastRecentlyUsed
from remex_core.services.admin import AdminService
from remex_core.services.execution import ExecutionService
from remex_core.services.instances import Instance, Instances
from remex_core.services.operations import OperationsService
from remex_core.services.worker_api import WorkerApiService
from remex_core.testing.server import serve_handlers
from remex_core.testing.workers import FakeWorker, fake_worker
from remex_core.wire import methods
from services_support.recording_store import RecordingStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from remex_core.clock import Clock
    from remex_core.digest import DigestFunction
    from remex_core.scheduler.journal import Journal
    from remex_core.wire.stub import Stub

EMPTY = reapi.Digest(hash=SHA256.empty_hash)


def to_digest(key: Key) -> reapi.Digest:
    """The digest message of a key."""
    return reapi.Digest(hash=key.hash, size_bytes=key.size)


@dataclass
class House:
    """Two stores, a scheduler, and a client of everything that is served."""

    cas: RecordingStore
    ac: RecordingStore
    scheduler: Scheduler
    stub: Stub
    function: DigestFunction = field(default=SHA256)

    def store(self, data: bytes) -> Key:
        """Puts a blob into the CAS."""
        key = self.function.key_of(data)
        self.cas.values[key] = data
        return key

    def action(
        self,
        *arguments: str,
        platform: Mapping[str, str] | None = None,
        command: reapi.Command | None = None,
        **fields: Any,
    ) -> Key:
        """An action with its command in the CAS, by default without any input."""
        if command is None:
            command = reapi.Command(arguments=arguments or ("true",))
        for name, value in sorted((platform or {}).items()):
            command.platform.properties.add(name=name, value=value)
        fields.setdefault("input_root_digest", to_digest(self.function.empty_key))
        fields.setdefault(
            "command_digest", to_digest(self.store(command.SerializeToString(deterministic=True)))
        )
        action = reapi.Action(**fields)
        return self.store(action.SerializeToString(deterministic=True))

    def execute(
        self, action: Key, *, metadata: Any = (), **fields: Any
    ) -> AsyncGenerator[operations.Operation]:
        """The stream of an Execute call; close it to hang up."""
        request = reapi.ExecuteRequest(action_digest=to_digest(action), **fields)
        return self.stub.stream(methods.EXECUTE, request, metadata=metadata)

    async def begin(self, action: Key, **fields: Any) -> str:
        """Starts an action and hangs up; the name of its operation."""
        stream = self.execute(action, **fields)
        first = await anext(stream)
        await stream.aclose()
        return first.name

    async def run(self, action: Key, **fields: Any) -> reapi.ExecuteResponse:
        """The response of an Execute call that is followed to its end."""
        return response_of([each async for each in self.execute(action, **fields)][-1])

    def wait(self, name: str) -> AsyncGenerator[operations.Operation]:
        """The stream of a WaitExecution call."""
        return self.stub.stream(methods.WAIT_EXECUTION, reapi.WaitExecutionRequest(name=name))

    async def cancel(self, name: str) -> None:
        """Cancels an operation."""
        request = operations.CancelOperationRequest(name=name)
        await self.stub.call(methods.CANCEL_OPERATION, request)

    async def get(self, name: str) -> operations.Operation:
        """An operation as it stands."""
        request = operations.GetOperationRequest(name=name)
        return await self.stub.call(methods.GET_OPERATION, request)

    def worker(self, name: str = "w1", **settings: Any) -> Any:
        """A worker that has joined, for the length of a block."""
        return fake_worker(self.stub, name, **settings)

    def stranger(self, name: str = "w1", **settings: Any) -> FakeWorker:
        """A worker that has not joined yet."""
        return FakeWorker(self.stub, name, **settings)

    def is_cached(self, action: Key) -> bool:
        """Whether the action cache has a result of an action."""
        return self.ac_key(action) in self.ac.values

    def cached(self, action: Key) -> reapi.ActionResult:
        """The result that the action cache has of an action."""
        return reapi.ActionResult.FromString(self.ac.values[self.ac_key(action)])

    def cache(self, action: Key, result: reapi.ActionResult, instance: str = "") -> None:
        """Puts a result into the action cache."""
        self.ac.values[self.ac_key(action, instance)] = result.SerializeToString()

    def ac_key(self, action: Key, instance: str = "") -> Key:
        """The key of an action's result."""
        return action._replace(space=ac_space(instance))


@asynccontextmanager
async def house(
    *,
    clock: Clock = SYSTEM,
    journal: Journal | None = None,
    functions: DigestFunctions | None = None,
    join_token: str = "",
    executes: bool = True,
    **options: Any,
) -> AsyncGenerator[House]:
    """A house that is served over grpc.aio until the block ends; `options` are the scheduler's."""
    cas, ac = RecordingStore(), RecordingStore()
    template = Instance("", cas, ac, functions or DigestFunctions(), executes=executes)
    instances = Instances(template=template)
    scheduler = Scheduler(
        SchedulerOptions(**options),
        instances,
        Fifo(),
        LeastRecentlyUsed(),
        journal or NoJournal(),
        clock,
    )
    await scheduler.start()
    try:
        async with serve_handlers(
            ExecutionService(instances, scheduler).handlers(),
            OperationsService(scheduler).handlers(),
            WorkerApiService(scheduler, join_token).handlers(),
            AdminService(["scheduler"], "grpc_aio", clock, scheduler).handlers(),
        ) as served:
            yield House(cas, ac, scheduler, served.stub)
    finally:
        await scheduler.close()


def metadata_of(operation: operations.Operation) -> reapi.ExecuteOperationMetadata:
    """The metadata of an operation, whose type is checked."""
    metadata = reapi.ExecuteOperationMetadata()
    assert operation.metadata.Unpack(metadata), operation.metadata.type_url
    return metadata


def response_of(operation: operations.Operation) -> reapi.ExecuteResponse:
    """The response of a done operation, whose type is checked."""
    response = reapi.ExecuteResponse()
    assert operation.done
    assert operation.response.Unpack(response), operation.response.type_url
    return response


def stage_of(operation: operations.Operation) -> str:
    """The stage of an operation, by name."""
    return reapi.ExecutionStage.Value.Name(metadata_of(operation).stage)
