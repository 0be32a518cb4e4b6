"""WaitExecution and google.longrunning.Operations over grpc.aio."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from remex_core.clock import ManualClock
from remex_core.errors import Code
from remex_core.proto import operations, reapi, worker
from remex_core.wire import methods
from scheduler_support.house import House, house, metadata_of, response_of, stage_of
from services_support.blobs import refused


@pytest.fixture
async def home():
    async with house() as made:
        yield made


async def names_of(home: House, **fields) -> list[str]:
    request = operations.ListOperationsRequest(**fields)
    answer = await home.stub.call(methods.LIST_OPERATIONS, request)
    return [each.name for each in answer.operations]


async def finished(home: House, *arguments: str, instance: str = "") -> str:
    """The name of an operation that has ended."""
    action = home.action(*arguments)
    home.cache(action, reapi.ActionResult(), instance)
    return [each async for each in home.execute(action, instance_name=instance)][-1].name


async def test_name_identifies_the_operation(home: House) -> None:
    """INS-08, OP-10: `[instance/]operations/uuid`; no two calls get the same."""
    plain = await home.begin(home.action())
    named = await home.begin(home.action(), instance_name="a/b")
    assert plain.startswith("operations/")
    assert named.startswith("a/b/operations/")
    ids = [name.rpartition("/")[2] for name in (plain, named)]
    assert [36, 36] == [len(each) for each in ids]
    assert ids[0] != ids[1]


async def test_wait_answers_at_once_and_stays(home: House) -> None:
    """OP-01: the current state first, then every change until the end."""
    async with home.worker() as hand:
        name = await home.begin(home.action())
        lease = await hand.next_lease()
        stream = home.wait(name)
        first = await anext(stream)
        assert (name, "QUEUED") == (first.name, stage_of(first))
        await hand.progress(lease, worker.RUNNING)
        assert "EXECUTING" == stage_of(await anext(stream))
        hand.finish(lease)
        (last,) = [each async for each in stream]
    assert last.done


async def test_several_may_wait(home: House) -> None:
    """OP-01: every watcher is told of the end."""
    async with home.worker() as hand:
        name = await home.begin(home.action())
        streams = [home.wait(name) for _ in range(3)]
        for stream in streams:
            await anext(stream)
        hand.finish(await hand.next_lease())
        last = [[each async for each in stream][-1] for stream in streams]
    assert [True] * 3 == [each.done for each in last]


@pytest.mark.parametrize("name", ["", "operations/none", "x/operations/y", "\N{SNOWMAN}"])
async def test_unknown_name(home: House, name) -> None:
    """OP-02, OP-06, OP-08: NOT_FOUND from each call, so that clients call Execute again."""
    with refused(Code.NOT_FOUND):
        await anext(home.wait(name))
    with refused(Code.NOT_FOUND):
        await home.get(name)
    with refused(Code.NOT_FOUND):
        await home.cancel(name)
    with refused(Code.NOT_FOUND):
        delete = operations.DeleteOperationRequest(name=name)
        await home.stub.call(methods.DELETE_OPERATION, delete)
    with refused(Code.NOT_FOUND):
        wait = operations.WaitOperationRequest(name=name)
        await home.stub.call(methods.WAIT_OPERATION, wait)


async def test_wait_on_a_finished_operation(home: House) -> None:
    """OP-03: one done operation, and the end."""
    name = await finished(home)
    (only,) = [each async for each in home.wait(name)]
    assert response_of(only).cached_result


async def test_wait_on_a_rejected_operation(home: House) -> None:
    """OP-03, EXE-14: what was wrong with an action can be asked for again."""
    action = home.action(command_digest=reapi.Digest(hash="0" * 64, size_bytes=1))
    rejected = [each async for each in home.execute(action)]
    assert rejected == [each async for each in home.wait(rejected[0].name)]


async def test_finished_operation_is_kept_for_a_while() -> None:
    """OP-02, OP-04: at least as long as the site says; then it is unknown."""
    clock = ManualClock()
    async with house(clock=clock, retain_seconds=600.0) as home:
        name = await finished(home)
        clock.advance(599)
        home.scheduler.tick()
        assert (await home.get(name)).done
        clock.advance(2)
        home.scheduler.tick()
        await asyncio.sleep(0)
        with refused(Code.NOT_FOUND):
            await home.get(name)


async def test_get_tells_the_latest_state(home: House) -> None:
    """OP-06: what WaitExecution would say first."""
    async with home.worker() as hand:
        name = await home.begin(home.action())
        lease = await hand.next_lease()
        before = await home.get(name)
        stream = home.wait(name)
        assert before == await anext(stream)
        hand.finish(lease)
        last = [each async for each in stream][-1]
    assert (False, True) == (before.done, last.done)
    assert last == await home.get(name)


async def test_cancel_queued(home: House) -> None:
    """OP-08, EXE-03: done, with the status CANCELLED inside the response, and no error."""
    name = await home.begin(home.action(), skip_cache_lookup=True)
    await home.cancel(name)
    (last,) = [each async for each in home.wait(name)]
    assert Code.CANCELLED == response_of(last).status.code
    assert not last.HasField("error")
    assert "COMPLETED" == stage_of(last)


async def test_cancel_running(home: House) -> None:
    """OP-08: the process is killed, and nothing is cached."""
    action = home.action()
    async with home.worker() as hand:
        name = await home.begin(action)
        lease = await hand.next_lease()
        await hand.progress(lease, worker.RUNNING)
        await home.cancel(name)
        revoke = await hand.revokes.get()
        assert (lease.lease_id, True) == (revoke.lease_id, revoke.kill)
        hand.finish(lease, reapi.ActionResult())
        assert lease.lease_id == await hand.acknowledged.get()
        last = [each async for each in home.wait(name)][-1]
    assert Code.CANCELLED == response_of(last).status.code
    assert not home.is_cached(action)


async def test_cancel_after_the_end(home: House) -> None:
    """OP-08: OK, and the result stays what it was."""
    name = await finished(home)
    before = await home.get(name)
    await home.cancel(name)
    assert before == await home.get(name)


async def test_cancel_of_one_caller(home: House) -> None:
    """OP-09: the others go on, and get the result."""
    action = home.action()
    async with home.worker() as hand:
        first = await home.begin(action)
        lease = await hand.next_lease()
        second = await home.begin(action)
        await home.cancel(first)
        assert Code.CANCELLED == response_of([e async for e in home.wait(first)][-1]).status.code
        hand.finish(lease)
        assert Code.OK == response_of([e async for e in home.wait(second)][-1]).status.code
        assert hand.revokes.empty()


async def test_delete_forgets_and_does_not_cancel(home: House) -> None:
    """OP-07: the name is unknown; who waits already is told of the end; the result is cached."""
    action = home.action()
    async with home.worker() as hand:
        name = await home.begin(action)
        lease = await hand.next_lease()
        async with aclosing(home.wait(name)) as stream:
            await anext(stream)
            request = operations.DeleteOperationRequest(name=name)
            await home.stub.call(methods.DELETE_OPERATION, request)
            await asyncio.sleep(0)
            with refused(Code.NOT_FOUND):
                await home.get(name)
            assert [] == await names_of(home)
            hand.finish(lease)
            assert [each async for each in stream][-1].done
    assert home.is_cached(action)


async def test_wait_operation_ends_in_time(home: House) -> None:
    """OP-07: at the latest when the timeout is over, with the state as it is then."""
    name = await home.begin(home.action(), skip_cache_lookup=True)
    request = operations.WaitOperationRequest(name=name, timeout={"nanos": 20_000_000})
    assert not (await home.stub.call(methods.WAIT_OPERATION, request)).done


async def test_wait_operation_ends_with_the_operation(home: House) -> None:
    """OP-07: before the timeout if the operation is done before."""
    async with home.worker() as hand:
        name = await home.begin(home.action())
        request = operations.WaitOperationRequest(name=name)
        waiting = asyncio.create_task(home.stub.call(methods.WAIT_OPERATION, request))
        hand.finish(await hand.next_lease())
        assert (await waiting).done


async def test_list_in_pages(home: House) -> None:
    """OP-07: all operations, the oldest first, each on exactly one page."""
    expected = [await finished(home, str(number)) for number in range(5)]
    seen, token = [], ""
    while True:
        request = operations.ListOperationsRequest(page_size=2, page_token=token)
        answer = await home.stub.call(methods.LIST_OPERATIONS, request)
        seen += [each.name for each in answer.operations]
        token = answer.next_page_token
        if not token:
            break
    assert expected == seen


async def test_list_of_one_instance(home: House) -> None:
    """INS-08, OP-07: a collection is named by its instance."""
    plain = await finished(home)
    named = await finished(home, instance="a/b")
    assert [plain, named] == await names_of(home)
    assert [plain, named] == await names_of(home, name="operations")
    assert [named] == await names_of(home, name="a/b/operations")
    assert [] == await names_of(home, name="a/operations")


@pytest.mark.parametrize("fields", [{"page_size": -1}, {"page_token": "?"}])
async def test_list_of_nonsense(home: House, fields) -> None:
    """GEN-13: a page that cannot be is INVALID_ARGUMENT."""
    with refused(Code.INVALID_ARGUMENT):
        await names_of(home, **fields)


async def test_page_stays_below_4_mib(home: House) -> None:
    """GEN-05: large results make short pages."""
    result = reapi.ActionResult(stdout_raw=b"x" * 1_500_000)
    for number in range(3):
        action = home.action(str(number))
        home.cache(action, result)
        await home.run(action)
    answer = await home.stub.call(methods.LIST_OPERATIONS, operations.ListOperationsRequest())
    assert answer.ByteSize() < 4 * 1024 * 1024
    assert answer.next_page_token


async def test_queued_time_is_told(home: House) -> None:
    """EXE-06: an operation says since when it waits."""
    name = await home.begin(home.action(), skip_cache_lookup=True)
    partial = metadata_of(await home.get(name)).partial_execution_metadata
    assert partial.queued_timestamp.ToNanoseconds()
