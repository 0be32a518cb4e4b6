"""Several stores on one directory, as several processes would have them."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from remex_core.plugin import FUNCTIONS, LinkFile, LinkPlan, ops

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from remex_core.plugin import Key
    from remex_fs.store import FilesystemStore

    Open = Callable[..., FilesystemStore]


def value(number: int, size: int = 100) -> tuple[Key, bytes]:
    """A value and its key."""
    data = number.to_bytes(4, "big") * (size // 4)
    return FUNCTIONS["sha256"].key_of(data), data


async def test_each_sees_what_the_other_writes(root: Path, open_store: Open) -> None:
    """A value written by one store is there for every other one at once."""
    one, two = open_store(root), open_store(root)
    key, data = value(1)
    assert frozenset({key}) == await two.find_missing([key])
    await ops.write_bytes(one, key, data)
    assert frozenset() == await two.find_missing([key])
    assert data == await ops.read_all(two, key, max_bytes=100)


async def test_value_stays_when_its_writer_closes(root: Path, open_store: Open) -> None:
    """Values survive the store that wrote them; unfinished files do not."""
    one = open_store(root)
    await ops.write_bytes(one, *value(1))
    await one.close()
    assert [] == [path.name for path in (root / "tmp").iterdir()]
    assert frozenset() == await open_store(root).find_missing([value(1)[0]])


async def test_both_write_the_same_values(root: Path, open_store: Open) -> None:
    """BSW-14: concurrent writes of the same values by two stores all succeed."""
    stores = open_store(root), open_store(root)
    values = [value(number, 200_000) for number in range(20)]
    await asyncio.gather(
        *(ops.write_bytes(store, key, data) for key, data in values for store in stores)
    )
    for store in stores:
        assert frozenset() == await store.find_missing([key for key, _ in values])


async def test_both_make_the_same_twin(root: Path, open_store: Open) -> None:
    """Two workers that need the same executable at once both get it."""
    one, two = open_store(root), open_store(root)
    key, data = value(1, 3_000_000)
    await ops.write_bytes(one, key, data)
    plans = [
        LinkPlan(one.work_root / name, [], [LinkFile(key, "tool", executable=True)])
        for name in ("a", "b")
    ]
    missing = await asyncio.gather(one.link_into(plans[0]), two.link_into(plans[1]))
    assert [frozenset()] * 2 == list(missing)
    assert [data] * 2 == [(plan.root / "tool").read_bytes() for plan in plans]


async def test_start_reads_no_directory(
    root: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start costs the same however many values there are: none is looked at."""
    await ops.write_bytes(open_store(root), *value(1))

    def refused(path: object = None) -> None:
        pytest.fail(f"{path} was read")

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, refused)
    store = open_store(root, keeper=False)
    monkeypatch.undo()
    assert frozenset() == await store.find_missing([value(1)[0]])
