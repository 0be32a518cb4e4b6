"""The kind `fast_slow`."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from remex_core.clock import ManualClock
from remex_core.errors import (
    BlobNotFound,
    DataLoss,
    RemexError,
    StoreFull,
    StoreUnavailable,
)
from remex_core.plugins.descriptors import StoreNode
from remex_core.store import ops
from remex_core.store.contract import BatchIO, Content, LinkFile, LinkPlan, LocalFiles, Store
from remex_core.store.fast_slow import Direction, FastSlowSpec, FastSlowStore
from remex_core.store.fill import WINDOW_PIECES
from remex_core.store.memory import MemoryStore, Protect
from remex_core.testing.directory_store import DirectoryStore
from remex_core.testing.store_faults import FlakyStore, SlowStore
from remex_core.testing.stores import (
    LocalFilesContract,
    Sample,
    StoreContract,
    files_below,
    in_chunks,
    read,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Collection
    from pathlib import Path

    from remex_core.digest import Key

MIB = 1024 * 1024


def memory() -> MemoryStore:
    return MemoryStore(64 * MIB, Protect(hard=0, soft=0))


def sample(size: int = 100) -> Sample:
    return StoreContract().sample(size)


class ActionResults(StoreContract):
    content = Content.AC


def result() -> Sample:
    return ActionResults().sample(100)


async def has(store: Store, key: Key) -> bool:
    return await ops.is_present(store, key)


async def settle(store: FastSlowStore) -> None:
    """Returns when every fill has ended."""
    while store.fills._tasks:
        await asyncio.wait(list(store.fills._tasks))


# ---- the contract


class TestContract(StoreContract):
    capabilities = frozenset({BatchIO})
    direction = Direction.BOTH

    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        store = FastSlowStore(memory(), memory(), self.direction)
        yield store
        await store.close()


class TestContractWithoutWrites(TestContract):
    direction = Direction.GET


class TestActionCache(TestContract):
    content = Content.AC


class TestOpaqueWithoutFills(TestContract):
    content = Content.OPAQUE
    direction = Direction.READ_ONLY


class TestSlowThatTakesNoWrites(StoreContract):
    capabilities = frozenset({BatchIO})

    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        store = FastSlowStore(memory(), memory(), slow_direction=Direction.READ_ONLY)
        yield store
        await store.close()


class TestLocalFiles(LocalFilesContract):
    capabilities = frozenset({BatchIO, LocalFiles})

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        store = FastSlowStore(DirectoryStore(tmp_path), memory(), Direction.GET)
        yield store
        await store.close()


class TestFastThatFails(StoreContract):
    capabilities = frozenset({BatchIO})

    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        fast = FlakyStore(memory())
        fast.failing = {"read", "write"}
        store = FastSlowStore(fast, memory())
        yield store
        await store.close()


# ---- directions


@pytest.fixture(params=list(Direction))
def fast_direction(request: pytest.FixtureRequest) -> Direction:
    direction = request.param
    assert isinstance(direction, Direction)
    return direction


class TestDirections:
    async def test_writes_reach_the_tiers_that_take_them(self, fast_direction: Direction) -> None:
        """A write always reaches the slow tier, and the fast one by its direction."""
        store = FastSlowStore(memory(), memory(), fast_direction)
        single, batched = sample(), sample()
        await ops.write_bytes(store, *single)
        await ops.write_many(store, [batched])
        for key, _ in (single, batched):
            assert await has(store.slow, key)
            assert fast_direction.takes_writes == await has(store.fast, key)

    async def test_reads_fill_the_fast_tier(self, fast_direction: Direction) -> None:
        """What the slow tier had to answer is copied into the fast one, by its direction."""
        store = FastSlowStore(memory(), memory(), fast_direction)
        single, batched = sample(), sample()
        await ops.write_many(store.slow, [single, batched])
        assert single.value == await read(store, single.key)
        assert {batched.key: batched.value} == await ops.read_many(
            store, [batched.key], max_bytes=MIB
        )
        await settle(store)
        for key, _ in (single, batched):
            assert fast_direction.takes_fills == await has(store.fast, key)

    async def test_action_results_are_filled_by_reads_alone(
        self, fast_direction: Direction
    ) -> None:
        """A value that can be replaced gets into the fast tier only when it is read."""
        store = FastSlowStore(memory(), memory(), fast_direction)
        key, value = result()
        await ops.write_bytes(store, key, value)
        assert not await has(store.fast, key)
        assert value == await read(store, key)
        await settle(store)
        assert fast_direction.takes_fills == await has(store.fast, key)

    async def test_write_discards_what_the_fast_tier_has_of_old(
        self, fast_direction: Direction
    ) -> None:
        """AC-16: no direction leaves the old action result in the fast tier."""
        store = FastSlowStore(memory(), memory(), fast_direction)
        key, old = result()
        new = ActionResults().value(100)
        await ops.write_bytes(store.fast, key, old)
        await ops.write_bytes(store.slow, key, old)
        await ops.write_bytes(store, key, new)
        assert new == await read(store, key)

    async def test_write_past_a_read_only_slow_tier_discards_there(self) -> None:
        """AC-16: what the slow tier cannot take over, it does not answer with either."""
        store = FastSlowStore(memory(), memory(), slow_direction=Direction.GET)
        key, old = result()
        await ops.write_bytes(store.slow, key, old)
        new = ActionResults().value(100)
        await ops.write_many(store, [(key, new)])
        assert not await has(store.slow, key)
        assert new == await read(store, key)

    async def test_slow_tier_alone_is_asked_what_is_missing(self) -> None:
        """CAS-08: what only the fast tier has is missing, so that clients upload it again."""
        store = FastSlowStore(memory(), memory())
        key, value = sample()
        await ops.write_bytes(store.fast, key, value)
        assert frozenset({key}) == await store.find_missing([key])

    async def test_fast_tier_is_asked_where_the_slow_takes_no_writes(self) -> None:
        """CAS-06: what was written past a slow tier that takes no writes is not missing."""
        store = FastSlowStore(memory(), memory(), slow_direction=Direction.READ_ONLY)
        written, below, absent = sample(), sample(), sample()
        await ops.write_bytes(store, *written)
        await ops.write_bytes(store.slow, *below)
        keys = [written.key, below.key, absent.key]
        assert frozenset({absent.key}) == await store.find_missing(keys)

    def test_some_tier_must_take_writes(self) -> None:
        """Directions that leave nowhere to write to are an error in the configuration."""
        noop = StoreNode(kind="noop")
        with pytest.raises(ValidationError, match="neither tier takes writes"):
            FastSlowSpec(
                fast=noop,
                slow=noop,
                fast_direction=Direction.GET,
                slow_direction=Direction.READ_ONLY,
            )

    async def test_local_files_need_a_fast_tier_that_is_filled(self, tmp_path: Path) -> None:
        """A tier that reads do not fill cannot promise to have what a plan needs."""
        store = FastSlowStore(DirectoryStore(tmp_path), memory(), Direction.UPDATE)
        assert ops.capability(store, LocalFiles) is None


# ---- fills


class TestFills:
    async def test_many_readers_cause_one_fill(self) -> None:
        """However many read at once, the slow tier is read once, and all get the value."""
        slow = FlakyStore(memory())
        gated = SlowStore(slow)
        store = FastSlowStore(memory(), gated)
        key, value = sample(3 * MIB)
        await ops.write_bytes(slow.inner, key, value)
        readers = [asyncio.create_task(read(store, key)) for _ in range(5)]
        await gated.until_waiting(1)
        gated.gate.set()
        assert [value] * 5 == await asyncio.gather(*readers)
        assert ["read"] == slow.calls

    async def test_fill_survives_its_reader(self) -> None:
        """A reader that is cancelled does not stop the fill that it caused."""
        slow = SlowStore(memory())
        store = FastSlowStore(memory(), slow)
        key, value = sample(3 * MIB)
        await ops.write_bytes(slow.inner, key, value)
        reader = asyncio.create_task(read(store, key))
        await slow.until_waiting(1)
        reader.cancel()
        await asyncio.wait([reader])
        assert reader.cancelled()
        slow.gate.set()
        await settle(store)
        assert value == await read(store.fast, key)

    async def test_slow_reader_does_not_hold_the_fill_up(self) -> None:
        """A reader that falls behind reads on from the store; memory stays bounded."""
        store = FastSlowStore(memory(), memory())
        key, value = sample((WINDOW_PIECES + 4) * MIB)
        await ops.write_bytes(store.slow, key, value)
        async with aclosing(store.read(key)) as pieces:
            seen = [await anext(pieces)]
            await settle(store)
            assert await has(store.fast, key)
            seen += [piece async for piece in pieces]
        assert value == b"".join(seen)

    async def test_reader_that_joins_late_gets_everything(self) -> None:
        """A reader that comes when a fill is under way gets the value from its start."""

        class Stepwise(MemoryStore):
            """Gives each piece when it is allowed to."""

            def __init__(self) -> None:
                super().__init__(64 * MIB)
                self.steps = asyncio.Semaphore(0)

            async def read(
                self, key: Key, *, offset: int = 0, limit: int | None = None
            ) -> AsyncGenerator[bytes]:
                async with aclosing(super().read(key, offset=offset, limit=limit)) as pieces:
                    async for piece in pieces:
                        await self.steps.acquire()
                        yield piece

        slow = Stepwise()
        store = FastSlowStore(memory(), slow)
        key, value = sample(8 * MIB)
        await ops.write_bytes(slow, key, value)
        first = store.read(key)
        slow.steps.release()
        seen = [await anext(first)]
        late = asyncio.create_task(read(store, key))
        for _ in range(7):
            slow.steps.release()
        assert value == await late
        seen += [piece async for piece in first]
        assert value == b"".join(seen)

    async def test_absent_value_is_looked_for_once(self) -> None:
        """A miss costs the slow tier one read, and leaves nothing behind."""
        slow = FlakyStore(memory())
        store = FastSlowStore(memory(), slow)
        with pytest.raises(BlobNotFound):
            await read(store, sample().key)
        assert ["read"] == slow.calls
        assert {} == store.fills._fills

    async def test_range_is_read_past_the_fast_tier(self) -> None:
        """A part of an absent value comes from the slow tier, and does not fetch the whole."""
        store = FastSlowStore(memory(), memory())
        key, value = sample(3 * MIB)
        await ops.write_bytes(store.slow, key, value)
        assert value[MIB : MIB + 10] == await read(store, key, offset=MIB, limit=10)
        await settle(store)
        assert not await has(store.fast, key)

    async def test_value_too_large_for_the_fast_tier_is_read_from_the_slow(self) -> None:
        """A fast tier that has no room does not come between a reader and the value."""
        store = FastSlowStore(MemoryStore(MIB), memory())
        key, value = sample(2 * MIB)
        await ops.write_bytes(store.slow, key, value)
        assert value == await read(store, key)

    async def test_slow_tier_that_breaks_is_told_to_the_reader(self) -> None:
        """GEN-14: when the slow tier fails in the middle, nothing is left in the fast one."""
        slow = FlakyStore(memory())
        store = FastSlowStore(memory(), slow)
        key, value = sample(3 * MIB)
        await ops.write_bytes(slow, key, value)
        slow.break_read_after = 1
        with pytest.raises(DataLoss):
            await read(store, key)
        await settle(store)
        assert not await has(store.fast, key)

    async def test_discard_stops_fills(self) -> None:
        """CAS-08: a fill that is under way does not bring a discarded value back."""
        slow = SlowStore(memory())
        store = FastSlowStore(memory(), slow)
        key, value = sample(3 * MIB)
        await ops.write_bytes(slow.inner, key, value)
        reader = asyncio.create_task(read(store, key))
        await slow.until_waiting(1)
        slow.gate.set()
        await store.discard([key])
        await asyncio.gather(reader, return_exceptions=True)
        await settle(store)
        assert not await has(store.fast, key)

    async def test_closing_stops_fills(self) -> None:
        """A closed store has no tasks left; its readers fall back to the slow tier."""
        slow = SlowStore(memory())
        store = FastSlowStore(memory(), slow)
        key, value = sample(3 * MIB)
        await ops.write_bytes(slow.inner, key, value)
        reader = asyncio.create_task(read(store, key))
        await slow.until_waiting(1)
        await store.close()
        assert set() == store.fills._tasks
        slow.gate.set()
        assert value == await reader

    async def test_old_result_is_not_brought_back(self) -> None:
        """AC-16: a result that was read before it was replaced does not get into the fast tier."""
        slow = SlowStore(memory())
        store = FastSlowStore(memory(), slow)
        key, old = result()
        new = ActionResults().value(100)
        await ops.write_bytes(slow.inner, key, old)
        slow.gate.set()
        reading = store.read(key)
        seen = [await anext(reading)]
        await ops.write_bytes(store, key, new)
        seen += [piece async for piece in reading]
        assert old == b"".join(seen)
        await settle(store)
        assert not await has(store.fast, key)
        assert new == await read(store, key)

    async def test_result_read_during_its_replacement_is_not_kept(self) -> None:
        """AC-16: a result that is read while it is replaced does not get into the fast tier."""
        fast, slow = memory(), SlowStore(memory())
        store = FastSlowStore(fast, slow)
        key, old = result()
        new = ActionResults().value(100)
        await ops.write_bytes(slow.inner, key, old)
        writing = asyncio.create_task(ops.write_bytes(store, key, new))
        await slow.until_waiting(1)
        reading = asyncio.create_task(read(store, key))
        await slow.until_waiting(2)
        slow.gate.set()
        assert await reading in (old, new)
        await writing
        await settle(store)
        assert not await has(fast, key)


# ---- a fast tier that fails


class TestFailingFastTier:
    async def test_it_is_done_without_and_logged_once_a_minute(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Reads and writes go on with the slow tier alone, and the log says so."""
        fast, clock = FlakyStore(memory()), ManualClock()
        store = FastSlowStore(fast, memory(), clock=clock, path="stores.cas")
        fast.fail_everything()
        key, value = sample()
        await ops.write_bytes(store, key, value)
        for _ in range(3):
            assert value == await read(store, key)
        assert {key: value} == await ops.read_many(store, [key], max_bytes=MIB)
        (record,) = caplog.records
        assert record.getMessage() == (
            "the fast tier of stores.cas failed to write and is done without: "
            "The store was told to fail."
        )
        clock.advance(60)
        await read(store, key)
        assert len(caplog.records) == 2

    async def test_failing_replacement_is_an_error(self) -> None:
        """AC-16: a result that may be stale in the fast tier is not replaced behind its back."""
        fast = FlakyStore(memory())
        store = FastSlowStore(fast, memory())
        key, value = result()
        fast.fail_everything()
        with pytest.raises(StoreUnavailable):
            await ops.write_bytes(store, key, value)

    async def test_fast_tier_that_breaks_off_is_taken_over_from(self) -> None:
        """When the fast tier becomes unavailable in the middle, the slow one reads on."""

        class BreaksOff(FlakyStore):
            async def read(
                self, key: Key, *, offset: int = 0, limit: int | None = None
            ) -> AsyncGenerator[bytes]:
                async with aclosing(self.inner.read(key, offset=offset, limit=MIB)) as pieces:
                    async for piece in pieces:
                        yield piece
                raise StoreUnavailable("The disk is gone.")

        store = FastSlowStore(BreaksOff(memory()), memory())
        key, value = sample(3 * MIB)
        await ops.write_bytes(store, key, value)
        assert value == await read(store, key)

    async def test_damaged_copy_is_discarded(self) -> None:
        """GEN-14: bytes that turn out wrong end the read, and the next one has good ones."""
        fast = FlakyStore(memory())
        store = FastSlowStore(fast, memory())
        key, value = sample(3 * MIB)
        await ops.write_bytes(store, key, value)
        fast.break_read_after = 1
        with pytest.raises(DataLoss):
            await read(store, key)
        assert value == await read(store, key)


