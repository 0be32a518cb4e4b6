"""A client of real services over memory stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from remex_core.client.remote import connect
from remex_core.digest import DigestFunctions
from remex_core.services.action_cache import ActionCacheService
from remex_core.services.bytestream import ByteStreamService
from remex_core.services.capabilities import CapabilitiesService
from remex_core.services.cas import CasService
from remex_core.services.instances import Instance, Instances
from remex_core.store.memory import MemoryStore
from remex_core.testing.server import serve_handlers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from remex_core.client.remote import RemoteClient
    from remex_core.store.contract import Store

MIB = 1024 * 1024


@pytest.fixture
def cas() -> Store:
    return MemoryStore(128 * MIB)


@pytest.fixture
async def address(cas: Store) -> AsyncIterator[str]:
    instances = Instances(
        template=Instance("", cas, MemoryStore(16 * MIB), DigestFunctions(), max_batch_bytes=MIB)
    )
    bytestream = ByteStreamService(instances)
    async with serve_handlers(
        CapabilitiesService(instances).handlers(),
        CasService(instances).handlers(),
        bytestream.handlers(),
        ActionCacheService(instances).handlers(),
    ) as served:
        yield served.address
    await bytestream.close()


@pytest.fixture
async def client(address: str) -> AsyncIterator[RemoteClient]:
    async with connect(address, instance="main") as connected:
        yield connected
