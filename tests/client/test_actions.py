"""Actions on a server whose Execution follows a script."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from remex_core.client import actions
from remex_core.client.actions import Command
from remex_core.client.remote import connect
from remex_core.client.trees import Link, build
from remex_core.digest import SHA256, DigestFunctions, Key
from remex_core.errors import (
    BlobNotFound,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    MissingBlobs,
    OperationNotFound,
    RemexError,
    Unavailable,
)
from remex_core.proto import operations, reapi
from remex_core.services.bytestream import ByteStreamService
from remex_core.services.capabilities import CapabilitiesService
from remex_core.services.cas import CasService
from remex_core.services.instances import Instance, Instances
from remex_core.store.memory import MemoryStore
from remex_core.testing.server import serve_handlers
from remex_core.wire import methods
from remex_core.wire.status import to_status

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence
    from pathlib import Path

    from remex_core.client.remote import RemoteClient
    from remex_core.wire.call import Call

NAME = "main/operations/1"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setattr(actions, "_FIRST_DELAY", 0.001)


def running() -> operations.Operation:
    operation = operations.Operation(name=NAME)
    operation.metadata.Pack(reapi.ExecuteOperationMetadata(stage="EXECUTING"))
    return operation


def done(response: reapi.ExecuteResponse) -> operations.Operation:
    operation = operations.Operation(name=NAME, done=True)
    operation.response.Pack(response)
    return operation


def failed(error: RemexError) -> operations.Operation:
    return done(reapi.ExecuteResponse(status=to_status(error), message="the whole story"))


FINE = done(reapi.ExecuteResponse(result=reapi.ActionResult(exit_code=3), cached_result=True))


class Script:
    """Answers each Execute and WaitExecution with what comes next: Operations, then an error."""

    def __init__(self, *streams: Sequence[operations.Operation | RemexError]) -> None:
        self.streams = list(streams)
        self.asked: list[reapi.ExecuteRequest | reapi.WaitExecutionRequest] = []
        self.calls: list[Call] = []
        self.cancelled: list[str] = []

    def handlers(self) -> dict[Any, Any]:
        return {
            methods.EXECUTE: self.stream,
            methods.WAIT_EXECUTION: self.stream,
            methods.CANCEL_OPERATION: self.cancel,
        }

    async def stream(
        self, call: Call, request: reapi.ExecuteRequest | reapi.WaitExecutionRequest
    ) -> AsyncGenerator[operations.Operation]:
        self.asked.append(request)
        self.calls.append(call)
        for step in self.streams.pop(0):
            if isinstance(step, RemexError):
                raise step
            yield step

    async def cancel(self, _call: Call, request: operations.CancelOperationRequest) -> bytes:
        if request.name != NAME:
            raise OperationNotFound(f"There is no operation {request.name!r}.")
        self.cancelled.append(request.name)
        return b""


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[RemoteClient]:
    """A client of a server with a CAS and that script."""
    store = MemoryStore(16 * 1024 * 1024)
    instances = Instances(template=Instance("", store, store, DigestFunctions()))
    bytestream = ByteStreamService(instances)
    async with (
        serve_handlers(
            CapabilitiesService(instances).handlers(),
            CasService(instances).handlers(),
            bytestream.handlers(),
            script.handlers(),
        ) as served,
        connect(served.address, instance="main", invocation="run-1") as client,
    ):
        yield client
    await bytestream.close()


async def test_a_command_becomes_an_action() -> None:
    """The action, its command and its inputs are uploaded, and the action is executed."""
    script = Script([running(), FINE])
    seen: list[operations.Operation] = []
    async with serving(script) as client:
        command = Command(
            ["sh", "-c", "true"],
            inputs={"src/a.c": b"int a;", "link": Link("src")},
            outputs=["z", "out/a.o"],
            environment={"PATH": "/bin", "A": "1"},
            platform={"OSFamily": "linux", "ISA": "x86-64"},
            working_directory="src",
            timeout=1.5,
            do_not_cache=True,
            salt=b"s",
        )
        finished = await client.run(command, skip_cache_lookup=True, on_update=seen.append)
        action = reapi.Action.FromString(await client.download(finished.action))
        told = reapi.Command.FromString(await client.download(client.key(action.command_digest)))
        root = await client.download(client.key(action.input_root_digest))
    assert 3 == finished.result.exit_code
    assert finished.cached
    assert [False, True] == [operation.done for operation in seen]
    (request,) = script.asked
    assert isinstance(request, reapi.ExecuteRequest)
    assert ("main", finished.action.hash, True) == (
        request.instance_name,
        request.action_digest.hash,
        request.skip_cache_lookup,
    )
    assert (1, 500_000_000) == (action.timeout.seconds, action.timeout.nanos)
    assert (True, b"s") == (action.do_not_cache, action.salt)
    assert ["sh", "-c", "true"] == told.arguments
    assert ["out/a.o", "z"] == told.output_paths
    assert ["A", "PATH"] == [variable.name for variable in told.environment_variables]
    assert ["ISA", "OSFamily"] == [p.name for p in action.platform.properties]
    assert "src" == told.working_directory
    assert build({"src/a.c": b"int a;", "link": Link("src")}).root == SHA256.key_of(root)


async def test_calls_say_for_whom_they_are_made() -> None:
    """RMD-01: calls carry tool, invocation and action in their RequestMetadata."""
    script = Script([FINE])
    async with serving(script) as client:
        finished = await client.run(Command(["true"]))
    told = script.calls[0].request_metadata
    assert told is not None
    assert ("remex", "run-1", finished.action.hash) == (
        told.tool_details.tool_name,
        told.tool_invocation_id,
        told.action_id,
    )


async def test_an_action_over_a_stored_input_root() -> None:
    """An input root that is stored already is named by its key alone."""
    script = Script([FINE])
    async with serving(script) as client:
        root = await client.upload(b"")
        prepared = client.prepare(Command(["true"], inputs=root))
        assert 2 == len(prepared.blobs)
        await client.run(Command(["true"], inputs=root))


async def test_a_broken_stream_is_taken_up_again() -> None:
    """A stream that breaks or ends early goes on by WaitExecution with the operation's name."""
    script = Script(
        [running(), Unavailable("restarting")], [Unavailable("still restarting")], [], [FINE]
    )
    async with serving(script) as client:
        finished = await client.run(Command(["true"]))
    assert NAME == finished.operation
    assert [NAME] * 3 == [getattr(request, "name", None) for request in script.asked[1:]]