# ---- writes to both tiers


class TestWritesToBoth:
    async def test_failing_slow_tier_leaves_nothing_in_the_fast(self) -> None:
        """CAS-13: a write that the slow tier refuses is not in the fast one either."""
        slow = FlakyStore(memory())
        store = FastSlowStore(memory(), slow)
        slow.failing, slow.error = {"write"}, StoreFull("Full.")
        single, batched = sample(3 * MIB), sample()
        with pytest.raises(StoreFull):
            await store.write(single.key, in_chunks(single.value))
        assert [batched.key] == list(await ops.write_many(store, [batched]))
        assert not await has(store.fast, single.key)
        assert not await has(store.fast, batched.key)

    async def test_slow_tier_that_has_it_ends_the_write(self) -> None:
        """BSW-10: when the slow tier wants no chunks, none are consumed for the fast one."""
        store = FastSlowStore(memory(), memory())
        key, value = sample(3 * MIB)
        await ops.write_bytes(store.slow, key, value)
        consumed = []

        async def chunks() -> AsyncIterator[bytes]:
            consumed.append(key)
            yield value

        await store.write(key, chunks())
        assert [] == consumed
        assert not await has(store.fast, key)

    async def test_fast_tier_that_has_it_does_not_end_the_write(self) -> None:
        """CAS-06: a value that only the fast tier has still gets into the slow one."""
        store = FastSlowStore(memory(), memory())
        key, value = sample(9 * MIB)
        await ops.write_bytes(store.fast, key, value)
        await store.write(key, in_chunks(value))
        assert value == await read(store.slow, key)

    async def test_value_is_not_in_the_fast_tier_before_it_is_in_the_slow(self) -> None:
        """A write is visible nowhere before the slow tier has all of it."""
        fast = memory()

        class Commits(MemoryStore):
            async def write(self, key: Key, chunks: object) -> None:
                await super().write(key, chunks)  # type: ignore[arg-type] # as it came
                assert not await has(fast, key)

        store = FastSlowStore(fast, Commits(64 * MIB))
        key, value = sample(2 * MIB)
        await store.write(key, in_chunks(value))
        assert await has(fast, key)


