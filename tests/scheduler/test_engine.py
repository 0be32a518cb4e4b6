"""The shell around the machine: the journal as a barrier, and what it makes of failures."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from remex_core.clock import ManualClock
from remex_core.digest import SHA256
from remex_core.errors import Code, StoreUnavailable
from remex_core.proto import journal as rows_of
from remex_core.proto import reapi
from remex_core.scheduler import events as on
from remex_core.scheduler.engine import Scheduler
from remex_core.scheduler.journal import Fenced, Journal, NoJournal
from remex_core.scheduler.options import SchedulerOptions
from remex_core.scheduler.policies.fifo import Fifo
from remex_core.scheduler.policies.least_recently_used import LeastRecentlyUsed
from remex_core.scheduler.records import Submission
from remex_core.services.instances import Instances
from scheduler_support.house import House, house, response_of, stage_of
from services_support.blobs import refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from remex_core.scheduler.journal import JournalRow


class MovedJournal(Journal):
    """A journal that is slow, fails and ends as a test wants it."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()
        self.error: Exception | None = None
        self.is_closed = False

    async def open(self) -> int:
        return 41

    async def load(self) -> Sequence[JournalRow]:
        return ()

    async def append(self, epoch: int, rows: Sequence[JournalRow]) -> None:
        assert 41 == epoch
        self.asked.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        for key, value in rows:
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value

    async def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def journal() -> MovedJournal:
    return MovedJournal()


async def test_nothing_is_leased_before_it_is_written(journal) -> None:
    """Persist is a barrier: the lease waits for the journal, and the journal then has it."""
    async with house(journal=journal) as home, home.worker() as hand:
        journal.gate.clear()
        await home.begin(home.action(), skip_cache_lookup=True)
        await journal.asked.wait()
        await hand.state()
        assert hand.leases.empty()
        journal.gate.set()
        lease = await hand.next_lease()
        attempt = rows_of.Attempt.FromString(journal.rows[f"attempt/{lease.attempt.group}"])
        assert ("w1", 41, 41) == (attempt.worker, attempt.epoch, lease.attempt.epoch)
    assert journal.is_closed


async def test_nothing_is_published_before_it_is_written(journal) -> None:
    """Nobody learns of a result that a restart could take back, and no worker forgets it."""
    async with house(journal=journal) as home, home.worker() as hand:
        stream = home.execute(home.action())
        name = (await anext(stream)).name
        lease = await hand.next_lease()
        journal.gate.clear()
        journal.asked.clear()
        hand.finish(lease)
        await journal.asked.wait()
        await hand.state()
        assert not (await home.get(name)).done
        assert hand.acknowledged.empty()
        journal.gate.set()
        assert [each async for each in stream][-1].done
        assert lease.lease_id == await hand.acknowledged.get()
        row = rows_of.Operation.FromString(journal.rows[f"operation/{name}"])
        assert reapi.ExecuteResponse.FromString(row.response).HasField("result")


async def test_journal_that_fails_is_tried_again(journal, monkeypatch) -> None:
    """Nothing goes on while the journal cannot be written; readiness says so."""
    monkeypatch.setattr("remex_core.scheduler.engine._JOURNAL_RETRY_SECONDS", 0.01)
    async with house(journal=journal) as home, home.worker() as hand:
        journal.error = OSError("no space left")
        await home.begin(home.action(), skip_cache_lookup=True)
        while not home.scheduler.readiness():
            await asyncio.sleep(0)
        assert "no space left" in home.scheduler.readiness()
        await hand.state()
        assert hand.leases.empty()
        journal.error = None
        await hand.next_lease()
        assert "" == home.scheduler.readiness()


async def test_replaced_scheduler_gives_out_nothing(journal) -> None:
    """A scheduler whose journal was taken over stops, and sends its watchers to the new one."""
    async with house(journal=journal) as home, home.worker() as hand:
        journal.error = Fenced("epoch 42 has begun")
        with refused(Code.UNAVAILABLE, "stopping"):
            async for _ in home.execute(home.action()):
                pass
        assert "epoch 42 has begun" in home.scheduler.readiness()
        await hand.state()
        assert hand.leases.empty()


