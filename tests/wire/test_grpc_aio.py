"""The transport over grpcio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from remex_core.testing.transport import TransportContract
from remex_core.wire.grpc_aio import GrpcAioTransport

if TYPE_CHECKING:
    from pathlib import Path

    from remex_core.testing.transport import Endpoint


class TestOverTcp(TransportContract):
    @pytest.fixture
    def endpoint(self) -> Endpoint:
        return GrpcAioTransport(), "127.0.0.1:0"


class TestOverUnixSockets(TransportContract):
    @pytest.fixture
    def endpoint(self, tmp_path: Path) -> Endpoint:
        return GrpcAioTransport(), f"unix:{tmp_path}/socket"
