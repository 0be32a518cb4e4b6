"""Plans made on disk: twins, copies where links cannot be, and what a plan finds already there."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock, patch

import pytest

from remex_core.plugin import FUNCTIONS, LinkFile, LinkPlan, RemexError, StoreFull, ops
from remex_fs import links
from remex_fs.seal import seal_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from remex_core.plugin import Key
    from remex_fs.store import FilesystemStore

    Open = Callable[..., FilesystemStore]

VALUE = b"value"
KEY = FUNCTIONS["sha256"].key_of(VALUE)


@pytest.fixture
async def store(root: Path, open_store: Open) -> FilesystemStore:
    """A store that holds `KEY`."""
    store = open_store(root, max_bytes="1GiB")
    await ops.write_bytes(store, KEY, VALUE)
    return store


@pytest.fixture
def elsewhere(root: Path) -> Iterator[Path]:
    """A directory on another filesystem than the store's."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == root.parent.stat().st_dev:
        pytest.skip("there is no second filesystem at /dev/shm")
    path = Path(tempfile.mkdtemp(dir=memory))
    yield path
    shutil.rmtree(path)


def blob(store: FilesystemStore, key: Key = KEY) -> Path:
    """The stored file of a value."""
    return Path(store._directory.layout.blob(key))


def twin(store: FilesystemStore) -> Path:
    """The stored executable file of `KEY`."""
    return Path(store._directory.layout.executable(KEY))


def plan(root: Path, *paths: str, executable: bool = False) -> LinkPlan:
    """A plan of files with the value of `KEY`, in one directory level."""
    parents = sorted({path.rpartition("/")[0] for path in paths} - {""})
    return LinkPlan(root, parents, [LinkFile(KEY, path, executable) for path in paths])


async def test_inputs_are_links_to_the_store(store: FilesystemStore) -> None:
    """Plain files of a plan are the stored file itself."""
    await store.link_into(plan(store.work_root / "root", "a", "d/b"))
    stored = blob(store).stat()
    assert 3 == stored.st_nlink
    assert stored.st_ino == (store.work_root / "root/d/b").stat().st_ino


async def test_twin_is_made_once(store: FilesystemStore) -> None:
    """Executable files share one inode that is not the plain one, however many plans want it."""
    await store.link_into(plan(store.work_root / "one", "a", "b", executable=True))
    made = twin(store).stat()
    await store.link_into(plan(store.work_root / "two", "c", executable=True))
    assert made.st_ino == twin(store).stat().st_ino
    assert (4, 0o100555) == (twin(store).stat().st_nlink, made.st_mode)
    assert (1, 0o100444) == (blob(store).stat().st_nlink, blob(store).stat().st_mode)


async def test_discard_takes_the_twin_along(store: FilesystemStore) -> None:
    """CAS-08: a discarded value is not linked as an executable either."""
    await store.link_into(plan(store.work_root / "one", "a", executable=True))
    await store.discard([KEY])
    assert not twin(store).exists()
    assert {KEY} == await store.link_into(plan(store.work_root / "two", "a", executable=True))


async def test_changed_twin_is_replaced_and_the_value_stays(store: FilesystemStore) -> None:
    """An action that wrote to its executable input costs the twin, not the value."""
    made = plan(store.work_root / "one", "a", executable=True)
    await store.link_into(made)
    (store.work_root / "one/a").chmod(0o755)
    (store.work_root / "one/a").write_bytes(b"VALUE")
    assert frozenset() == store.verify_links(made)
    await store.link_into(plan(store.work_root / "two", "a", executable=True))
    assert VALUE == (store.work_root / "two/a").read_bytes()


async def test_changed_value_is_not_linked(store: FilesystemStore) -> None:
    """What was changed through one link is not handed to the next action."""
    await store.link_into(plan(store.work_root / "one", "a"))
    (store.work_root / "one/a").chmod(0o644)
    (store.work_root / "one/a").write_bytes(b"VALUE")
    assert {KEY} == await store.link_into(plan(store.work_root / "two", "a"))
    assert not (store.work_root / "two/a").exists()


@pytest.mark.parametrize("executable", [False, True])
async def test_changed_mode_is_put_right(store: FilesystemStore, *, executable: bool) -> None:
    """An action that made its inputs writable leaves no trace in the store."""
    made = plan(store.work_root / "one", "a", executable=executable)
    await store.link_into(made)
    mode = (store.work_root / "one/a").stat().st_mode
    (store.work_root / "one/a").chmod(0o777)
    assert frozenset() == store.verify_links(made)
    assert mode == (store.work_root / "one/a").stat().st_mode


async def test_evicted_value_was_not_changed(store: FilesystemStore) -> None:
    """A value that is gone from the store was not tampered with."""
    made = plan(store.work_root / "one", "a")
    await store.link_into(made)
    await store.discard([KEY])
    assert frozenset() == store.verify_links(made)


@pytest.mark.parametrize("executable", [False, True])
async def test_other_filesystem_gets_copies(
    store: FilesystemStore, elsewhere: Path, *, executable: bool
) -> None:
    """Where links cannot be made, files are copied, with mode and times of linked ones."""
    made = plan(elsewhere / "root", "a", "d/b", executable=executable)
    for _ in range(2):
        assert frozenset() == await store.link_into(made)
    for name in ("a", "d/b"):
        found = (elsewhere / "root" / name).stat()
        assert VALUE == (elsewhere / "root" / name).read_bytes()
        assert (0o100555 if executable else 0o100444) == found.st_mode
        assert (1, seal_ns(5)) == (found.st_nlink, found.st_mtime_ns)