async def test_look_up_that_breaks_is_a_miss(monkeypatch) -> None:
    """EXE-08: a bug in a store costs the cached result, not the operation."""
    async with house() as home, home.worker() as hand:

        def broken(*_args: object, **_options: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(home.ac, "read", broken)
        await home.begin(home.action())
        await hand.next_lease()


async def test_store_that_breaks_costs_the_entry(monkeypatch) -> None:
    """EXE-21: a bug in a store costs the cached result, not the operation."""
    async with house() as home, home.worker() as hand:

        async def broken(*_args: object, **_options: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(home.ac, "write", broken)
        running = asyncio.create_task(home.run(home.action()))
        hand.finish(await hand.next_lease())
        assert Code.OK == (await running).status.code


async def test_touch_that_fails_is_only_logged(caplog) -> None:
    """A CAS that is away for a moment does not disturb the queue."""
    clock = ManualClock()
    async with house(clock=clock, unsatisfiable_grace=1e9) as home:
        name = await home.begin(home.action(), skip_cache_lookup=True)
        home.cas.find_error = StoreUnavailable("it is down")
        clock.advance(home.scheduler.options.touch_interval + 1)
        home.scheduler.tick()
        while "could not be touched" not in caplog.text:
            await asyncio.sleep(0)
        assert "QUEUED" == stage_of(await home.get(name))


class Broken(Fifo):
    def peek(self, shape):
        raise ValueError("I cannot see")


async def test_replaced_policy_is_named_once(caplog) -> None:
    """Readiness and the log say which policy failed, and how."""
    home = await bare(Broken())
    home.tick()
    assert "" == home.readiness()
    home.tell(on.WorkerJoined("w1", "i1", {}, slots=1))
    home.tell(on.WorkerStated("w1", "i1"))
    spec = on.ActionSpec("", SHA256.key_of(b"a"), looks_up=False)
    home.submit(Submission(spec, b"", b"", (), None, True))
    for _ in range(3):
        home.tick()
    assert "the order policy Broken was replaced by fifo" in home.readiness()
    assert 1 == caplog.text.count("was replaced by fifo")
    await home.close()


async def bare(order: Fifo) -> Scheduler:
    scheduler = Scheduler(SchedulerOptions(), Instances(), order, LeastRecentlyUsed(), NoJournal())
    assert "starting" == scheduler.readiness()
    await scheduler.start()
    return scheduler


async def test_drain_gives_up_after_its_grace(home_with_an_action: House) -> None:
    """What takes longer than the grace is left as it is."""
    await home_with_an_action.scheduler.drain(0.01)
    assert 1 == len(home_with_an_action.scheduler.state.operations)


async def test_drain_of_an_idle_scheduler_is_done_at_once() -> None:
    """Without operations there is nothing to wait for."""
    async with house() as home:
        await home.scheduler.drain(60)


@pytest.fixture
async def home_with_an_action():
    async with house() as home:
        await home.begin(home.action(), skip_cache_lookup=True)
        yield home


async def test_cached_results_end_the_wait_for_the_drain() -> None:
    """EXE-08: operations that end without a worker count as ended."""
    async with house() as home:
        action = home.action()
        home.cache(action, reapi.ActionResult())
        last = [each async for each in home.execute(action)][-1]
        assert response_of(last).cached_result
        await home.scheduler.drain(60)


@pytest.mark.parametrize(("room", "is_carried"), [(1 << 20, True), (10, False)])
async def test_messages_of_waiting_actions_are_bounded(room, is_carried) -> None:
    """What is too much to be kept for the workers they read for themselves."""
    async with house(carried_bytes=room) as home, home.worker() as hand:
        action = home.action()
        await home.begin(action)
        lease = await hand.next_lease()
        assert (is_carried, is_carried) == (bool(lease.action), bool(lease.command))
        assert action.hash == lease.action_hash


async def test_room_for_messages_comes_back() -> None:
    """An action that has ended leaves its room to the next."""
    async with house() as home, home.worker() as hand:
        for number in range(3):
            action = home.action("true", str(number))
            size = len(home.cas.values[action])
            home.scheduler.options = SchedulerOptions(carried_bytes=2 * size)
            running = asyncio.create_task(home.run(action))
            lease = await hand.next_lease()
            hand.finish(lease)
            await running
            assert lease.action
