"""The transports that the core registers."""

from __future__ import annotations

import subprocess
import sys

from remex_core.wire import builtin
from remex_core.wire.grpc_aio import GrpcAioTransport
from remex_core.wire.inproc import InprocTransport


def test_grpc_is_preferred() -> None:
    """Both transports are registered, and the one that crosses processes serves by default."""
    types = sorted(builtin.remex_transports(), key=lambda kind: -kind.preference)
    assert ["grpc_aio", "inproc"] == [kind.name for kind in types]
    assert [GrpcAioTransport, InprocTransport] == [type(kind.build()) for kind in types]


def test_registering_does_not_import_grpcio() -> None:
    """A process that only lists plugins does not pay for grpcio."""
    program = "import sys, remex_core.wire.builtin; print('grpc' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert "False" == done.stdout.strip()
