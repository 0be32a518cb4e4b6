"""The kind `memory`."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from remex_core.clock import ManualClock
from remex_core.digest import SHA256, Key
from remex_core.errors import DigestMismatch, StoreFull
from remex_core.store import ops
from remex_core.store.contract import BatchIO, Content
from remex_core.store.memory import OVERHEAD, MemorySpec, MemoryStore, Protect
from remex_core.testing.stores import StoreContract, in_chunks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MIB = 1024 * 1024
UNPROTECTED = Protect(hard=0, soft=0)


class TestContract(StoreContract):
    capabilities = frozenset({BatchIO})

    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore(64 * 1024 * 1024)


class TestActionCache(TestContract):
    content = Content.AC


class TestOpaque(TestContract):
    content = Content.OPAQUE


def blob(number: int, size: int = 1000) -> tuple[Key, bytes]:
    value = number.to_bytes(4, "big") * (size // 4)
    return SHA256.key_of(value), value


def room_for(count: int, size: int = 1000) -> int:
    return count * (size + OVERHEAD)


async def absent(store: MemoryStore, *blobs: tuple[Key, bytes]) -> list[int]:
    """The positions of the blobs that are gone, without touching the others."""
    return [n for n, (key, _) in enumerate(blobs) if key not in store._values]


class TestEviction:
    async def test_least_recently_used_goes_first(self) -> None:
        """CAS-05: what was found or read lately outlives what was only written."""
        store = MemoryStore(room_for(4), UNPROTECTED)
        blobs = [blob(n) for n in range(5)]
        for key, value in blobs[:4]:
            await ops.write_bytes(store, key, value)
        await store.find_missing([blobs[0][0]])
        await ops.read_all(store, blobs[1][0], max_bytes=MIB)
        await ops.write_bytes(store, *blobs[4])
        assert [2] == await absent(store, *blobs)

    async def test_writing_a_present_blob_touches_it(self) -> None:
        """CAS-05: a client that uploads what is here counts on it as much as one that asked."""
        store = MemoryStore(room_for(2), UNPROTECTED)
        blobs = [blob(n) for n in range(3)]
        for key, value in (blobs[0], blobs[1], blobs[0], blobs[2]):
            await ops.write_bytes(store, key, value)
        assert [1] == await absent(store, *blobs)

    async def test_only_as_much_as_needed_goes(self) -> None:
        """A large value evicts as many old ones as its size takes, and no more."""
        store = MemoryStore(room_for(6), UNPROTECTED)
        blobs = [blob(n) for n in range(6)]
        for key, value in blobs:
            await ops.write_bytes(store, key, value)
        large = blob(9, 2400)
        await ops.write_bytes(store, *large)
        assert [0, 1] == await absent(store, *blobs, large)
        assert store.used_bytes <= room_for(6)

    async def test_replaced_value_gives_its_room_back(self) -> None:
        """AC-16: replacing does not leak the old value's bytes."""
        store = MemoryStore(room_for(4), UNPROTECTED)
        key = Key("ac:main", "sha256", "a" * 64, 10)
        for size in (1000, 400, 800):
            await ops.write_bytes(store, key, bytes(size))
        assert 800 + OVERHEAD == store.used_bytes
        await store.discard([key])
        assert store.used_bytes == 0


