"""Full disks, failing disks and processes killed in the middle: never a torn value."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from remex_core.plugin import FUNCTIONS, StoreFull, StoreUnavailable, ops
from remex_fs.draft import Draft

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from remex_core.plugin import Key
    from remex_fs.store import FilesystemStore

    Open = Callable[..., FilesystemStore]

MIB = 1024 * 1024


def value(size: int) -> tuple[Key, bytes]:
    """A value of `size` bytes and its key."""
    data = os.urandom(64) * (size // 64)
    return FUNCTIONS["sha256"].key_of(data), data


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem with room for 2 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small filesystem needs root")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.mark.parametrize("way", ["write", "write_batch", "adopt"])
async def test_full_disk(small_disk: Path, way: str, tmp_path: Path, open_store: Open) -> None:
    """CAS-13, BSW-20: a disk without room is StoreFull; what was there stays, nothing is torn."""
    store = open_store(small_disk / "store")
    kept, large = value(MIB), value(3 * MIB)
    await ops.write_bytes(store, *kept)
    path = tmp_path / "output"
    path.write_bytes(large[1])

    async def write() -> None:
        if way == "write":
            await ops.write_bytes(store, *large)
        elif way == "adopt":
            await store.adopt(large[0], path)
        elif errors := await store.write_batch([large]):
            raise errors[large[0]]

    with pytest.raises(StoreFull, match="no room left") as told:
        await write()
    assert "max_bytes" in told.value.hint
    assert {large[0]} == await store.find_missing([kept[0], large[0]])
    assert kept[1] == await ops.read_all(store, kept[0], max_bytes=MIB)
    assert [] == list((small_disk / "store/tmp").glob("*/*"))
    assert large[1] == path.read_bytes()
    await ops.write_bytes(store, *value(MIB // 2))


async def test_batch_on_a_full_disk_stores_what_fits(small_disk: Path, open_store: Open) -> None:
    """CAS-11, CAS-13: each value of a batch has its own answer."""
    store = open_store(small_disk / "store")
    items = [value(40 * 1024) for _ in range(100)]
    errors = await store.write_batch(items)
    assert {StoreFull} == {type(error) for error in errors.values()}
    assert errors.keys() == await store.find_missing([key for key, _ in items])
    assert 0 < len(errors) < 100


@pytest.mark.parametrize("size", [1024, 3 * MIB])
@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS, errno.EMFILE, errno.ESTALE])
async def test_failing_disk(
    root: Path, size: int, code: int, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GEN-14: a disk that fails is StoreUnavailable, with what the system said."""
    store = open_store(root)
    key, data = value(size)

    def failing(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Draft, "append", failing)
    with pytest.raises(StoreUnavailable, match=os.strerror(code)):
        await ops.write_bytes(store, key, data)
    monkeypatch.undo()
    assert frozenset({key}) == await store.find_missing([key])
    assert [] == list((root / "tmp").glob("*/*"))
    await ops.write_bytes(store, key, data)
    assert data == await ops.read_all(store, key, max_bytes=size)


async def test_failing_read(root: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """GEN-14: a disk that cannot read is StoreUnavailable; the value is not called missing."""
    store = open_store(root)
    key, data = value(3 * MIB)
    await ops.write_bytes(store, key, data)

    def failing(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", failing)
    with pytest.raises(StoreUnavailable, match="Input/output error"):
        await ops.read_all(store, key, max_bytes=3 * MIB)


async def test_short_writes_are_continued(
    root: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system call that takes only a part of the bytes is followed by another."""
    store = open_store(root)
    key, data = value(3 * MIB)
    monkeypatch.setattr(os, "writev", lambda fd, pieces: os.write(fd, pieces[0][:1000]))
    await ops.write_bytes(store, key, data)
    assert data == await ops.read_all(store, key, max_bytes=3 * MIB)


async def test_cancelled_write_leaves_no_file(root: Path, open_store: Open) -> None:
    """GEN-15: when a cancelled write is over, so is its file."""
    store = open_store(root)
    key, data = value(4 * MIB)
    reached = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, 3 * MIB, MIB):
            yield data[start : start + MIB]
        reached.set()
        await asyncio.Event().wait()

    writing = asyncio.create_task(store.write(key, chunks()))
    await reached.wait()
    assert 1 == len(list((root / "tmp").glob("*/*")))
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert [] == list((root / "tmp").glob("*/*"))


WRITER = """
import asyncio, os, sys
from pathlib import Path
from remex_core.testing.clocks import SYSTEM
from remex_core.plugin import FUNCTIONS, ops
from remex_fs.spec import FilesystemSpec
from remex_fs.store import FilesystemStore

async def write_for_ever(root):
    store = FilesystemStore(root, FilesystemSpec(path=str(root)), SYSTEM, "stores.test")
    size = 0
    while True:
        size = (size * 7 + 4099) % 3_000_000
        data = os.urandom(1) * size
        key = FUNCTIONS["sha256"].key_of(data)
        await ops.write_bytes(store, key, data)
        await ops.write_bytes(store, key._replace(space="ac:main", hash="ab" * 32), data)
        print(key.hash, key.size, flush=True)

asyncio.run(write_for_ever(Path(sys.argv[1])))
"""


async def test_killed_process_leaves_only_whole_values(root: Path, open_store: Open) -> None:
    """BSW-03: what was acknowledged survives kill -9, and whatever is visible is whole."""
    command = [sys.executable, "-c", WRITER, str(root)]
    acknowledged = []
    for lines in (1, 7, 20):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            acknowledged += [writer.stdout.readline().split() for _ in range(lines)]
            writer.send_signal(signal.SIGKILL)
    sha256 = FUNCTIONS["sha256"]
    store = open_store(root, keeper=False)
    for path in (root / "cas").rglob("*-*"):
        hash_, size = path.name.split("-")
        data = path.read_bytes()
        assert (hash_, int(size)) == (sha256.hash(data), len(data))
    for path in (root / "spaces").rglob("*-*"):
        assert 1 == len(set(path.read_bytes()) or {0})
    keys = [sha256.empty_key._replace(hash=hash_, size=int(size)) for hash_, size in acknowledged]
    assert frozenset() == await store.find_missing(keys)
    assert store._keeper.elect()
    store._keeper.tend()
    assert 1 == len([path for path in (root / "tmp").iterdir() if path.is_dir()])