async def test_changed_copy_harms_nobody(store: FilesystemStore, elsewhere: Path) -> None:
    """A copy that was changed does not cost the store its value."""
    made = plan(elsewhere / "root", "a")
    await store.link_into(made)
    (elsewhere / "root/a").chmod(0o644)
    (elsewhere / "root/a").write_bytes(b"VALUE")
    assert frozenset() == store.verify_links(made)
    assert VALUE == await ops.read_all(store, KEY, max_bytes=10)


@pytest.mark.parametrize("code", [errno.EMLINK, errno.EPERM, errno.EXDEV])
@pytest.mark.parametrize("executable", [False, True])
async def test_refused_link_becomes_a_copy(
    store: FilesystemStore, code: int, *, executable: bool
) -> None:
    """Too many links, another user's file, another mount: the input is copied."""
    with patch.object(os, "link", side_effect=OSError(code, os.strerror(code))):
        made = plan(store.work_root / "root", "a", "d/b", executable=executable)
        assert frozenset() == await store.link_into(made)
    assert VALUE == (store.work_root / "root/d/b").read_bytes()
    assert 1 == (store.work_root / "root/d/b").stat().st_nlink


async def test_half_made_copy_is_removed(store: FilesystemStore, elsewhere: Path) -> None:
    """A copy for which the disk has no room leaves no torn file that would pass for the whole."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    made = plan(elsewhere / "root", "a")
    with patch.object(links, "copy_bytes", side_effect=full), pytest.raises(StoreFull):
        await store.link_into(made)
    assert [] == os.listdir(elsewhere / "root")
    assert frozenset() == await store.link_into(made)


async def test_other_filesystem_is_adopted_by_copy(store: FilesystemStore, elsewhere: Path) -> None:
    """A finished file on another filesystem is taken over all the same."""
    value = bytes(3_000_000)
    key = FUNCTIONS["sha256"].key_of(value)
    (elsewhere / "output").write_bytes(value)
    await store.adopt(key, elsewhere / "output")
    assert value == await ops.read_all(store, key, max_bytes=3_000_000)


async def test_adopted_file_is_not_copied(store: FilesystemStore) -> None:
    """A finished file on the store's mount becomes the stored file itself."""
    path = store.work_root / "output"
    path.write_bytes(b"output")
    inode = path.stat().st_ino
    key = FUNCTIONS["sha256"].key_of(b"output")
    await store.adopt(key, path)
    assert inode == blob(store, key).stat().st_ino
    assert not path.exists()


async def test_file_with_another_name_is_not_shared(store: FilesystemStore) -> None:
    """A file that somebody could still write to by another name is copied."""
    path = store.work_root / "output"
    path.write_bytes(b"output")
    os.link(path, store.work_root / "other name")
    key = FUNCTIONS["sha256"].key_of(b"output")
    await store.adopt(key, path)
    (store.work_root / "other name").write_bytes(b"OUTPUT")
    assert b"output" == await ops.read_all(store, key, max_bytes=10)


async def test_symlink_is_not_adopted(store: FilesystemStore) -> None:
    """What a link points to is not the caller's file."""
    path = store.work_root / "output"
    path.symlink_to("/etc/hostname")
    with pytest.raises(RemexError, match="writing"):
        await store.adopt(KEY._replace(size=1), path)


async def test_plan_of_many_directories(store: FilesystemStore) -> None:
    """A plan of more files than are made in one step of the loop is made completely."""
    paths = [f"d{n % 50}/f{n}" for n in range(1000)]
    assert frozenset() == await store.link_into(plan(store.work_root / "root", *paths))
    assert 1001 == blob(store).stat().st_nlink


async def test_slow_disk_does_not_hold_the_loop(store: FilesystemStore) -> None:
    """After a slice that took long, the next ones are made in a thread, and none is left out."""
    seconds = iter(range(1000))
    paths = [f"f{n}" for n in range(1000)]
    hops = []
    hop = store._threads.hop

    async def counting(*args: Any) -> Any:
        hops.append(len(args[1]))
        return await hop(*args)

    with (
        patch.object(store._threads, "_monotonic", side_effect=lambda: next(seconds)),
        patch.object(store._threads, "hop", counting),
    ):
        await store.link_into(plan(store.work_root / "root", *paths))
    assert [512, 360] == hops
    assert 1001 == blob(store).stat().st_nlink


async def test_reader_keeps_an_evicted_value(store: FilesystemStore) -> None:
    """BSR-14: a read that has begun ends well though the value is discarded meanwhile."""
    value = bytes(3 * 1024 * 1024)
    key = FUNCTIONS["sha256"].key_of(value)
    await ops.write_bytes(store, key, value)
    async with aclosing(store.read(key)) as pieces:
        first = await anext(pieces)
        await store.discard([key])
        rest = [piece async for piece in pieces]
    assert value == b"".join([first, *rest])


async def test_slow_disk_is_read_in_threads(store: FilesystemStore) -> None:
    """Once a piece had to wait for the disk, the rest of the value is read in threads."""
    value = os.urandom(4 * 1024 * 1024)
    key = FUNCTIONS["sha256"].key_of(value)
    await ops.write_bytes(store, key, value)
    seconds = iter(range(1000))
    with (
        patch.object(store, "_clock", Mock(monotonic=lambda: next(seconds))),
        patch.object(store._threads, "hop", wraps=store._threads.hop) as hop,
    ):
        assert value == await ops.read_all(store, key, max_bytes=len(value))
    assert 3 == hop.call_count
