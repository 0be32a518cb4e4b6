"""Worker sessions over grpc.aio: who is admitted, and how both sides come to believe the same."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from remex_core.clock import ManualClock
from remex_core.errors import Code
from remex_core.proto import reapi, rpc_status, worker
from remex_core.services.worker_api import MAX_INLINE_RESULT_BYTES, wrong_port
from remex_core.testing.server import serve_handlers
from remex_core.testing.workers import FakeWorker
from remex_core.wire import methods
from remex_core.wire.transport import CallOptions
from scheduler_support.house import House, house
from services_support.blobs import refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from remex_core.wire.methods import Method

REFUSED = worker.Refused


@pytest.fixture
async def home():
    async with house() as made:
        yield made


async def until(condition) -> None:
    """Lets everything run on until something is so."""
    while not condition():
        await asyncio.sleep(0)


async def refusal_of(stranger: FakeWorker) -> worker.Refused:
    """Why a worker is not admitted."""
    answer = await stranger.connect()
    assert isinstance(answer, worker.Refused)
    return answer


async def test_welcome_says_what_to_keep_to(home: House) -> None:
    """The terms of a session, and both clocks to measure their offset by."""
    stranger = home.stranger()
    stranger.hello.sent_at.seconds = 1234
    welcome = await stranger.connect()
    assert isinstance(welcome, worker.Welcome)
    options = home.scheduler.options
    assert (1, home.scheduler.epoch, MAX_INLINE_RESULT_BYTES, 1234) == (
        welcome.protocol_version,
        welcome.epoch,
        welcome.max_inline_result_bytes,
        welcome.echoed_at.seconds,
    )
    assert (options.lease_timeout, options.statement_interval) == (
        welcome.lease_timeout.ToTimedelta().total_seconds(),
        welcome.statement_interval.ToTimedelta().total_seconds(),
    )
    assert welcome.sent_at.ToNanoseconds()
    await stranger.disconnect()


@pytest.mark.parametrize(
    ("settings", "reason", "said"),
    [
        ({"name": ""}, REFUSED.MALFORMED, "name"),
        ({"incarnation": ""}, REFUSED.MALFORMED, "incarnation"),
        ({"slots": 0}, REFUSED.MALFORMED, "slots"),
        ({"slots": -2}, REFUSED.MALFORMED, "slots"),
        ({"version": 2}, REFUSED.VERSION, "version 2"),
        ({"version": 0}, REFUSED.VERSION, "version 0"),
        ({"join_token": "wrong"}, REFUSED.NOT_ADMITTED, "join token"),
    ],
)
async def test_refusals_say_why(home: House, settings, reason, said) -> None:
    """A worker that cannot be admitted learns the reason, and counts for nothing."""
    answer = await refusal_of(home.stranger(**settings))
    assert reason == answer.reason
    assert said in answer.message
    assert {} == home.scheduler.state.fleet.workers


async def test_join_token_admits() -> None:
    """Where workers need a token, the right one lets them in and none does not."""
    async with house(join_token="open sesame") as home:
        assert isinstance(await home.stranger().connect(), worker.Refused)
        async with home.worker(join_token="open sesame"):
            assert ["w1"] == list(home.scheduler.state.fleet.workers)


async def test_session_begins_with_hello(home: House) -> None:
    """Whatever else comes first is malformed."""
    stranger = home.stranger()
    stranger.hello.Clear()
    assert REFUSED.MALFORMED == (await refusal_of(stranger)).reason


async def test_live_name_is_taken(home: House) -> None:
    """A second live worker of a name is refused, and told when to come again."""
    async with home.worker("w1", incarnation="a"):
        answer = await refusal_of(home.stranger("w1", incarnation="b"))
    assert REFUSED.NAME_TAKEN == answer.reason
    assert "--name" in answer.message
    assert answer.retry_after.seconds


async def test_silent_worker_does_not_hold_its_name() -> None:
    """A worker that stopped speaking makes room for its successor, even on an open stream."""
    clock = ManualClock()
    async with house(clock=clock) as home, home.worker("w1", incarnation="a"):
        clock.advance(3 * home.scheduler.options.statement_interval + 1)
        successor = home.stranger("w1", incarnation="b")
        assert isinstance(await successor.connect(), worker.Welcome)
        assert "b" == home.scheduler.state.fleet.workers["w1"].incarnation
        await successor.disconnect()


async def test_restarted_worker_is_admitted_at_once(home: House) -> None:
    """EXE-26: a worker that crashed comes back; what it ran is given out again."""
    async with home.worker("w1", incarnation="a") as before:
        await home.begin(home.action())
        await before.next_lease()
        await before.disconnect()
        async with home.worker("w1", incarnation="b") as after:
            assert 2 == (await after.next_lease()).attempt.number


async def test_belief_answers_each_statement(home: House) -> None:
    """What the scheduler believes, and the worker's time for measuring the offset."""
    async with home.worker() as hand:
        await home.begin(home.action())
        lease = await hand.next_lease()
        belief = await hand.state(sent_at={"seconds": 77})
        assert ([lease.lease_id], 77, False) == (
            list(belief.lease_ids),
            belief.echoed_at.seconds,
            belief.drain,
        )
        assert belief.sent_at.ToNanoseconds()


