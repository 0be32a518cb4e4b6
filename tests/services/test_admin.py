"""remex.admin.v1 over grpc.aio."""

from __future__ import annotations

import pytest

from remex_core import __version__
from remex_core.clock import ManualClock
from remex_core.errors import Code
from remex_core.proto import admin, worker
from remex_core.services.admin import AdminService
from remex_core.testing.server import serve_handlers
from remex_core.wire import methods
from scheduler_support.house import House, house
from services_support.blobs import refused


@pytest.fixture
async def home():
    async with house() as made:
        yield made


async def ask(home: House, method, **fields):
    return await home.stub.call(method, method.request(**fields))


async def test_status_of_a_scheduler(home: House) -> None:
    """What the process is, and how many operations wait and run."""
    async with home.worker() as hand:
        await home.begin(home.action("a"))
        await hand.next_lease()
        await home.begin(home.action("b"), skip_cache_lookup=True)
        status = await ask(home, methods.GET_STATUS)
    assert (__version__, ["scheduler"], 1, 1, 1, home.scheduler.epoch, "grpc_aio") == (
        status.version,
        list(status.roles),
        status.queued,
        status.running,
        status.workers,
        status.scheduler_epoch,
        status.transport,
    )


async def test_status_without_a_scheduler() -> None:
    """A process of another role has a status, and nothing to list."""
    clock = ManualClock()
    service = AdminService(["cas"], "grpc_aio", clock, None)
    clock.advance(60)
    async with serve_handlers(service.handlers()) as served:
        status = await served.stub.call(methods.GET_STATUS, admin.GetStatusRequest())
        with refused(Code.UNIMPLEMENTED):
            await served.stub.call(methods.LIST_WORKERS, admin.ListWorkersRequest())
    assert (["cas"], 60.0, 0) == (list(status.roles), status.uptime_seconds, status.scheduler_epoch)


async def test_workers_are_listed(home: House) -> None:
    """Each with what it offers, what it holds, and how it is doing."""
    properties = {"OSFamily": "linux", "Pool": ["a", "b"]}
    async with home.worker("w7", slots=3, properties=properties) as hand:
        await home.begin(home.action())
        lease = await hand.next_lease()
        await hand.state(unhealthy="no disk")
        (listed,) = (await ask(home, methods.LIST_WORKERS)).workers
    assert ("w7", "first life", 3, [lease.lease_id], "no disk", False) == (
        listed.name,
        listed.incarnation,
        listed.slots,
        list(listed.running),
        listed.last_error,
        listed.draining,
    )
    assert [("OSFamily", "linux"), ("Pool", "a"), ("Pool", "b")] == [
        (each.name, each.value) for each in listed.properties
    ]
    assert listed.last_seen.ToNanoseconds()


async def test_queue_says_what_each_waits_for(home: House) -> None:
    """Running, waiting for a slot, waiting for a worker that does not exist."""
    async with home.worker(properties={"Pool": "small"}) as hand:
        names = [
            await home.begin(home.action("a")),
            await home.begin(home.action("b"), skip_cache_lookup=True),
            await home.begin(home.action("c", platform={"Pool": "big"}), skip_cache_lookup=True),
        ]
        await hand.progress(await hand.next_lease(), worker.RUNNING)
        entries = (await ask(home, methods.LIST_QUEUE)).operations
        assert 2 == len((await ask(home, methods.LIST_QUEUE, page_size=2)).operations)
    assert names == [each.name for each in entries]
    assert [admin.RUNNING, admin.WAITING_FOR_CAPACITY, admin.UNSATISFIABLE] == [
        each.state for each in entries
    ]
    assert "Worker w1 has it" in entries[0].explanation
    assert "1 slot(s) are taken" in entries[1].explanation
    assert "the nearest worker, w1, offers Pool=small" in entries[2].explanation
    assert [True] * 3 == [bool(each.queued_at.seconds and each.action_digest) for each in entries]


async def test_finished_operations_are_not_in_the_queue(home: House) -> None:
    """The queue is of what is not done."""
    async with home.worker() as hand:
        name = await home.begin(home.action())
        hand.finish(await hand.next_lease())
        async for _ in home.wait(name):
            pass
        assert [] == list((await ask(home, methods.LIST_QUEUE)).operations)
        answer = await ask(home, methods.EXPLAIN_OPERATION, operation=name)
    assert admin.COMPLETED == answer.state


async def test_explanation_of_one_operation(home: House) -> None:
    """The same words as in the queue."""
    name = await home.begin(home.action(), skip_cache_lookup=True)
    answer = await ask(home, methods.EXPLAIN_OPERATION, operation=name)
    assert admin.UNSATISFIABLE == answer.state
    assert "no worker is connected" in answer.explanation


async def test_explanation_of_an_unknown_operation(home: House) -> None:
    """OP-02: NOT_FOUND, as everywhere."""
    with refused(Code.NOT_FOUND, "operations/none"):
        await ask(home, methods.EXPLAIN_OPERATION, operation="operations/none")


async def test_worker_is_asked_to_drain(home: House) -> None:
    """It takes nothing more, and hears of it with the next belief."""
    async with home.worker() as hand:
        await ask(home, methods.DRAIN_WORKER, name="w1")
        assert (await hand.state()).drain
        (listed,) = (await ask(home, methods.LIST_WORKERS)).workers
        assert listed.draining


async def test_unknown_worker_cannot_drain(home: House) -> None:
    """The answer names the workers that there are."""
    async with home.worker("w7"):
        with refused(Code.NOT_FOUND, "there are: w7"):
            await ask(home, methods.DRAIN_WORKER, name="w8")