async def test_a_forgotten_operation_is_executed_again() -> None:
    """OP-02: when the server does not know the operation any more, the client executes anew."""
    script = Script([running(), Unavailable("gone")], [OperationNotFound("what?")], [FINE])
    async with serving(script) as client:
        await client.run(Command(["true"]))
    assert [True, False, True] == [
        isinstance(request, reapi.ExecuteRequest) for request in script.asked
    ]


async def test_retries_end() -> None:
    """A server that never gets anywhere is given up, with its own last words."""
    script = Script(*[[Unavailable(f"no {n}")] for n in range(20)])
    async with serving(script) as client:
        with pytest.raises(Unavailable, match="no 6"):
            await client.run(Command(["true"]))
    assert 7 == len(script.asked)


async def test_missing_blobs_are_uploaded_once_more() -> None:
    """EXE-13: MISSING violations make the client upload again and execute again."""
    lost = MissingBlobs([SHA256.key_of(b"lost")])
    async with serving(Script([failed(lost)], [FINE])) as client:
        assert 3 == (await client.run(Command(["true"]))).result.exit_code
    async with serving(Script([failed(lost)], [failed(lost)])) as client:
        with pytest.raises(MissingBlobs) as missing:
            await client.run(Command(["true"]))
    assert lost.keys == missing.value.keys


