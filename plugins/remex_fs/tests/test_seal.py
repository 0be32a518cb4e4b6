"""Files that were changed, and files that were used: what a look at one tells and does."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest

from remex_core.plugin import BlobNotFound, DataLoss, DigestMismatch, Key, LinkFile, LinkPlan, ops
from remex_fs.seal import seal_ns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from remex_core.testing.clocks import ManualClock
    from remex_fs.store import FilesystemStore

    Open = Callable[..., FilesystemStore]

VALUE = b"value"
KEY = Key("", "sha256", "cd42404d52ad55ccfa9aca4adc828aa5800ad9d385a0671fbcbf724118320619", 5)
AC_KEY = KEY._replace(space="ac:main", size=142)
MINUTE_NS = 60 * 10**9
MIB = 1024 * 1024


def blob(root: Path, key: Key = KEY) -> Path:
    """The stored file of a key."""
    space = "cas" if key.is_cas else "spaces/ac%3amain"
    return root / space / "sha256/cd" / f"{key.hash}-{key.size}"


async def test_stored_file_is_read_only_and_sealed(
    root: Path, clock: ManualClock, open_store: Open
) -> None:
    """A stored file is mode 0444, used now, and modified at the second that its size names."""
    store = open_store(root, clock=clock)
    await ops.write_bytes(store, KEY, VALUE)
    found = blob(root).stat()
    assert 0o100444 == found.st_mode
    assert (946684805 * 10**9, int(clock.wall * 10**9)) == (found.st_mtime_ns, found.st_atime_ns)


@pytest.mark.parametrize("umask", [0o077, 0o000])
async def test_umask_does_not_matter(root: Path, umask: int, open_store: Open) -> None:
    """A strict umask does not keep an action's user from reading its inputs."""
    before = os.umask(umask)
    try:
        store = open_store(root)
        await ops.write_bytes(store, KEY, VALUE)
        plan = LinkPlan(store.work_root, [], [LinkFile(KEY, "tool", executable=True)])
        await store.link_into(plan)
    finally:
        os.umask(before)
    assert 0o100444 == blob(root).stat().st_mode
    assert 0o100555 == (store.work_root / "tool").stat().st_mode


@pytest.mark.parametrize("key", [KEY, AC_KEY])
@pytest.mark.parametrize("harm", [b"VALUE", b"", b"value and more"])
async def test_changed_value_is_missing(
    root: Path, key: Key, harm: bytes, open_store: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """What was written to a stored file is never served; the file goes, and the log names it."""
    store = open_store(root)
    await ops.write_bytes(store, key, VALUE)
    blob(root, key).chmod(0o644)
    blob(root, key).write_bytes(harm)
    with caplog.at_level(logging.ERROR), pytest.raises(BlobNotFound):
        await ops.read_all(store, key, max_bytes=100)
    assert str(blob(root, key)) in caplog.text
    assert not blob(root, key).exists()
    assert frozenset({key}) == await store.find_missing([key])
    await ops.write_bytes(store, key, VALUE)
    assert VALUE == await ops.read_all(store, key, max_bytes=100)


@pytest.mark.parametrize("key", [KEY, AC_KEY])
async def test_bytes_lost_in_a_power_cut_are_noticed(
    root: Path, key: Key, open_store: Open
) -> None:
    """A file whose times survived and whose bytes did not is missing, not empty."""
    store = open_store(root)
    await ops.write_bytes(store, key, VALUE)
    os.truncate(blob(root, key), 0)
    os.utime(blob(root, key), ns=(seal_ns(5), seal_ns(5)))
    assert frozenset({key}) == await store.find_missing([key])


async def test_value_cut_short_while_it_is_read(root: Path, open_store: Open) -> None:
    """GEN-14: a read whose file loses bytes in the middle fails, it does not end early."""
    store = open_store(root)
    key = KEY._replace(size=3 * MIB)
    await ops.write_bytes(store, key, bytes(3 * MIB))
    pieces = store.read(key)
    await anext(pieces)
    os.truncate(blob(root, key), 2 * MIB)
    with pytest.raises(DataLoss, match="was c"):
        async for _ in pieces:
            pass


async def test_value_changed_while_it_is_read(root: Path, open_store: Open) -> None:
    """GEN-14: a read whose file is written to in the middle fails."""
    store = open_store(root)
    key = KEY._replace(size=3 * MIB)
    await ops.write_bytes(store, key, bytes(3 * MIB))
    pieces = store.read(key)
    await anext(pieces)
    with blob(root, key).open("r+b") as file:
        file.write(b"x")
    with pytest.raises(DataLoss, match="was changed"):
        async for _ in pieces:
            pass


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.find_missing([KEY]),
        lambda store: ops.read_all(store, KEY, max_bytes=10),
        lambda store: store.read_batch([KEY], 10),
        lambda store: ops.write_bytes(store, KEY, VALUE),
        lambda store: store.link_into(
            LinkPlan(store.work_root, [], [LinkFile(KEY, "x", executable=False)])
        ),
    ],
    ids=["find_missing", "read", "read_batch", "write", "link"],
)
@pytest.mark.parametrize(("age", "touched"), [(9, False), (11, True)])
async def test_use_touches_what_was_not_used_lately(
    root: Path,
    clock: ManualClock,
    age: int,
    touched: bool,
    use: Callable[[FilesystemStore], object],
    open_store: Open,
) -> None:
    """CAS-06: every use sets the access time, if it is older than 10 minutes; the seal stays."""
    store = open_store(root, clock=clock)
    await ops.write_bytes(store, KEY, VALUE)
    before = blob(root).stat().st_atime_ns
    clock.advance(age * 60)
    await use(store)  # type: ignore[misc]
    found = blob(root).stat()
    assert (age * MINUTE_NS if touched else 0) == found.st_atime_ns - before
    assert seal_ns(5) == found.st_mtime_ns