class TestProtection:
    async def test_recent_touch_is_a_lease(self) -> None:
        """CAS-13: while all values were touched in the last 10 min, a write gets StoreFull."""
        clock = ManualClock()
        store = MemoryStore(room_for(2), clock=clock)
        old, found, new = blob(0), blob(1), blob(2)
        await ops.write_bytes(store, *old)
        await ops.write_bytes(store, *found)
        clock.advance(599)
        await store.find_missing([found[0]])
        with pytest.raises(StoreFull, match="touched in the last 600 s"):
            await ops.write_bytes(store, *new)
        assert [2] == await absent(store, old, found, new)
        clock.advance(1)
        await ops.write_bytes(store, *new)
        assert [0] == await absent(store, old, found, new)

    async def test_full_store_fails_in_batches_too(self) -> None:
        """CAS-13: in a batch, what has no room fails by itself."""
        store = MemoryStore(room_for(2), clock=ManualClock())
        blobs = [blob(n) for n in range(3)]
        errors = await store.write_batch(blobs)
        assert {blobs[2][0]: StoreFull} == {key: type(error) for key, error in errors.items()}

    async def test_evicting_what_clients_count_on_is_logged_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Evicting within `protect.soft` tells that the store is too small, once per `soft`."""
        clock = ManualClock()
        store = MemoryStore(room_for(1), clock=clock, path="stores.cas")
        for number in range(4):
            await ops.write_bytes(store, *blob(number))
            clock.advance(601)
        (record,) = caplog.records
        assert record.getMessage() == (
            "stores.cas evicts values that were touched only 601 s ago, although clients count "
            f"on 10800 s; raise its max_bytes above {room_for(1)}"
        )

    async def test_old_values_go_silently(self, caplog: pytest.LogCaptureFixture) -> None:
        """Evicting what nobody touched within `protect.soft` is the normal course."""
        clock = ManualClock()
        store = MemoryStore(room_for(1), clock=clock)
        await ops.write_bytes(store, *blob(0))
        clock.advance(10_800)
        await ops.write_bytes(store, *blob(1))
        assert [] == caplog.records


class TestMemoryIsBounded:
    async def test_unfinished_writes_count(self) -> None:
        """What is being received takes room, and gives it back when the write fails."""
        store = MemoryStore(4 * MIB, clock=ManualClock())
        key, value = blob(1, 3 * MIB)
        seen = []

        async def chunks() -> AsyncIterator[bytes]:
            yield value[:MIB]
            yield value[MIB : 2 * MIB]
            seen.append(store.used_bytes)
            with pytest.raises(StoreFull):
                await ops.write_bytes(store, *blob(2, 3 * MIB))
            raise TimeoutError

        with pytest.raises(TimeoutError):
            await store.write(key, chunks())
        assert [2 * MIB + OVERHEAD] == seen
        assert store.used_bytes == 0

    async def test_value_larger_than_the_store_is_refused_at_once(self) -> None:
        """What can never fit evicts nothing and consumes nothing."""
        store = MemoryStore(room_for(2), UNPROTECTED)
        kept, large = blob(0), blob(1, 4000)
        await ops.write_bytes(store, *kept)
        consumed = []

        async def chunks() -> AsyncIterator[bytes]:
            consumed.append(large)
            yield large[1]

        with pytest.raises(StoreFull):
            await store.write(large[0], chunks())
        assert [] == consumed
        assert [1] == await absent(store, kept, large)

    @pytest.mark.parametrize("size", [999, 1001])
    async def test_wrong_size_is_refused(self, size: int) -> None:
        """DIG-02: a CAS value with more or fewer bytes than its key says is not stored."""
        store = MemoryStore(MIB)
        key, _ = blob(1)
        with pytest.raises(DigestMismatch):
            await ops.write_bytes(store, key, bytes(size))
        assert {key: DigestMismatch} == {
            key: type(error)
            for key, error in (await store.write_batch([(key, bytes(size))])).items()
        }
        assert store.used_bytes == 0

    async def test_whole_pieces_are_neither_copied_in_nor_out(self) -> None:
        """BSR-14: pieces of 1 MiB are read as the very objects that were written."""
        store = MemoryStore(8 * MIB)
        key, value = blob(1, 2 * MIB)
        written = [chunk async for chunk in in_chunks(value)]

        async def chunks() -> AsyncIterator[bytes]:
            for chunk in written:
                yield chunk

        await store.write(key, chunks())
        async with aclosing(store.read(key)) as pieces:
            seen = [piece async for piece in pieces]
        assert [id(chunk) for chunk in written] == [id(piece) for piece in seen]

    async def test_closing_frees_everything(self) -> None:
        """A closed store holds no memory."""
        store = MemoryStore(MIB)
        await ops.write_bytes(store, *blob(1))
        await store.close()
        assert store.used_bytes == 0


def test_options_accept_units() -> None:
    """Sizes and durations may be written as people write them."""
    spec = MemorySpec.model_validate({"max_bytes": "1MiB", "protect": {"hard": "5m"}})
    assert MemorySpec(max_bytes=MIB, protect=Protect(hard=300.0)) == spec
