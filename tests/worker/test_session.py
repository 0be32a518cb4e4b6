"""The worker protocol as a worker speaks it."""

from __future__ import annotations

import asyncio
import itertools
import logging
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from remex_core import __version__
from remex_core.clock import SYSTEM
from remex_core.errors import Code, ConfigError, FailedPrecondition, RpcFailed, Unavailable
from remex_core.proto import worker
from remex_core.worker import session as session_module
from remex_core.worker.options import WorkerOptions
from remex_core.worker.properties import QueryCommand
from remex_core.worker.session import PROTOCOL_VERSION
from remex_core.worker.worker import Worker
from worker_support.blobs import Blobs, lease
from worker_support.executors import HeldExecutor
from worker_support.scheduler import FakeScheduler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from remex_core.worker.properties import QueryCommand as Query

_numbers = itertools.count(1)


class Stage:
    """A worker on a stage: a scheduler that is moved by hand, and runs that are."""

    def __init__(self, work_root: Path) -> None:
        self.blobs = Blobs()
        self.scheduler = FakeScheduler()
        self.executor = HeldExecutor()
        self.work_root = work_root
        self.worker: Worker
        self.running: asyncio.Task[None]

    def start(self, **options: Any) -> None:
        """Starts the worker."""
        values: dict[str, Any] = {
            "name": "w1",
            "incarnation": "life1",
            "work_root": self.work_root,
            "slots": 1,
            "prefetch": 1,
        }
        self.worker = Worker(
            WorkerOptions(**(values | options)),
            self.blobs.store,
            self.scheduler.connect,
            self.executor,
            SYSTEM,
            Random(1),
        )
        self.running = asyncio.create_task(self.worker.run())

    async def lease(self, **fields: Any) -> worker.Lease:
        """A fresh lease of an action that is in the CAS."""
        action = await self.blobs.put_action("tool")
        return lease(action, **({"lease_id": f"lease-{next(_numbers)}"} | fields))

    async def stop(self) -> None:
        """Stops the worker at once."""
        self.running.cancel()
        await asyncio.wait([self.running])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a worker come back without a pause worth mentioning."""
    monkeypatch.setattr(session_module, "_FIRST_DELAY", 0.001)
    monkeypatch.setattr(session_module, "_LAST_DELAY", 0.002)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A stage whose scheduler can be reached."""
    stage = Stage(tmp_path / "work")
    async with stage.scheduler.serving():
        yield stage
        if hasattr(stage, "running"):
            await stage.stop()


async def test_hello(stage: Stage) -> None:
    """The first message says who the worker is and what it offers."""
    stage.start(
        slots=3,
        prefetch=2,
        instances=["a", "b"],
        join_token="secret",
        properties={"Pool": ["x", "y"], "Kit": QueryCommand("echo 7")},
    )
    hello = (await stage.scheduler.session()).hello
    assert (hello.name, hello.incarnation, hello.join_token) == ("w1", "life1", "secret")
    assert (hello.slots, hello.prefetch) == (3, 2)
    assert list(hello.instances) == ["a", "b"]
    assert (hello.protocol_version, hello.software_version) == (PROTOCOL_VERSION, __version__)
    properties = [(each.name, each.value) for each in hello.properties]
    assert {("Pool", "x"), ("Pool", "y"), ("Kit", "7"), ("OSFamily", "linux")} <= set(properties)
    assert abs(hello.sent_at.ToNanoseconds() / 1e9 - SYSTEM.now()) < 60


async def test_nothing_before_the_welcome(stage: Stage) -> None:
    """A worker says nothing between its hello and the welcome; then it states what it holds."""
    stage.start()
    session = await stage.scheduler.session()
    await asyncio.sleep(0.05)
    assert session.inbox.empty()
    assert not stage.worker.connected
    session.welcome()
    statement = await session.statement()
    assert (statement.sequence, statement.slots, statement.draining) == (1, 1, False)
    assert stage.worker.connected