# ---- local files


class Remote(FlakyStore):
    """A slow tier that takes batches and notes their sizes."""

    def __init__(self) -> None:
        super().__init__(memory())
        self.batches: list[int] = []

    def forward(self, capability: type) -> object:  # type: ignore[override] # one of them
        return _RemoteBatches(self) if capability is BatchIO else None


class _RemoteBatches(BatchIO):
    def __init__(self, remote: Remote) -> None:
        self.remote = remote

    async def read_batch(self, keys: Collection[Key], max_bytes: int) -> dict[Key, object]:  # type: ignore[override]
        self.remote._enter("read")
        self.remote.batches.append(len(keys))
        assert sum(key.size for key in keys) <= max_bytes
        found = await ops.read_many(self.remote.inner, list(keys), max_bytes=max_bytes)
        return dict(found)

    async def write_batch(self, items: list[tuple[Key, bytes]]) -> dict[Key, RemexError]:  # type: ignore[override]
        self.remote.calls.append("write_batch")
        if "write" in self.remote.failing:
            return dict.fromkeys([key for key, _ in items], self.remote.error)
        return dict(await ops.write_many(self.remote.inner, items))


class Worker:
    """A worker's stores: a local one in front of a remote one."""

    def __init__(self, path: Path) -> None:
        self.local = DirectoryStore(path / "store")
        self.remote = Remote()
        self.store = FastSlowStore(self.local, self.remote, Direction.GET)
        files = ops.capability(self.store, LocalFiles)
        assert files is not None
        self.files = files
        self.roots = 0

    def plan(self, *samples: Sample) -> LinkPlan:
        self.roots += 1
        root = self.files.work_root / f"root-{self.roots}"
        root.mkdir()
        files = [LinkFile(key, f"d/{n}", False) for n, (key, _) in enumerate(samples)]
        return LinkPlan(root, ["d"], files)


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    worker = Worker(tmp_path)
    yield worker
    await worker.store.close()


