"""One server for the tests that need nothing special: every instance name, two recording stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services_support.recording_store import RecordingStore
from services_support.serving import any_instance, serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from remex_core.wire.stub import Stub


@pytest.fixture
def cas() -> RecordingStore:
    """The store of all blobs."""
    return RecordingStore()


@pytest.fixture
def ac() -> RecordingStore:
    """The store of all action results."""
    return RecordingStore()


@pytest.fixture
async def stub(cas: RecordingStore, ac: RecordingStore) -> AsyncGenerator[Stub]:
    """A client of a server that serves every instance name from the two stores."""
    async with serving(any_instance(cas, ac)) as client:
        yield client
