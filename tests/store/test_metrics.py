"""What nodes of a store tree count."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from remex_core.errors import BlobNotFound, StoreUnavailable
from remex_core.store import ops
from remex_core.store.contract import BatchIO, LinkFile, LinkPlan, LocalFiles, Store
from remex_core.store.memory import MemoryStore
from remex_core.store.metrics import MeteredStore, StoreCounters
from remex_core.testing.directory_store import DirectoryStore
from remex_core.testing.store_faults import FlakyStore
from remex_core.testing.stores import LocalFilesContract, StoreContract, in_chunks, read

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1024 * 1024


class TestContract(StoreContract):
    capabilities = frozenset({BatchIO})

    @pytest.fixture
    def store(self) -> Store:
        return MeteredStore(MemoryStore(64 * MIB), StoreCounters("memory", "stores.cas"))


class TestLocalFilesContract(LocalFilesContract):
    capabilities = frozenset({LocalFiles})

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return MeteredStore(DirectoryStore(tmp_path), StoreCounters("directory", "stores.cas"))


def counted(counters: StoreCounters) -> dict[str, int]:
    """What is not zero."""
    return {
        name: number
        for name, number in asdict(counters).items()
        if isinstance(number, int) and number
    }


@pytest.fixture
def counters() -> StoreCounters:
    return StoreCounters("memory", "stores.cas")


async def test_primitives_are_counted(counters: StoreCounters) -> None:
    """Calls, keys, hits, misses and bytes, each under its name."""
    store = MeteredStore(MemoryStore(64 * MIB), counters)
    key, value = StoreContract().sample(2 * MIB)
    other = StoreContract().sample(10).key
    await store.write(key, in_chunks(value))
    await store.find_missing([key, other])
    await read(store, key, offset=MIB, limit=100)
    async with aclosing(store.read(key)) as pieces:
        await anext(pieces)
    with pytest.raises(BlobNotFound):
        await read(store, other)
    await store.discard([key])
    assert {
        "writes": 1,
        "bytes_written": 2 * MIB,
        "find_missing_calls": 1,
        "keys_asked": 2,
        "keys_missing": 1,
        "hits": 2,
        "bytes_read": MIB + 100,
        "misses": 1,
        "discards": 1,
    } == counted(counters)


async def test_batches_are_counted_like_single_values(counters: StoreCounters) -> None:
    """Values in batches count as hits, misses, writes and errors like those that go alone."""
    store = MeteredStore(MemoryStore(2000), counters)
    (key, value), large = StoreContract().sample(100), StoreContract().sample(3000)
    absent = StoreContract().sample(10).key
    await ops.write_many(store, [(key, value), large])
    await ops.read_many(store, [key, absent], max_bytes=MIB)
    assert {
        "writes": 1,
        "bytes_written": 3100,
        "errors": 1,
        "hits": 1,
        "bytes_read": 100,
        "misses": 1,
    } == counted(counters)


async def test_failures_are_errors(counters: StoreCounters) -> None:
    """An operation that fails counts as an error and not as what it was to do."""
    flaky = FlakyStore(MemoryStore(MIB))
    flaky.fail_everything()
    store = MeteredStore(flaky, counters)
    key, value = StoreContract().sample(10)
    with pytest.raises(StoreUnavailable):
        await store.find_missing([key])
    with pytest.raises(StoreUnavailable):
        await read(store, key)
    with pytest.raises(StoreUnavailable):
        await store.write(key, in_chunks(value))
    with pytest.raises(StoreUnavailable):
        await store.discard([key])
    assert 4 == counters.errors
    assert (0, 0, 0) == (counters.hits, counters.misses, counters.writes)


async def test_links_are_counted(counters: StoreCounters, tmp_path: Path) -> None:
    """Files made and files whose blobs were missing count apart; adopted files count."""
    store = MeteredStore(DirectoryStore(tmp_path), counters)
    files = ops.capability(store, LocalFiles)
    assert files is not None
    key, value = StoreContract().sample(10)
    path = files.work_root / "output"
    path.write_bytes(value)
    await files.adopt(key, path)
    other, value = StoreContract().sample(10)
    path.write_bytes(value)
    await files.adopt_many([(other, path)])
    root = files.work_root / "root"
    root.mkdir()
    absent = StoreContract().sample(10).key
    plan = [LinkFile(key, "a", False), LinkFile(key, "b", True), LinkFile(absent, "c", False)]
    await files.link_into(LinkPlan(root, [], plan))
    assert {"files_adopted": 2, "files_linked": 2, "misses": 1} == counted(counters)


async def test_a_capability_is_asked_for_once(counters: StoreCounters) -> None:
    """The object that answers for a capability stays the same, so callers may keep it."""
    store = MeteredStore(MemoryStore(MIB), counters)
    assert store.forward(BatchIO) is store.forward(BatchIO)
    assert store.forward(LocalFiles) is None
