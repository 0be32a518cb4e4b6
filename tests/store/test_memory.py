"""The kind `memory`."""

from __future__ import annotations

import pytest

from remex_core.store.contract import BatchIO, Content
from remex_core.store.memory import MemoryStore
from remex_core.testing.stores import StoreContract


class TestContract(StoreContract):
    capabilities = frozenset({BatchIO})

    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore(64 * 1024 * 1024)


class TestActionCache(TestContract):
    content = Content.AC


class TestOpaque(TestContract):
    content = Content.OPAQUE
