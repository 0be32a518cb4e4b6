"""Opens one store of a configuration by itself, without a server around it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from remex_core.clock import SYSTEM
from remex_core.store.build import StoreChecker, StoreTrees
from remex_core.store.contract import Content
from remex_core.wire.transport import Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from remex_core.plugins.descriptors import StoreNode
    from remex_core.plugins.registry import Registry
    from remex_core.store.contract import Store
    from remex_core.wire.transport import Channel


@asynccontextmanager
async def open_store(
    registry: Registry, nodes: Mapping[str, StoreNode], name: str, data_dir: Path
) -> AsyncIterator[Store]:
    """The store `name` of `nodes`, as a CAS, until the block ends.

    Raises:
        ConfigError: if anything is wrong with it; names every fault.
    """

    async def connect(address: str) -> Channel:
        return await registry.transport().build().connect(Target(address))

    checker = StoreChecker(registry.stores, nodes)
    async with StoreTrees(checker, SYSTEM, data_dir, connect) as trees:
        yield await trees.store(name, Content.CAS)