async def test_states_of_a_lease(stage: Stage) -> None:
    """Each lease is stated as it goes through the stages; `ready` waits for a slot."""
    stage.start()
    session = await stage.scheduler.welcomed()
    first, second = await stage.lease(), await stage.lease()
    session.send(lease=first)
    assert await stage.executor.next() == first.lease_id
    session.send(lease=second)
    statement = await session.statement(worker.RUNNING, worker.READY)
    assert [each.lease_id for each in statement.leases] == [first.lease_id, second.lease_id]
    assert statement.leases[0].attempt == first.attempt
    stage.executor.let_go(first.lease_id)
    assert (await session.result()).lease_id == first.lease_id
    assert await stage.executor.next() == second.lease_id
    await session.statement(worker.DONE, worker.RUNNING)
    session.send(acknowledge=worker.Acknowledge(lease_id=first.lease_id))
    await session.statement(worker.RUNNING)


async def test_statements_at_the_interval(stage: Stage) -> None:
    """Without any change, statements come at the interval that the scheduler set."""
    stage.start()
    interval = Duration()
    interval.FromMilliseconds(10)
    session = await stage.scheduler.welcomed(statement_interval=interval)
    sequences = [(await session.statement()).sequence for _ in range(3)]
    assert sequences == [1, 2, 3]


async def test_the_same_lease_twice(stage: Stage) -> None:
    """A lease that is sent again is not run again."""
    stage.start(slots=2)
    session = await stage.scheduler.welcomed()
    given = await stage.lease()
    session.send(lease=given)
    session.send(lease=given)
    await stage.executor.next()
    await session.statement(worker.RUNNING)
    assert stage.executor.started.empty()


async def test_results_are_kept_until_acknowledged(stage: Stage) -> None:
    """A result is sent once in a session, and again in the next, until it is acknowledged."""
    stage.start()
    session = await stage.scheduler.welcomed()
    given = await stage.lease()
    session.send(lease=given)
    stage.executor.let_go(await stage.executor.next())
    first = await session.result()
    await session.statement(worker.DONE)
    session.end()
    session = await stage.scheduler.welcomed()
    assert first == await session.result()
    session.send(acknowledge=worker.Acknowledge(lease_id=given.lease_id))
    await session.statement()
    session.end()
    session = await stage.scheduler.welcomed()
    assert not (await session.statement()).leases


async def test_a_broken_stream_stops_nothing(stage: Stage) -> None:
    """What runs goes on while the stream is broken, and its result comes in the next session."""
    stage.start()
    session = await stage.scheduler.welcomed()
    given = await stage.lease()
    session.send(lease=given)
    running = await stage.executor.next()
    session.end(Unavailable("the scheduler goes away"))
    session = await stage.scheduler.session()
    stage.executor.let_go(running)
    session.welcome()
    result = await session.result()
    assert (result.lease_id, result.status.code) == (given.lease_id, 0)
    assert not stage.executor.cancelled


async def test_revoke_before_the_start(stage: Stage) -> None:
    """A lease that has not started is dropped when it is revoked, and says so."""
    stage.start()
    session = await stage.scheduler.welcomed()
    first, second = await stage.lease(), await stage.lease()
    session.send(lease=first)
    await stage.executor.next()
    session.send(lease=second)
    await session.statement(worker.RUNNING, worker.READY)
    session.send(revoke=worker.Revoke(lease_id=second.lease_id))
    result = await session.result()
    assert (result.lease_id, result.revoked, result.status.code) == (second.lease_id, True, 1)
    assert result.attempt == second.attempt


async def test_revoke_of_what_runs(stage: Stage) -> None:
    """A lease that runs goes on when it is revoked, unless it is to be killed."""
    stage.start()
    session = await stage.scheduler.welcomed()
    given = await stage.lease()
    session.send(lease=given)
    await stage.executor.next()
    session.send(revoke=worker.Revoke(lease_id=given.lease_id))
    session.send(revoke=worker.Revoke(lease_id="unknown", kill=True))
    session.send(lease=await stage.lease())
    await session.statement(worker.RUNNING, worker.READY)
    assert not stage.executor.cancelled
    session.send(revoke=worker.Revoke(lease_id=given.lease_id, kill=True))
    assert (await session.result()).revoked
    assert stage.executor.cancelled == [given.lease_id]


