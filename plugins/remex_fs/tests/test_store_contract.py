"""The filesystem store keeps every promise of the store contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from remex_core.plugin import BatchIO, Capability, Content, LocalFiles
from remex_core.testing.clocks import SYSTEM
from remex_core.testing.stores import LocalFilesContract, StoreContract
from remex_fs.spec import FilesystemSpec
from remex_fs.store import FilesystemStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


async def opened(path: Path, **options: object) -> AsyncIterator[FilesystemStore]:
    """A started store in `path`, closed at the end."""
    spec = FilesystemSpec.model_validate({"path": str(path), **options})
    store = FilesystemStore(path, spec, SYSTEM, "stores.test")
    store.start()
    try:
        yield store
    finally:
        await store.close()


class TestCas(LocalFilesContract):
    """Content-addressable values, without a bound."""

    capabilities: ClassVar[frozenset[type[Capability]]] = frozenset({BatchIO, LocalFiles})

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[FilesystemStore]:
        async for store in opened(tmp_path / "store"):
            yield store


class TestDurableCas(TestCas):
    """Every write is flushed before it returns."""

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[FilesystemStore]:
        async for store in opened(tmp_path / "store", durability="machine"):
            yield store


class TestBoundedCas(TestCas):
    """With a bound that is not reached."""

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[FilesystemStore]:
        async for store in opened(tmp_path / "store", max_bytes="1GiB"):
            yield store


class TestActionCache(StoreContract):
    """Action results, which are replaced."""

    content = Content.AC
    capabilities: ClassVar[frozenset[type[Capability]]] = frozenset({BatchIO, LocalFiles})

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[FilesystemStore]:
        async for store in opened(tmp_path / "store"):
            yield store


class TestOpaque(TestActionCache):
    """Raw values, which are replaced."""

    content = Content.OPAQUE