class TestLinking:
    async def test_absent_files_are_fetched_in_few_batches(self, worker: Worker) -> None:
        """Many small blobs come in one call, large ones alone, and all are kept locally."""
        samples = [sample(1000 + n) for n in range(300)] + [sample(2 * MIB), sample(0)]
        await ops.write_many(worker.remote.inner, samples)
        plan = worker.plan(*samples)
        assert frozenset() == await worker.files.link_into(plan)
        assert {f"d/{n}": (value, 0o444) for n, (_, value) in enumerate(samples)} == files_below(
            plan.root
        )
        assert [301] == worker.remote.batches
        worker.remote.fail_everything()
        assert frozenset() == await worker.files.link_into(worker.plan(*samples))

    async def test_batches_are_bounded(self, worker: Worker) -> None:
        """No batch is larger than what a server takes in one call."""
        samples = [sample(900_000 + n) for n in range(9)]
        await ops.write_many(worker.remote.inner, samples)
        assert frozenset() == await worker.files.link_into(worker.plan(*samples))
        assert [4, 4, 1] == worker.remote.batches

    async def test_what_nobody_has_is_answered(self, worker: Worker) -> None:
        """EXE-13: small and large blobs that are nowhere are named; the rest is made."""
        there, small, large = sample(10), sample(20), sample(2 * MIB)
        await ops.write_bytes(worker.remote.inner, *there)
        plan = worker.plan(small, there, large)
        assert {small.key, large.key} == await worker.files.link_into(plan)
        assert ["d/1"] == list(files_below(plan.root))

    async def test_two_plans_fetch_a_blob_once(self, worker: Worker) -> None:
        """Plans that need the same blobs at the same time share the fetching of them."""
        gate = SlowStore(worker.remote.inner)
        worker.remote.inner = gate
        both, one, large = sample(10), sample(20), sample(2 * MIB)
        await ops.write_many(gate.inner, [both, one, large])
        plans = [worker.plan(both, large), worker.plan(both, one, large)]
        linking = [asyncio.create_task(worker.files.link_into(plan)) for plan in plans]
        await gate.until_waiting(3)
        gate.gate.set()
        assert [frozenset(), frozenset()] == await asyncio.gather(*linking)
        assert ["read"] * 3 == worker.remote.calls

    async def test_cancelled_plan_does_not_stop_the_fetching(self, worker: Worker) -> None:
        """An action that is cancelled while its inputs come does not harm another one's."""
        gate = SlowStore(worker.remote.inner)
        worker.remote.inner = gate
        blob = sample(10)
        await ops.write_bytes(gate.inner, *blob)
        cancelled, kept = (
            asyncio.create_task(worker.files.link_into(worker.plan(blob))) for _ in range(2)
        )
        await gate.until_waiting(1)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        gate.gate.set()
        assert frozenset() == await kept

    async def test_unreachable_slow_tier_is_an_error(self, worker: Worker) -> None:
        """GEN-14: blobs that may be there are not called missing."""
        worker.remote.fail_everything()
        with pytest.raises(StoreUnavailable):
            await worker.files.link_into(worker.plan(sample(10)))
        with pytest.raises(StoreUnavailable):
            await worker.files.link_into(worker.plan(sample(2 * MIB)))

    async def test_local_store_that_is_too_small_is_an_error(
        self, worker: Worker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A local store that evicts what was just fetched gets the worker a clear answer."""

        async def nothing(plan: LinkPlan) -> frozenset[Key]:
            return frozenset(file.key for file in plan.files)

        monkeypatch.setattr(worker.local, "link_into", nothing)
        blob = sample(10)
        await ops.write_bytes(worker.remote.inner, *blob)
        with pytest.raises(StoreFull, match="evicted again"):
            await worker.files.link_into(worker.plan(blob))


class TestAdopting:
    @pytest.mark.parametrize("size", [0, 1000, 3 * MIB])
    async def test_output_is_uploaded_and_kept(self, worker: Worker, size: int) -> None:
        """A finished output gets into the slow tier, and is linked from the local one later."""
        key, value = sample(size)
        path = worker.files.work_root / "output"
        path.write_bytes(value)
        await worker.files.adopt(key, path)
        assert value == await read(worker.remote.inner, key)
        assert value == await read(worker.local, key)

    async def test_many_outputs_are_uploaded_in_few_calls(self, worker: Worker) -> None:
        """Small outputs travel in one batch, large ones alone, and all are kept locally."""
        samples = [sample(1000 + n) for n in range(300)] + [sample(2 * MIB)]
        files = []
        for number, (key, value) in enumerate(samples):
            path = worker.files.work_root / f"output-{number}"
            path.write_bytes(value)
            files.append((key, path))
        assert {} == await worker.files.adopt_many(files)
        assert ["write", "write_batch"] == sorted(worker.remote.calls)
        for store in (worker.remote.inner, worker.local):
            assert frozenset() == await store.find_missing([key for key, _ in samples])

    async def test_one_refused_output_does_not_disturb_the_others(self, worker: Worker) -> None:
        """CAS-12, CAS-13: what the slow tier refuses is answered and left where it was."""
        worker.remote.inner = MemoryStore(MIB)
        files = {}
        for size in (10, 2 * MIB):
            key, value = sample(size)
            files[key] = worker.files.work_root / f"output-{size}"
            files[key].write_bytes(value)
        small, large = files
        errors = await worker.files.adopt_many(list(files.items()))
        assert {large: StoreFull} == {key: type(error) for key, error in errors.items()}
        assert files[large].exists()
        assert await has(worker.local, small)
        assert not await has(worker.local, large)

    async def test_refused_upload_leaves_the_file(self, worker: Worker) -> None:
        """CAS-13: when the slow tier is full, the file stays and nothing is kept locally."""
        worker.remote.failing, worker.remote.error = {"write"}, StoreFull("Full.")
        key, value = sample(100)
        path = worker.files.work_root / "output"
        path.write_bytes(value)
        with pytest.raises(StoreFull):
            await worker.files.adopt(key, path)
        assert value == path.read_bytes()
        assert not await has(worker.local, key)

    async def test_local_refusal_is_no_error(
        self,
        worker: Worker,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """An output that is uploaded is safe, whether or not it can be kept locally."""

        async def full(key: Key, path: Path) -> None:
            raise StoreFull("Full.")

        monkeypatch.setattr(worker.local, "adopt", full)
        key, value = sample(100)
        path = worker.files.work_root / "output"
        path.write_bytes(value)
        await worker.files.adopt(key, path)
        assert value == await read(worker.remote.inner, key)
        assert "failed to adopt a file" in caplog.text

    async def test_slow_tier_that_takes_no_writes_is_passed_by(self, tmp_path: Path) -> None:
        """Where writes go to the fast tier alone, so do outputs."""
        local, slow = DirectoryStore(tmp_path / "store"), memory()
        store = FastSlowStore(local, slow, slow_direction=Direction.READ_ONLY)
        files = ops.capability(store, LocalFiles)
        assert files is not None
        key, value = sample(100)
        path = files.work_root / "output"
        path.write_bytes(value)
        await files.adopt(key, path)
        assert value == await read(local, key)
        assert not await has(slow, key)