async def test_belief(stage: Stage) -> None:
    """What the scheduler knows of and does not believe in is dropped; what it missed is not."""
    stage.start(slots=3)
    session = await stage.scheduler.welcomed()
    known = await stage.lease()
    session.send(lease=known)
    await stage.executor.next()
    sequence = (await session.statement(worker.RUNNING)).sequence
    unknown = await stage.lease()
    session.send(lease=unknown)
    await stage.executor.next()
    await session.statement(worker.RUNNING, worker.RUNNING)
    session.send(belief=worker.Belief(statement_sequence=sequence))
    statement = await session.statement(worker.RUNNING)
    assert [each.lease_id for each in statement.leases] == [unknown.lease_id]
    assert stage.executor.cancelled == [known.lease_id]


async def test_belief_of_a_session_before(stage: Stage) -> None:
    """A scheduler that has not heard a statement in this session yet takes nothing away."""
    stage.start()
    session = await stage.scheduler.welcomed()
    session.send(lease=await stage.lease())
    await stage.executor.next()
    sequence = (await session.statement(worker.RUNNING)).sequence
    session.end()
    session = await stage.scheduler.session()
    session.welcome()
    session.send(belief=worker.Belief(statement_sequence=sequence))
    await session.statement(worker.RUNNING)
    assert not stage.executor.cancelled


async def test_waiting_results_survive_disbelief(stage: Stage) -> None:
    """A result that waits is kept although the scheduler does not believe in its lease."""
    stage.start()
    session = await stage.scheduler.welcomed()
    given = await stage.lease()
    session.send(lease=given)
    stage.executor.let_go(await stage.executor.next())
    sequence = (await session.statement(worker.DONE)).sequence
    session.send(belief=worker.Belief(statement_sequence=sequence))
    session.send(lease=await stage.lease())
    await stage.executor.next()
    statement = await session.statement(worker.DONE, worker.RUNNING)
    assert statement.leases[0].lease_id == given.lease_id


async def test_drain(stage: Stage) -> None:
    """A draining worker says so, takes nothing more, finishes what it has, and leaves."""
    stage.start()
    session = await stage.scheduler.welcomed()
    given = await stage.lease()
    session.send(lease=given)
    running = await stage.executor.next()
    stage.worker.drain()
    while not (await session.statement(worker.RUNNING)).draining:
        pass
    session.send(lease=await stage.lease())
    stage.executor.let_go(running)
    assert (await session.result()).lease_id == given.lease_id
    session.send(acknowledge=worker.Acknowledge(lease_id=given.lease_id))
    assert (await session.statement()).draining
    assert await session.receive() is None
    await stage.running
    assert stage.executor.started.empty()


async def test_drain_by_the_scheduler(stage: Stage) -> None:
    """A scheduler may ask for the drain."""
    stage.start()
    session = await stage.scheduler.welcomed()
    session.send(belief=worker.Belief(drain=True))
    await stage.running


async def test_drain_without_a_scheduler(tmp_path: Path) -> None:
    """A worker that holds nothing leaves at once, whether anybody can be reached or not."""
    stage = Stage(tmp_path / "work")
    stage.start()
    await asyncio.sleep(0)
    stage.worker.drain()
    await stage.running


async def test_abort(stage: Stage) -> None:
    """A worker that is cancelled kills what runs and removes its directories."""
    stage.start()
    session = await stage.scheduler.welcomed()
    given = await stage.lease()
    session.send(lease=given)
    await stage.executor.next()
    await stage.stop()
    assert stage.running.cancelled()
    assert stage.executor.cancelled == [given.lease_id]
    assert list(stage.work_root.iterdir()) == []


async def test_refused_for_good(stage: Stage) -> None:
    """A refusal that time does not heal ends the worker, with the scheduler's reason."""
    stage.start(scheduler="grpc://there:8981")
    session = await stage.scheduler.session()
    session.send(
        refused=worker.Refused(reason=worker.Refused.NOT_ADMITTED, message="The token is wrong.")
    )
    with pytest.raises(FailedPrecondition, match=r"grpc://there:8981 .* w1: The token is wrong\."):
        await stage.running