@pytest.mark.parametrize(
    "error",
    [
        DeadlineExceeded("execution timeout exceeded"),
        FailedPrecondition("no worker"),
        InvalidArgument("bad command"),
    ],
    ids=lambda error: error.slug,
)
async def test_a_failed_execution_raises_its_error(error: RemexError) -> None:
    """EXE-21: the status in the ExecuteResponse arrives as the error that it stands for."""
    async with serving(Script([failed(error)])) as client:
        with pytest.raises(type(error), match=error.message) as raised:
            await client.run(Command(["true"]))
    assert "the whole story" == raised.value.hint


async def test_cancel() -> None:
    """OP-08: an operation is cancelled by its name; an unknown one is an error."""
    script = Script()
    async with serving(script) as client:
        await client.cancel(NAME)
        with pytest.raises(OperationNotFound, match="elsewhere"):
            await client.cancel("elsewhere")
    assert [NAME] == script.cancelled


async def test_results_of_actions(client: RemoteClient) -> None:
    """AC-01, AC-03: a result that was put is found, with its output; another is None."""
    action = client.prepare(Command(["true"]))
    await client.upload_many(action.blobs)
    assert None is await client.action_result(action.action)
    stdout = await client.upload(b"hello")
    result = reapi.ActionResult(exit_code=0)
    result.stdout_digest.hash, result.stdout_digest.size_bytes = stdout.hash, stdout.size
    await client.update_action_result(action.action, result)
    found = await client.action_result(action.action)
    assert found is not None
    assert b"hello" == await client.stdout(found)
    assert b"hello" == await client.stdout(result)
    assert b"" == await client.stderr(found)


async def test_outputs_on_disk(client: RemoteClient, tmp_path: Path) -> None:
    """Files with their modes, links, and directories with all that is below come to disk."""
    large = bytes(300_000)
    small_key, large_key = await client.upload(b"small"), await client.upload(large)
    child = reapi.Directory()
    add_file(child, "deep", small_key)
    root = reapi.Directory()
    add_file(root, "large", large_key)
    root.symlinks.add(name="link", target="sub/deep")
    data = child.SerializeToString(deterministic=True)
    key = client.key_of(data)
    below = root.directories.add(name="sub")
    below.digest.hash, below.digest.size_bytes = key.hash, key.size
    tree = await client.upload(reapi.Tree(root=root, children=[child]).SerializeToString())
    result = reapi.ActionResult()
    result.output_files.add(
        path="bin/tool", digest={"hash": small_key.hash, "size_bytes": 5}, is_executable=True
    )
    result.output_symlinks.add(path="bin/alias", target="tool")
    result.output_directories.add(
        path="lib", tree_digest={"hash": tree.hash, "size_bytes": tree.size}
    )
    await client.fetch_outputs(result, tmp_path)
    assert b"small" == (tmp_path / "bin/tool").read_bytes()
    assert 0o755 == (tmp_path / "bin/tool").stat().st_mode & 0o777
    assert b"small" == (tmp_path / "bin/alias").read_bytes()
    assert large == (tmp_path / "lib/large").read_bytes()
    assert b"small" == (tmp_path / "lib/link").read_bytes()


async def test_outputs_that_are_gone_or_outside(client: RemoteClient, tmp_path: Path) -> None:
    """A lost output is named; a result that points outside of the directory is refused."""
    lost = SHA256.key_of(b"lost")
    result = reapi.ActionResult()
    result.output_files.add(path="a", digest={"hash": lost.hash, "size_bytes": lost.size})
    with pytest.raises(BlobNotFound):
        await client.fetch_outputs(result, tmp_path)
    for path in ("../a", "/a"):
        result.output_files[0].path = path
        with pytest.raises(InvalidArgument, match="outside"):
            await client.fetch_outputs(result, tmp_path)


def add_file(directory: reapi.Directory, name: str, key: Key) -> None:
    directory.files.add(name=name, digest={"hash": key.hash, "size_bytes": key.size})