async def test_nothing_is_leased_before_the_first_statement(home: House) -> None:
    """What a worker may still hold must be known first."""
    await home.begin(home.action())
    hand = home.stranger()
    await hand.connect()
    await home.begin(home.action("another"))
    assert hand.leases.empty()
    await hand.state()
    await hand.next_lease()
    await hand.disconnect()


async def test_result_is_acknowledged(home: House) -> None:
    """A worker keeps a result until the scheduler has it safe."""
    async with home.worker() as hand:
        await home.begin(home.action())
        lease = await hand.next_lease()
        hand.finish(lease)
        assert lease.lease_id == await hand.acknowledged.get()
        assert {} == hand.held


async def test_result_is_acknowledged_after_it_is_cached(home: House) -> None:
    """No worker forgets a result that might still be lost."""
    home.ac.gate.clear()
    async with home.worker() as hand:
        await home.begin(home.action())
        lease = await hand.next_lease()
        hand.finish(lease)
        hand.finish(lease)
        await hand.state()
        assert hand.acknowledged.empty()
        home.ac.gate.set()
        assert lease.lease_id == await hand.acknowledged.get()


async def test_result_of_nobody_is_acknowledged(home: House) -> None:
    """A result that no attempt waits for is forgotten, so that it does not come again."""
    async with home.worker() as hand:
        hand.finish(worker.Lease(lease_id="from another life"))
        assert "from another life" == await hand.acknowledged.get()


async def test_broken_stream_is_resumed(home: House) -> None:
    """A worker runs on without its scheduler, and brings the result when it is back."""
    async with home.worker() as hand:
        running = asyncio.create_task(home.run(home.action()))
        lease = await hand.next_lease()
        await hand.disconnect()
        await until(lambda: not home.scheduler.state.fleet.workers["w1"].is_connected)
        await hand.connect()
        belief = await hand.state()
        assert [lease.lease_id] == list(belief.lease_ids)
        hand.finish(lease, reapi.ActionResult(stdout_raw=b"still here"))
        assert b"still here" == (await running).result.stdout_raw
        assert hand.leases.empty()


async def test_newer_session_replaces_the_older(home: House) -> None:
    """A worker that comes back before its broken stream was noticed keeps what it has."""
    async with home.worker() as hand:
        await home.begin(home.action())
        lease = await hand.next_lease()
        again = FakeWorker(home.stub, "w1")
        await again.connect()
        again.held = hand.held
        belief = await again.state()
        assert [lease.lease_id] == list(belief.lease_ids)
        await hand.disconnect()
        assert home.scheduler.state.fleet.workers["w1"].is_connected
        again.finish(lease)
        assert lease.lease_id == await again.acknowledged.get()
        await again.disconnect()


async def test_lease_that_was_lost_is_given_again(home: House) -> None:
    """What a broken stream swallowed is missing from the next statement, and sent anew."""
    async with home.worker() as hand:
        await home.begin(home.action())
        await hand.leases.get()
        await hand.disconnect()
        await hand.connect()
        await hand.state()
        assert 2 == (await hand.leases.get()).attempt.number


async def test_silence_loses_the_worker() -> None:
    """EXE-26: after the lease timeout its actions go elsewhere, and its session is ended."""
    clock = ManualClock()
    async with house(clock=clock) as home, home.worker("w1") as silent:
        await home.begin(home.action())
        lease = await silent.next_lease()
        clock.advance(home.scheduler.options.lease_timeout + 1)
        async with home.worker("w2") as other:
            home.scheduler.tick()
            assert 2 == (await other.next_lease()).attempt.number
            await until(lambda: home.scheduler.connections.get("w1") is None)
            await silent.disconnect()
            await silent.connect()
            belief = await silent.state()
            assert lease.lease_id not in belief.lease_ids


