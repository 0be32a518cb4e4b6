"""Eviction: what goes, what stays, and what a writer is told when nothing may go."""

from __future__ import annotations

import asyncio
import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from remex_core.plugin import FUNCTIONS, Key, LinkFile, LinkPlan, StoreFull, ops
from remex_fs import census, keeper
from remex_fs.layout import open_layout
from remex_fs.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from remex_core.testing.clocks import ManualClock
    from remex_fs.store import FilesystemStore

    Open = Callable[..., FilesystemStore]

BLOCK: Final = 4096
HOUR: Final = 3600.0
OLD: Final = 4 * HOUR
"""Seconds after which a value is not protected any more, with the default options."""

SMALL: Final = {"max_bytes": 10 * BLOCK, "watermarks": {"high": 0.8, "low": 0.5}}
"""Room for ten values of one block; eviction starts above eight and stops at five."""


def value(number: int, blocks: int = 1) -> tuple[Key, bytes]:
    """A value that occupies so many blocks."""
    data = number.to_bytes(2, "big") * (blocks * BLOCK // 2)
    return FUNCTIONS["sha256"].key_of(data), data


async def fill(store: FilesystemStore, clock: ManualClock, count: int) -> list[Key]:
    """Writes so many values, each a minute after the other."""
    keys = []
    for number in range(count):
        key, data = value(number)
        await ops.write_bytes(store, key, data)
        keys.append(key)
        clock.advance(60)
    return keys


async def present(store: FilesystemStore, keys: list[Key]) -> list[int]:
    """Which of the keys are here, by their numbers; looking touches none of them."""
    layout = store._directory.layout
    return [n for n, key in enumerate(keys) if os.path.exists(layout.blob(key))]


def tend(store: FilesystemStore) -> None:
    """One round of the store's keeper."""
    assert store._keeper.elect()
    store._keeper.tend()


@pytest.fixture
def store(root: Path, clock: ManualClock, open_store: Open) -> FilesystemStore:
    """A small store whose keeper works when told."""
    return open_store(root, clock=clock, keeper=False, **SMALL)


async def test_nothing_goes_below_the_high_watermark(
    store: FilesystemStore, clock: ManualClock
) -> None:
    """A store that is not full keeps everything, however old."""
    keys = await fill(store, clock, 8)
    clock.advance(OLD)
    tend(store)
    assert list(range(8)) == await present(store, keys)


async def test_oldest_go_down_to_the_low_watermark(
    store: FilesystemStore, clock: ManualClock
) -> None:
    """Above the high watermark, what was used longest ago goes, until the low one is reached."""
    keys = await fill(store, clock, 9)
    clock.advance(OLD)
    tend(store)
    assert [4, 5, 6, 7, 8] == await present(store, keys)
    assert 5 * BLOCK == store._room.stored


async def test_use_decides_not_age(store: FilesystemStore, clock: ManualClock) -> None:
    """CAS-06: a touch moves a value to the end of the queue."""
    keys = await fill(store, clock, 9)
    clock.advance(OLD)
    await store.find_missing([keys[0], keys[2]])
    tend(store)
    assert [0, 2, 6, 7, 8] == await present(store, keys)


async def test_touch_after_the_walk_counts(store: FilesystemStore, clock: ManualClock) -> None:
    """A value that was used since the keeper last walked the directory is not evicted."""
    keys = await fill(store, clock, 8)
    clock.advance(OLD)
    tend(store)
    await store.find_missing([keys[0], keys[1]])
    await ops.write_bytes(store, *value(100))
    tend(store)
    assert [0, 1, 6, 7] == await present(store, keys)


@pytest.mark.parametrize(("minutes", "kept"), [(21, 9), (23, 0)])
async def test_hard_protection_holds(
    root: Path, clock: ManualClock, minutes: int, kept: int, open_store: Open
) -> None:
    """CAS-06: what was touched in the last `protect.hard` stays, whatever the watermarks say.

    The access time of a value may lag behind its last use by twelve minutes.
    """
    options = {**SMALL, "watermarks": {"high": 0.8, "low": 0.01}}
    protect = {"hard": "10m", "soft": "10m"}
    store = open_store(root, clock=clock, keeper=False, protect=protect, **options)
    for number in range(9):
        await ops.write_bytes(store, *value(number))
    clock.advance(minutes * 60)
    tend(store)
    assert kept == len(await present(store, [value(number)[0] for number in range(9)]))


async def test_soft_protection_yields_at_the_high_watermark(
    store: FilesystemStore, clock: ManualClock
) -> None:
    """What was used in the last `protect.soft` goes only as far as it must."""
    keys = await fill(store, clock, 10)
    clock.advance(HOUR)
    tend(store)
    assert list(range(2, 10)) == await present(store, keys)


async def test_twin_is_counted_and_evicted(store: FilesystemStore, clock: ManualClock) -> None:
    """An executable twin takes room of its own, and goes like any other file."""
    keys = await fill(store, clock, 5)
    files = [LinkFile(key, key.hash, executable=True) for key in keys]
    await store.link_into(LinkPlan(store.work_root, [], files))
    tend(store)
    assert 10 * BLOCK == store._room.stored
    clock.advance(OLD)
    tend(store)
    assert 5 * BLOCK == store._room.stored
    assert 5 == len(list((store.work_root / "../cas").rglob("*-*")))


async def test_discarded_bytes_are_given_back(store: FilesystemStore, clock: ManualClock) -> None:
    """What a discard moved aside is deleted and not counted any more."""
    keys = await fill(store, clock, 4)
    tend(store)
    await store.discard(keys[:3])
    assert 3 == len(os.listdir(store._directory.layout.quarantine))
    tend(store)
    assert BLOCK == store._room.stored
    assert [] == os.listdir(store._directory.layout.quarantine)


async def test_replaced_results_are_counted_once(store: FilesystemStore) -> None:
    """AC-16: a replaced value gives its room back."""
    tend(store)
    key = value(1)[0]._replace(space="ac:main")
    for blocks in (1, 3, 2):
        await ops.write_bytes(store, key, value(blocks, blocks)[1])
    assert 2 * BLOCK == store._room.stored


async def test_stray_files_are_left_alone(
    store: FilesystemStore, clock: ManualClock, root: Path
) -> None:
    """Files that are no values are neither counted nor removed."""
    keys = await fill(store, clock, 9)
    shard = os.path.dirname(store._directory.layout.blob(keys[0]))
    strays = [root / "cas/README", root / "cas/sha256/notes", root / shard / "stray.txt"]
    for stray in strays:
        stray.write_text("x" * 50_000)
        os.utime(stray, (1, 1))
    clock.advance(OLD)
    tend(store)
    assert 5 * BLOCK == store._room.stored
    assert all(stray.exists() for stray in strays)


async def test_memory_of_a_walk_is_bounded(
    store: FilesystemStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A walk that remembers fewer files than must go is made again, and the order holds."""
    monkeypatch.setattr(keeper, "take_census", partial(census.take_census, remembered=2))
    keys = await fill(store, clock, 10)
    clock.advance(OLD)
    tend(store)
    assert [5, 6, 7, 8, 9] == await present(store, keys)


async def test_other_processes_writes_are_found(
    store: FilesystemStore, root: Path, clock: ManualClock, open_store: Open
) -> None:
    """A walk now and then counts what other processes have added."""
    tend(store)
    keys = await fill(open_store(root, clock=clock, keeper=False), clock, 9)
    assert 0 == store._room.stored
    clock.advance(OLD)
    tend(store)
    assert [4, 5, 6, 7, 8] == await present(store, keys)


async def test_touch_between_look_and_removal_saves_the_value(
    store: FilesystemStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CAS-06: a value that was answered "present" while it was being evicted is put back."""
    keys = await fill(store, clock, 9)
    clock.advance(OLD)
    saved = store._directory.layout.blob(keys[0])
    rename = os.rename

    def touch_and_rename(source: str, target: str) -> None:
        if source == saved:
            assert [] == asyncio.run(_missing(store, keys[0]))
        rename(source, target)

    monkeypatch.setattr(os, "rename", touch_and_rename)
    await asyncio.to_thread(tend, store)
    assert [0, 5, 6, 7, 8] == await present(store, keys)
    assert [] == os.listdir(store._directory.layout.quarantine)


async def _missing(store: FilesystemStore, key: Key) -> list[Key]:
    return list(await store.find_missing([key]))


async def test_access_time_in_the_future_protects_nothing(
    store: FilesystemStore, clock: ManualClock
) -> None:
    """Values that were used while the clock was years ahead do not fill the store for ever."""
    clock.advance(1e8)
    keys = await fill(store, clock, 9)
    clock.advance(-2e8)
    tend(store)
    assert [4, 5, 6, 7, 8] == await present(store, keys)
    await store.find_missing(keys)
    tend(store)
    assert int(clock.wall * 10**9) == os.stat(store._directory.layout.blob(keys[8])).st_atime_ns


async def test_quarantined_directory_goes(store: FilesystemStore, root: Path) -> None:
    """A directory that stood where a value belongs is cleared away like a file."""
    key, data = value(1)
    (root / "cas/sha256" / key.hash[:2] / f"{key.hash}-{key.size}/sub").mkdir(parents=True)
    assert frozenset({key}) == await store.find_missing([key])
    tend(store)
    assert [] == os.listdir(root / "quarantine")
    await ops.write_bytes(store, key, data)
    assert data == await ops.read_all(store, key, max_bytes=BLOCK)


async def test_one_keeper_per_directory(root: Path, open_store: Open) -> None:
    """Of several stores on one directory one evicts; when it closes, another may."""
    one, two = (open_store(root, keeper=False) for _ in range(2))
    assert [True, False] == [one._keeper.elect(), two._keeper.elect()]
    assert f"{os.getpid()}\n" == (root / "evictor.lock").read_text().split(" ")[1]
    one._keeper.resign()
    assert [True, False] == [two._keeper.elect(), one._keeper.elect()]
    two._keeper.resign()


async def test_dead_processes_leave_nothing(store: FilesystemStore, root: Path) -> None:
    """Unfinished files go when their process is dead, and only then."""
    layout = open_layout(root, "stores.test")
    dead, living = Scratch(layout), Scratch(layout)
    for scratch in (dead, living):
        open(scratch.name(), "w").close()
    os.close(dead._lock)
    tend(store)
    left = {path.name for path in (root / "tmp").iterdir()}
    assert os.path.basename(dead.directory) not in left
    assert [f"{living.directory}/0"] == [str(path) for path in (root / "tmp").glob("*/*")]
    living.close()


async def test_stopping_ends_a_walk(store: FilesystemStore, clock: ManualClock) -> None:
    """A keeper that is told to stop does not finish its walk first."""
    await fill(store, clock, 2)
    store._keeper._stopping.set()
    with pytest.raises(keeper.Stopped):
        tend(store)
    assert not store._room.counted


# ---- writers and the keeper's thread


async def counted(store: FilesystemStore) -> None:
    """Returns when the store's keeper has counted."""
    while not store._room.counted:
        await asyncio.sleep(0.001)


async def test_writer_waits_for_room(root: Path, clock: ManualClock, open_store: Open) -> None:
    """CAS-13: a write into a full store succeeds when something may be evicted."""
    store = open_store(root, clock=clock, **SMALL)
    await counted(store)
    for number in range(60):
        await ops.write_bytes(store, *value(number))
        clock.advance(HOUR)
    assert store._room.stored <= 10 * BLOCK
    assert frozenset() == await store.find_missing([value(n)[0] for n in range(57, 60)])


@pytest.mark.parametrize("way", ["write", "write_batch", "adopt"])
async def test_full_of_protected_values(
    root: Path, clock: ManualClock, way: str, open_store: Open
) -> None:
    """CAS-13, BSW-20: when only what was used lately is left, a write is told that it is full."""
    store = open_store(root, clock=clock, **SMALL)
    await counted(store)
    for number in range(10):
        await ops.write_bytes(store, *value(number))
    key, data = value(10)
    path = store.work_root / "output"
    path.write_bytes(data)

    async def write() -> None:
        if way == "write":
            await ops.write_bytes(store, key, data)
        elif way == "adopt":
            await store.adopt(key, path)
        elif errors := await store.write_batch([(key, data)]):
            raise errors[key]

    with pytest.raises(StoreFull, match=r"protect\.hard") as told:
        await write()
    assert told.value.retry_after > 0
    assert path.read_bytes() == data
    assert 10 * BLOCK == store._room.wanted
    assert {} == await store.write_batch([value(9)])
    await store.adopt(value(9)[0], path)
    clock.advance(HOUR)
    await write()
    assert frozenset() == await store.find_missing([key])


async def test_value_larger_than_the_store(root: Path, open_store: Open) -> None:
    """BSW-20: what can never fit is refused before a byte is taken."""
    store = open_store(root, **SMALL)
    key, data = value(1, blocks=11)

    asked = []

    async def chunks() -> AsyncIterator[bytes]:
        asked.append(key)
        yield data

    with pytest.raises(StoreFull, match="can never fit"):
        await store.write(key, chunks())
    assert [] == asked


async def test_values_of_unknown_size_are_bounded(
    root: Path, clock: ManualClock, open_store: Open
) -> None:
    """AC-16: a value whose key does not tell its size is counted as it comes."""
    store = open_store(root, clock=clock, max_bytes="4MiB")
    await counted(store)
    key = value(1)[0]._replace(space="http:main")
    with pytest.raises(StoreFull):
        await ops.write_bytes(store, key, bytes(5 * 1024 * 1024))

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield bytes(1024 * 1024)

    with pytest.raises(StoreFull):
        await store.write(key, pieces())
    assert 0 == store._room.wanted
    assert frozenset({key}) == await store.find_missing([key])


async def test_many_writers_at_once_stay_within_the_bound(
    root: Path, clock: ManualClock, open_store: Open
) -> None:
    """CAS-13: claims of writes in flight count, so that all together do not exceed the bound."""
    store = open_store(root, clock=clock, **SMALL)
    await counted(store)
    outcomes = await asyncio.gather(
        *(ops.write_bytes(store, *value(number)) for number in range(30)), return_exceptions=True
    )
    assert 10 * BLOCK == store._room.wanted
    assert {StoreFull} == {type(outcome) for outcome in outcomes if outcome is not None}
    assert 10 == outcomes.count(None)


async def test_closing_frees_the_writers_that_wait(
    root: Path, clock: ManualClock, open_store: Open
) -> None:
    """A writer does not wait for a keeper that has ended."""
    store = open_store(root, clock=clock, keeper=False, **SMALL)
    tend(store)
    await fill(store, clock, 10)
    writing = asyncio.create_task(ops.write_bytes(store, *value(10)))
    while not store._room.awaited:
        await asyncio.sleep(0)
    store._keeper_thread.start()
    with pytest.raises(StoreFull):
        await writing


async def test_keeper_survives_a_failing_disk(
    root: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A round that fails is logged, and the next one is made."""
    failed, worked = threading.Event(), threading.Event()

    def take_census(*args: object) -> census.Census:
        if not failed.is_set():
            failed.set()
            raise OSError(5, "Input/output error")
        worked.set()
        return census.take_census(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(keeper, "take_census", take_census)
    store = open_store(root, **SMALL)
    await asyncio.to_thread(failed.wait)
    store._room.wake.set()
    await asyncio.to_thread(worked.wait)
    assert "Input/output error" in caplog.text
