"""The store contract kit: sound stores pass it, and each broken promise is noticed."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from remex_core.digest import Key
from remex_core.errors import BlobNotFound, DataLoss, RemexError, StoreUnavailable
from remex_core.store import ops
from remex_core.store.contract import BatchIO, Content, LinkPlan, LocalFiles, Store
from remex_core.testing.directory_store import DirectoryStore
from remex_core.testing.store_faults import FlakyStore, SlowStore
from remex_core.testing.stores import (
    LocalFilesContract,
    StoreContract,
    Through,
    in_chunks,
    read,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Collection, Mapping, Sequence
    from pathlib import Path


class DictStore(Store):
    """The smallest store that keeps every promise; the broken ones below derive from it."""

    def __init__(self) -> None:
        self.values: dict[Key, bytes] = {}

    async def find_missing(self, keys: Collection[Key]) -> frozenset[Key]:
        return frozenset(key for key in keys if key not in self.values)

    async def read(
        self, key: Key, *, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes]:
        value = self.values.get(key)
        if value is None:
            raise BlobNotFound(key)
        value = value[offset : None if limit is None else offset + limit]
        for start in range(0, len(value), 1024 * 1024):
            yield value[start : start + 1024 * 1024]

    async def write(self, key: Key, chunks: AsyncIterable[bytes]) -> None:
        self.values[key] = b"".join([chunk async for chunk in chunks])

    async def discard(self, keys: Collection[Key]) -> None:
        for key in keys:
            self.values.pop(key, None)


class TestDict(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return DictStore()


class TestDictAsActionCache(TestDict):
    content = Content.AC


class TestDirectory(LocalFilesContract):
    capabilities = frozenset({LocalFiles})

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return DirectoryStore(tmp_path)


class TestFlakyWhileNothingIsWrong(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return FlakyStore(DictStore())


class TestSlowWithAnOpenGate(StoreContract):
    @pytest.fixture
    async def store(self) -> Store:
        store = SlowStore(DictStore())
        store.gate.set()
        return store


class WritesInPlace(DictStore):
    """Shows a value while it is written."""

    async def write(self, key: Key, chunks: AsyncIterable[bytes]) -> None:
        self.values[key] = b""
        async for chunk in chunks:
            self.values[key] += chunk


class IgnoresSizes(DictStore):
    """Finds a value by its hash alone."""

    async def find_missing(self, keys: Collection[Key]) -> frozenset[Key]:
        hashes = {key.hash for key in self.values}
        return frozenset(key for key in keys if key.hash not in hashes)


class AnswersForeignKeys(DictStore):
    """Names keys as missing that nobody asked about."""

    async def find_missing(self, keys: Collection[Key]) -> frozenset[Key]:
        return await super().find_missing(keys) | {Key("", "sha256", "0" * 64, 1)}


class IgnoresOffsets(DictStore):
    """Reads from the start, whatever was asked."""

    def read(self, key: Key, *, offset: int = 0, limit: int | None = None) -> AsyncGenerator[bytes]:
        return super().read(key, limit=limit)


class ReadsNothingWhenAbsent(DictStore):
    """Gives no bytes where it should fail."""

    async def read(
        self, key: Key, *, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes]:
        if key in self.values:
            async with aclosing(super().read(key, offset=offset, limit=limit)) as pieces:
                async for piece in pieces:
                    yield piece


class NeverDiscards(DictStore):
    """Keeps everything."""

    async def discard(self, keys: Collection[Key]) -> None:
        return


class NeverReplaces(DictStore):
    """Keeps the first value of each key."""

    async def write(self, key: Key, chunks: AsyncIterable[bytes]) -> None:
        if key not in self.values:
            await super().write(key, chunks)


class HugePieces(DictStore):
    """Reads in one piece, however large."""

    async def read(
        self, key: Key, *, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes]:
        yield self.values[key][offset:]


class SilentBatch(BatchIO, DictStore):
    """Leaves absent keys out of its batches."""

    async def read_batch(
        self, keys: Sequence[Key], max_bytes: int
    ) -> Mapping[Key, bytes | RemexError]:
        return {key: self.values[key] for key in keys if key in self.values}

    async def write_batch(self, items: Sequence[tuple[Key, bytes]]) -> Mapping[Key, RemexError]:
        self.values.update(items)
        return {}


class TestBrokenStores:
    async def test_partial_values_are_noticed(self) -> None:
        """A store that shows unfinished writes fails the kit."""
        with pytest.raises(AssertionError):
            await StoreContract().test_cancelled_write_leaves_nothing(WritesInPlace())
        with pytest.raises(AssertionError):
            await StoreContract().test_failing_chunks_leave_nothing(WritesInPlace(), before=1)

    async def test_wrong_sizes_are_noticed(self) -> None:
        """DIG-02: a store that does not look at sizes fails the kit."""
        with pytest.raises(AssertionError):
            await StoreContract().test_another_size_is_another_key(
                IgnoresSizes(), Through("primitives")
            )

    async def test_foreign_keys_are_noticed(self) -> None:
        """CAS-01: a store that answers what was not asked fails the kit."""
        with pytest.raises(AssertionError):
            await StoreContract().test_nothing_is_missing_of_nothing(AnswersForeignKeys())

    async def test_wrong_ranges_are_noticed(self) -> None:
        """BSR-05: a store that ignores offsets fails the kit."""
        with pytest.raises(AssertionError):
            await StoreContract().test_ranges_are_exact(IgnoresOffsets(), 1, None)

    async def test_silent_absence_is_noticed(self) -> None:
        """BSR-02: a store that reads nothing where nothing is fails the kit."""
        with pytest.raises(pytest.fail.Exception):
            await StoreContract().test_absent_value_cannot_be_read(
                ReadsNothingWhenAbsent(), Through("primitives")
            )

    async def test_kept_values_are_noticed(self) -> None:
        """A store whose discard does nothing fails the kit."""
        with pytest.raises(AssertionError):
            await StoreContract().test_discarded_value_is_missing(
                NeverDiscards(), Through("primitives")
            )

    async def test_stale_action_results_are_noticed(self) -> None:
        """AC-16: a store that never replaces fails the kit for an AC, and passes for a CAS."""
        through = Through("primitives")
        await StoreContract().test_writing_again(NeverReplaces(), through)
        with pytest.raises(AssertionError):
            await TestDictAsActionCache().test_writing_again(NeverReplaces(), through)

    async def test_huge_pieces_are_noticed(self) -> None:
        """GEN-05: a store that reads in pieces above 1 MiB fails the kit."""
        with pytest.raises(AssertionError):
            await StoreContract().test_pieces_are_bytes_of_at_most_one_mebibyte(HugePieces())

    async def test_undeclared_capability_is_noticed(self) -> None:
        """A store that offers more than it declares fails the kit."""
        with pytest.raises(AssertionError):
            await StoreContract().test_capabilities_are_as_declared(SilentBatch(), BatchIO)

    async def test_batch_without_an_answer_is_noticed(self) -> None:
        """CAS-11: a batch that is silent about an absent key fails the kit."""
        with pytest.raises(KeyError):
            await StoreContract().test_batches_answer_for_each_key(SilentBatch())

    async def test_unnoticed_tampering_is_noticed(self, tmp_path: Path) -> None:
        """A store that vouches for changed links fails the kit."""

        class Trusting(DirectoryStore):
            def verify_links(self, plan: LinkPlan) -> frozenset[Key]:
                return frozenset()

        store = Trusting(tmp_path)
        root = store.work_root / "root"
        root.mkdir()
        with pytest.raises(AssertionError):
            await LocalFilesContract().test_changed_link_is_named(store, root, executable=False)


class TestFaults:
    async def test_flaky_store_fails_what_it_is_told(self) -> None:
        """Only the named operations fail, with the given error; calls are kept in order."""
        store = FlakyStore(DictStore())
        key, value = StoreContract().sample(10)
        store.failing = {"find_missing"}
        await store.write(key, in_chunks(value))
        with pytest.raises(StoreUnavailable):
            await store.find_missing([key])
        assert value == await read(store, key)
        assert ["write", "find_missing", "read"] == store.calls
        store.fail_everything()
        with pytest.raises(StoreUnavailable):
            await store.discard([key])

    async def test_flaky_read_breaks_in_the_middle(self) -> None:
        """A read that was told to break gives some pieces first."""
        store = FlakyStore(DictStore())
        key, value = StoreContract().sample(3 * 1024 * 1024)
        await ops.write_bytes(store, key, value)
        store.break_read_after = 2
        pieces = store.read(key)
        seen = [await anext(pieces), await anext(pieces)]
        with pytest.raises(DataLoss):
            await anext(pieces)
        assert value[: 2 * 1024 * 1024] == b"".join(seen)