async def test_worker_that_drains_leaves(home: House) -> None:
    """A worker that ends its session in good order is gone at once."""
    async with home.worker() as hand:
        await hand.leave()
        await until(lambda: not home.scheduler.state.fleet.workers)


async def test_large_result_that_is_gone_is_a_failing_cas(home: House) -> None:
    """A result that cannot be read back counts against the CAS, and the action runs again."""
    async with home.worker() as hand:
        await home.begin(home.action())
        hand.finish(
            await hand.next_lease(), action_result_hash="0" * 64, action_result_size_bytes=9
        )
        await hand.acknowledged.get()
        (group,) = home.scheduler.state.groups.values()
        assert (1, set()) == (group.cas_failures, group.bad_workers)


async def test_result_that_is_none_is_the_workers_fault(home: House) -> None:
    """EXE-26: bytes that are no ActionResult count against the worker."""
    async with home.worker() as hand:
        await home.begin(home.action())
        lease = await hand.next_lease()
        hand.say(
            result=worker.Result(
                lease_id=lease.lease_id, action_result=b"\xff\xff", status=rpc_status.Status()
            )
        )
        assert 2 == (await hand.next_lease()).attempt.number


async def test_result_larger_than_a_message(home: House) -> None:
    """GEN-05: the client is told what to do about it, and the action is not tried again."""
    huge = reapi.ActionResult(stdout_raw=b"x" * 4_000_000)
    async with home.worker() as hand:
        running = asyncio.create_task(home.run(home.action()))
        lease = await hand.next_lease()
        hand.finish(lease, huge)
        response = await running
        assert lease.lease_id == await hand.acknowledged.get()
    assert Code.INVALID_ARGUMENT == response.status.code
    assert "output directories" in response.message


async def test_unknown_lease_state_of_a_newer_worker(home: House) -> None:
    """A state that this version does not know says at least that the lease is held."""
    async with home.worker() as hand:
        await home.begin(home.action())
        lease = await hand.next_lease()
        hand.held[lease.lease_id].state = 99
        assert [lease.lease_id] == list((await hand.state()).lease_ids)


async def test_idle_worker_gets_what_waits_elsewhere(home: House) -> None:
    """A lease that was only fetched ahead moves to a worker that could start it."""
    async with home.worker("w1", prefetch=1) as busy:
        await home.begin(home.action("a"))
        await home.begin(home.action("b"))
        await busy.progress(await busy.next_lease(), worker.RUNNING)
        waiting = await busy.next_lease()
        async with home.worker("w2") as idle:
            revoke = await busy.revokes.get()
            assert (waiting.lease_id, False) == (revoke.lease_id, revoke.kill)
            status = rpc_status.Status(code=Code.CANCELLED)
            busy.finish(waiting, status=status, revoked=True)
            assert waiting.action_hash == (await idle.next_lease()).action_hash


async def test_messages_out_of_turn_are_ignored(home: House) -> None:
    """A second Hello, or an empty message, does not end a session."""
    async with home.worker() as hand:
        hand.say(hello=hand.hello)
        hand.say()
        await hand.state()


async def test_stopping_scheduler_ends_sessions() -> None:
    """Workers learn at once that their scheduler is gone, and look for its successor."""
    async with house() as home, home.worker() as hand:
        await home.scheduler.close()
        assert hand._session is not None
        await hand._session


async def test_wrong_port_names_the_right_one() -> None:
    """A worker that was sent to the port of the clients is told where to go."""
    async with serve_handlers(wrong_port("10.0.0.1:8981")) as served:
        answer = await refusal_of(FakeWorker(served.stub))
    assert "--scheduler grpc://10.0.0.1:8981" in answer.message


async def test_malformed_message_ends_the_session(home: House) -> None:
    """GEN-13: bytes that are no message are INVALID_ARGUMENT."""

    async def garbage() -> AsyncIterator[bytes]:
        yield b"\xff\xff\xff"

    method: Method[Any, Any] = methods.WORKER_SESSION
    with refused(Code.INVALID_ARGUMENT):
        async for _ in home.stub._channel.stream(method, garbage(), CallOptions()):
            pass