@pytest.mark.parametrize("retry_after", [None, Duration(nanos=1)])
async def test_name_taken(
    stage: Stage, caplog: pytest.LogCaptureFixture, retry_after: Duration | None
) -> None:
    """A taken name is reported, and asked for again: its holder may have died."""
    stage.start()
    refused = worker.Refused(
        reason=worker.Refused.NAME_TAKEN, message="w1 is alive.", retry_after=retry_after
    )
    for _ in range(3):
        session = await stage.scheduler.session()
        session.send(refused=refused)
    await (await stage.scheduler.welcomed()).statement()
    assert len([each for each in caplog.messages if "w1 is alive." in each]) == 1


async def test_unreachable(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler that cannot be reached is one line, then one more when it can: no traceback."""
    caplog.set_level(logging.INFO, "remex.worker")
    stage = Stage(tmp_path / "work")
    attempts = itertools.count()
    tried = asyncio.Event()
    connect = stage.scheduler.connect

    async def counted() -> Any:
        if next(attempts) == 5:
            tried.set()
        return await connect()

    monkeypatch.setattr(stage.scheduler, "connect", counted)
    stage.start(scheduler="grpc://there:8981")
    await tried.wait()
    async with stage.scheduler.serving():
        await (await stage.scheduler.welcomed(epoch=7)).statement()
        await stage.stop()
    lines = [each for each in caplog.messages if "there:8981" in each]
    assert len(lines) == 2
    assert "cannot be reached" in lines[0]
    assert "goes on trying" in lines[0]
    assert lines[1] == "worker w1 has joined grpc://there:8981 (epoch 7)"
    assert not any(record.exc_info for record in caplog.records)


async def test_a_server_without_a_worker_api(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was given a cas's address, or the clients' port, says which one it needs."""
    caplog.set_level(logging.INFO, "remex.worker")
    stage = Stage(tmp_path / "work")
    tried = asyncio.Event()

    async def refused() -> Any:
        tried.set()
        raise RpcFailed(Code.UNIMPLEMENTED, "/remex.worker.v1.WorkerApi/Session is not offered.")

    monkeypatch.setattr(stage.scheduler, "connect", refused)
    stage.start(scheduler="grpc://there:8970")
    await tried.wait()
    await stage.stop()
    (line,) = [each for each in caplog.messages if "there:8970" in each]
    assert "no scheduler's port for workers" in line
    assert "--scheduler" in line
    assert "WorkerApi" not in line


async def test_silence(stage: Stage) -> None:
    """A scheduler that says nothing for as long as it takes to lose a lease is left."""
    stage.start()
    timeout = Duration()
    timeout.FromMilliseconds(30)
    await stage.scheduler.welcomed(lease_timeout=timeout)
    await (await stage.scheduler.welcomed()).statement()


async def test_clock_of_the_scheduler(stage: Stage) -> None:
    """MET-01: timestamps are in the scheduler's time, by the offset that its answers show."""
    stage.start()
    session = await stage.scheduler.session()
    ahead = Timestamp()
    ahead.FromNanoseconds(int((SYSTEM.now() + 5000) * 1e9))
    session.welcome(sent_at=ahead, echoed_at=session.hello.sent_at)
    await session.statement()
    assert abs(stage.worker._terms.offset - 5000) < 60


async def test_properties_are_asked_again(
    stage: Stage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A property's command runs for each session; where it fails then, the old value stays."""
    value = tmp_path / "value"
    value.write_text("1\n")
    query: Query = QueryCommand(f"cat {value}")
    stage.start(properties={"Kit": query})

    async def kit() -> str:
        session = await stage.scheduler.session()
        session.end()
        (found,) = (each.value for each in session.hello.properties if each.name == "Kit")
        return found

    assert await kit() == "1"
    value.write_text("2\n")
    while await kit() != "2":
        pass
    value.unlink()
    while not any("properties of before are kept" in each for each in caplog.messages):
        assert await kit() == "2"


async def test_failing_property_at_the_start(stage: Stage) -> None:
    """A property's command that fails at the start ends the worker with the reason."""
    stage.start(properties={"Kit": QueryCommand("exit 9")})
    with pytest.raises(ConfigError, match="Kit"):
        await stage.running
