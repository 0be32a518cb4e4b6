"""A cas without execution, for the commands that talk to one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from remex_core.services.bytestream import ByteStreamService
from remex_core.services.capabilities import CapabilitiesService
from remex_core.services.cas import CasService
from remex_core.testing.server import serve_handlers
from services_support.recording_store import RecordingStore
from services_support.serving import any_instance

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@pytest.fixture
async def cas_url() -> AsyncGenerator[str]:
    """The URL of a cas that keeps everything in memory."""
    instances = any_instance(RecordingStore(), RecordingStore())
    streams = ByteStreamService(instances)
    services = (CapabilitiesService(instances), CasService(instances), streams)
    async with serve_handlers(*(service.handlers() for service in services)) as served:
        yield f"grpc://{served.address}"
    await streams.close()