async def test_use_as_an_executable_touches_both_files(
    root: Path, clock: ManualClock, open_store: Open
) -> None:
    """The value stays as long as its executable twin is used."""
    store = open_store(root, clock=clock)
    await ops.write_bytes(store, KEY, VALUE)
    for name in ("one", "two"):
        plan = LinkPlan(store.work_root, [], [LinkFile(KEY, name, executable=True)])
        await store.link_into(plan)
        twin = blob(root).with_name(f"{blob(root).name}.x")
        assert [int(clock.wall * 10**9)] * 2 == [f.stat().st_atime_ns for f in (blob(root), twin)]
        clock.advance(3600)


@pytest.mark.parametrize("size", [4, 6, 2 * MIB])
async def test_wrong_size_is_refused(root: Path, size: int, open_store: Open) -> None:
    """BSW-07: a write of more or fewer bytes than declared stores nothing and leaves nothing."""
    store = open_store(root)
    with pytest.raises(DigestMismatch, match="declared with 5 bytes"):
        await ops.write_bytes(store, KEY, bytes(size))
    errors = await store.write_batch([(KEY, bytes(size))])
    assert isinstance(errors[KEY], DigestMismatch)
    assert frozenset({KEY}) == await store.find_missing([KEY])
    assert [] == unfinished(root)


async def test_file_of_a_wrong_size_is_not_adopted(root: Path, open_store: Open) -> None:
    """OUT-07: a file that cannot be the key's stays where it is."""
    store = open_store(root)
    path = store.work_root / "output"
    path.write_bytes(b"four")
    with pytest.raises(DigestMismatch):
        await store.adopt(KEY, path)
    assert b"four" == path.read_bytes()


async def test_equal_action_result_keeps_its_file(root: Path, open_store: Open) -> None:
    """AC-16: writing the value that is there already makes and frees no file."""
    store = open_store(root)
    await ops.write_bytes(store, AC_KEY, VALUE)
    before = blob(root, AC_KEY).stat().st_ino
    await ops.write_bytes(store, AC_KEY, VALUE)
    await store.write_batch([(AC_KEY, VALUE)])
    assert before == blob(root, AC_KEY).stat().st_ino
    await ops.write_bytes(store, AC_KEY, b"other")
    assert b"other" == await ops.read_all(store, AC_KEY, max_bytes=10)


def unfinished(root: Path) -> list[str]:
    """The unfinished files of living processes."""
    return [path.name for path in (root / "tmp").glob("*/*")]
