"""The transport between roles of one process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from remex_core.testing.transport import TransportContract
from remex_core.wire.inproc import InprocTransport

if TYPE_CHECKING:
    from remex_core.testing.transport import Endpoint


class TestContract(TransportContract):
    hands_over_objects = True

    @pytest.fixture
    def endpoint(self) -> Endpoint:
        return InprocTransport(), "inproc:test"
