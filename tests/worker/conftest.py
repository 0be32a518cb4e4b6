"""What tests of the worker share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from remex_core.worker.runner.client import RunnerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def runner() -> AsyncIterator[RunnerProcess]:
    """A runner of the test's own, closed with everything that it runs."""
    runner = RunnerProcess()
    yield runner
    await runner.close()
