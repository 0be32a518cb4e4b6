"""What is remembered of earlier looks, and when it is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from remex_core.plugin import BlobNotFound, Key, ops

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from remex_core.testing.clocks import ManualClock
    from remex_fs.store import FilesystemStore

    Open = Callable[..., FilesystemStore]

HASH = "cd42404d52ad55ccfa9aca4adc828aa5800ad9d385a0671fbcbf724118320619"
KEY = Key("", "sha256", HASH, 5)
OTHER = Key("", "sha256", HASH, 6)


async def looks(store: FilesystemStore, *keys: Key) -> int:
    """How many values a question about `keys` looks at on disk."""
    directory = store._directory
    with patch.object(directory, "is_file", wraps=directory.is_file) as look:
        await store.find_missing(keys)
    return look.call_count


@pytest.fixture
async def store(root: Path, clock: ManualClock, open_store: Open) -> FilesystemStore:
    """A store that holds `KEY` and has been asked about it."""
    store = open_store(root, clock=clock, keeper=False)
    await ops.write_bytes(store, KEY, b"value")
    assert 1 == await looks(store, KEY)
    clock.advance(1)
    assert 1 == await looks(store, KEY)
    return store


async def test_repeated_question_looks_once(store: FilesystemStore) -> None:
    """CAS-01: what was present a moment ago is present, without another look."""
    assert 0 == await looks(store, KEY)


async def test_missing_is_never_remembered(store: FilesystemStore) -> None:
    """What is missing is looked for each time: it may come by another process."""
    assert [1, 1] == [await looks(store, KEY, OTHER), await looks(store, OTHER)]
    await ops.write_bytes(store, OTHER, b"value!")
    assert frozenset() == await store.find_missing([KEY, OTHER])


@pytest.mark.parametrize("step", [1, 39, 79, 119])
async def test_memory_ends(store: FilesystemStore, clock: ManualClock, step: int) -> None:
    """CAS-06: however often it is asked for, a value is looked at every two minutes at least."""
    asked = 0.0
    while not await looks(store, KEY):
        clock.advance(step)
        asked += step
    assert asked - step <= 120


@pytest.mark.parametrize("own", [True, False], ids=["own", "another process's"])
async def test_discard_is_noticed(
    store: FilesystemStore, root: Path, *, own: bool, open_store: Open
) -> None:
    """CAS-08: a discard, by whichever process, makes a remembered value missing."""
    await (store if own else open_store(root, keeper=False)).discard([KEY])
    assert frozenset({KEY}) == await store.find_missing([KEY])


async def test_nothing_is_remembered_right_after_a_removal(
    store: FilesystemStore, clock: ManualClock
) -> None:
    """Two removals within one tick of the filesystem's clock are not mistaken for one."""
    await store.discard([OTHER._replace(size=7)])
    assert 0 == await looks(store, KEY)
    await ops.write_bytes(store, OTHER, b"value!")
    await store.discard([OTHER])
    assert [1, 1] == [await looks(store, KEY), await looks(store, KEY)]
    clock.advance(0.2)
    assert [1, 0] == [await looks(store, KEY), await looks(store, KEY)]


async def test_looks_made_before_a_removal_are_not_remembered(
    store: FilesystemStore, clock: ManualClock
) -> None:
    """A look that another question's knowledge has overtaken is worth nothing."""
    await ops.write_bytes(store, OTHER, b"value!")
    presence = store._directory.presence
    _, token = presence.unknown([OTHER])
    await store.discard([OTHER])
    presence.unknown([KEY])
    clock.advance(1)
    presence.remember([OTHER], token)
    assert frozenset({OTHER}) == await store.find_missing([OTHER])


async def test_value_deleted_by_hand_is_forgotten_when_it_is_read(
    store: FilesystemStore, root: Path
) -> None:
    """BSR-02: one failing read ends the memory of what somebody deleted by hand."""
    (root / "cas/sha256/cd" / f"{HASH}-5").unlink()
    with pytest.raises(BlobNotFound):
        await ops.read_all(store, KEY, max_bytes=10)
    assert frozenset({KEY}) == await store.find_missing([KEY])
