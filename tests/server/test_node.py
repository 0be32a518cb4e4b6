"""One process with every role: put together, used, drained."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from remex_core.client import connect
from remex_core.client.actions import Command
from remex_core.errors import Unimplemented
from remex_core.plugins.registry import load_registry
from remex_core.proto import worker as protocol
from remex_core.server.banner import banner
from remex_core.server.flags import Flags, Role
from remex_core.server.node import Node
from remex_core.server.settings import resolve
from remex_core.wire import methods
from remex_core.wire.grpc_aio import GrpcAioTransport
from remex_core.wire.stub import Stub
from remex_core.wire.transport import Target
from remex_core.worker.runner.client import RunnerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def started(flags: Flags) -> AsyncIterator[Node]:
    plugins = load_registry(flags.plugins)
    runner = RunnerProcess() if Role.WORKER in flags.roles else None
    try:
        async with Node(resolve(flags, plugins), plugins, runner) as node:
            await node.start()
            async with asyncio.timeout(30):
                while any(node.readiness().values()):
                    await asyncio.sleep(0.01)
            yield node
    finally:
        if runner is not None:
            await runner.close()


def flags(tmp_path: Path, **more: object) -> Flags:
    some = {
        "listen": "127.0.0.1:0",
        "worker_listen": "127.0.0.1:0",
        "http_listen": "127.0.0.1:0",
        "data_dir": tmp_path,
        "name": "w1",
        "slots": 1,
    }
    return Flags(**{**some, **more})  # type: ignore[arg-type] # what a test wants


async def test_all_roles_in_one_process_run_and_cache_an_action(tmp_path: Path) -> None:
    """An action runs on the worker of the same process, and is a cache hit the second time."""
    async with started(flags(tmp_path)) as node:
        async with connect(f"grpc://{node.addresses.public}") as client:
            command = Command(("sh", "-c", "echo made > out"), outputs=("out",))
            first = await client.run(command)
            second = await client.run(command)
        assert "w1" == first.result.execution_metadata.worker
        assert [False, True] == [first.cached, second.cached]


async def test_worker_at_the_public_port_is_told_the_right_one(tmp_path: Path) -> None:
    """A worker that comes to the clients' port is refused with the address of the worker API."""
    async with started(flags(tmp_path, roles=frozenset({Role.CAS, Role.SCHEDULER}))) as node:
        channel = await GrpcAioTransport().connect(Target(node.addresses.public))

        async def hello() -> AsyncIterator[protocol.FromWorker]:
            yield protocol.FromWorker(hello=protocol.Hello(name="lost"))

        answers = [answer async for answer in Stub(channel).stream(methods.WORKER_SESSION, hello())]
        await channel.close()
        assert node.addresses.worker_api in answers[0].refused.message


async def test_lone_cas_does_not_execute(tmp_path: Path) -> None:
    """CAP-01: a process without a scheduler announces a cache and nothing else."""
    async with (
        started(flags(tmp_path, roles=frozenset({Role.CAS}))) as node,
        connect(f"grpc://{node.addresses.public}") as client,
    ):
        assert not (await client.capabilities()).HasField("execution_capabilities")
        with pytest.raises(Unimplemented):
            await client.run(Command(("true",)))


async def test_scheduler_without_its_cas_is_not_ready(tmp_path: Path) -> None:
    """While the cas does not answer, readiness says so; it recovers without a restart."""
    scheduler = frozenset({Role.SCHEDULER})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        cas = f"127.0.0.1:{listener.getsockname()[1]}"
    settings = resolve(flags(tmp_path, roles=scheduler, cas=f"grpc://{cas}"), load_registry())
    async with Node(settings, load_registry(), None) as node:
        await node.start()
        async with asyncio.timeout(60):
            while cas not in node.readiness()["cas"]:
                await asyncio.sleep(0.01)
            async with started(flags(tmp_path, roles=frozenset({Role.CAS}), listen=cas)):
                while node.readiness()["cas"]:
                    await asyncio.sleep(0.01)


async def test_instances_keep_their_results_apart(tmp_path: Path) -> None:
    """INS-06, INS-07: any instance name is served, and has an action cache of its own."""
    async with started(flags(tmp_path)) as node:
        ran = []
        for instance in ("main", "other", "main"):
            async with connect(f"grpc://{node.addresses.public}", instance=instance) as client:
                ran.append((await client.run(Command(("true",)))).cached)
        assert [False, False, True] == ran


async def test_banner_has_the_lines_to_paste(tmp_path: Path) -> None:
    """What is printed when ready names every address and the line for .bazelrc."""
    async with started(flags(tmp_path)) as node:
        text = banner(node.settings, node.addresses)
        assert f"build --remote_executor=grpc://{node.addresses.public}" in text
        assert node.addresses.worker_api in text
        assert node.addresses.http in text


async def test_drained_process_has_finished_what_it_had(tmp_path: Path) -> None:
    """Draining waits for the action that runs; its client gets the result."""
    async with started(flags(tmp_path)) as node:
        gate = tmp_path / "gate"
        script = f"until test -e {gate}; do sleep 0.02; done; echo done"
        async with connect(f"grpc://{node.addresses.public}") as client:
            running = asyncio.create_task(client.run(Command(("sh", "-c", script))))
            async with asyncio.timeout(30):
                while not (await client.status()).running:
                    await asyncio.sleep(0.01)
            draining = asyncio.create_task(node.drain())
            await asyncio.sleep(0)
            gate.touch()
            finished = await running
            await draining
        assert 0 == finished.result.exit_code
