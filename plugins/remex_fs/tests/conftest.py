"""Stores to test with: each in a directory of the test's own, closed at its end."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from remex_core.plugin import FUNCTIONS, Key
from remex_core.testing.clocks import SYSTEM, Clock, ManualClock
from remex_fs.spec import FilesystemSpec
from remex_fs.store import FilesystemStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class OpenStore(Protocol):
    """Opens the store of a directory."""

    def __call__(
        self, root: Path, *, clock: Clock = ..., keeper: bool = ..., **options: Any
    ) -> FilesystemStore: ...


@pytest.fixture
async def open_store() -> AsyncIterator[OpenStore]:
    """Opens stores with options as a configuration gives them, and closes them all at the end.

    With `keeper=False` the store's keeper has no thread: the test calls it.
    """
    async with AsyncExitStack() as stack:

        def opened(
            root: Path, *, clock: Clock = SYSTEM, keeper: bool = True, **options: Any
        ) -> FilesystemStore:
            spec = FilesystemSpec.model_validate({"path": str(root), **options})
            store = FilesystemStore(root, spec, clock, "stores.test")
            stack.push_async_callback(store.close)
            if keeper:
                store.start()
            return store

        yield opened


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still."""
    return ManualClock()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where a store's directory is to be."""
    return tmp_path / "store"


def key_of(value: bytes) -> Key:
    """The key under which the CAS keeps a value."""
    return FUNCTIONS["sha256"].key_of(value)
