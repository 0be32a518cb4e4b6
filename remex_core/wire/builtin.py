"""The transports that the core registers, through the same hook as any plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from remex_core.plugins.descriptors import TransportType
from remex_core.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from remex_core.wire.transport import Transport


@hookimpl
def remex_transports() -> Iterable[TransportType]:
    """gRPC by grpcio, and the hand-over inside a process."""
    return (
        TransportType("grpc_aio", _grpc_aio, "gRPC over TCP or unix sockets, by grpcio."),
        TransportType(
            "inproc",
            _inproc,
            "Joins roles that share a process, without a socket.",
            preference=-1,
        ),
    )


def _grpc_aio() -> Transport:
    # Importing grpcio costs as much as the rest of a small process.
    from remex_core.wire.grpc_aio import GrpcAioTransport

    return GrpcAioTransport()


def _inproc() -> Transport:
    from remex_core.wire.inproc import InprocTransport

    return InprocTransport()
