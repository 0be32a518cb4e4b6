"""`durability: machine`: nothing is visible before it is on the disk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from remex_core.plugin import FUNCTIONS, ops

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from remex_core.plugin import Key
    from remex_fs.store import FilesystemStore

    Open = Callable[..., FilesystemStore]


def value(size: int) -> tuple[Key, bytes]:
    """A value of `size` bytes and its key."""
    data = size.to_bytes(4, "big") * (size // 4)
    return FUNCTIONS["sha256"].key_of(data), data


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch, root: Path) -> list[tuple[str, int]]:
    """What was flushed, in order: its path, and how many values were visible before."""
    calls: list[tuple[str, int]] = []
    fsync = os.fsync

    def recording(fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        calls.append((os.path.relpath(path, root), len(list(root.glob("cas/*/*/*")))))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", recording)
    return calls


@pytest.mark.parametrize("size", [100, 3_000_000])
@pytest.mark.parametrize("way", ["write", "write_batch", "adopt"])
async def test_file_then_directories(
    root: Path, size: int, way: str, flushed: list[tuple[str, int]], open_store: Open
) -> None:
    """BSW-03: the file is flushed while it is invisible, its new directories afterwards."""
    store = open_store(root, durability="machine")
    key, data = value(size)
    if way == "write":
        await ops.write_bytes(store, key, data)
    elif way == "write_batch":
        assert {} == await store.write_batch([(key, data)])
    else:
        path = store.work_root / "output"
        path.write_bytes(data)
        await store.adopt(key, path)
    (file, before), *directories = flushed
    assert file.startswith(("tmp/", "work/"))
    assert 0 == before
    assert [("cas/sha256", 1), (f"cas/sha256/{key.hash[:2]}", 1)] == sorted(directories)


async def test_batch_is_flushed_as_a_group(
    root: Path, flushed: list[tuple[str, int]], open_store: Open
) -> None:
    """CAS-09: of a batch, all files are flushed first, then each directory once."""
    store = open_store(root, durability="machine")
    values = [value(4 * n) for n in range(1, 101)]
    assert {} == await store.write_batch(values)
    files = [path for path, _ in flushed if path.startswith("tmp/")]
    directories = [path for path, _ in flushed if path.startswith("cas/sha256/")]
    shards = {key.hash[:2] for key, _ in values}
    assert 100 == len(files)
    assert len(shards) <= len(directories) < 2 * len(shards)


async def test_process_durability_flushes_nothing(
    root: Path, flushed: list[tuple[str, int]], open_store: Open
) -> None:
    """By default nobody waits for the disk."""
    store = open_store(root)
    await ops.write_bytes(store, *value(100))
    await ops.write_bytes(store, *value(3_000_000))
    assert [] == flushed
