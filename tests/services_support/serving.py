"""The services of this package behind a real listener, and a client for them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from remex_core.digest import DigestFunctions
from remex_core.services.action_cache import ActionCacheService
from remex_core.services.bytestream import ByteStreamService
from remex_core.services.capabilities import CapabilitiesService
from remex_core.services.cas import CasService
from remex_core.services.instances import Instance, Instances
from remex_core.testing.server import serve_handlers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from remex_core.services.uploads import UploadLimits
    from remex_core.store.contract import Store
    from remex_core.wire.stub import Stub


def any_instance(
    cas: Store, ac: Store, *, functions: DigestFunctions | None = None, **settings: Any
) -> Instances:
    """Instances that serve every name from these stores."""
    return Instances(template=Instance("", cas, ac, functions or DigestFunctions(), **settings))


@asynccontextmanager
async def serving(
    instances: Instances, *, limits: UploadLimits | None = None
) -> AsyncGenerator[Stub]:
    """A client of all services, which end with the context."""
    bytestream = ByteStreamService(instances, limits)
    handlers = {
        **CapabilitiesService(instances).handlers(),
        **CasService(instances).handlers(),
        **bytestream.handlers(),
        **ActionCacheService(instances).handlers(),
    }
    try:
        async with serve_handlers(handlers) as served:
            yield served.stub
    finally:
        await bytestream.close()
