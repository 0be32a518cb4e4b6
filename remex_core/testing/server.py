"""Handlers served for a test, over a real socket or inside the process."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from remex_core.wire.compose import compose
from remex_core.wire.grpc_aio import GrpcAioTransport
from remex_core.wire.inproc import InprocTransport
from remex_core.wire.stub import Stub
from remex_core.wire.transport import Listener, Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from remex_core.telemetry.metrics import Registry
    from remex_core.wire.call import Handler
    from remex_core.wire.methods import Method
    from remex_core.wire.transport import Channel, Server, Transport


@dataclass(frozen=True, slots=True)
class Served:
    """A server with its handlers, and a client of it."""

    server: Server
    channel: Channel
    stub: Stub

    @property
    def address(self) -> str:
        """Where other clients reach it."""
        return self.server.address


@asynccontextmanager
async def serve_handlers(
    *handlers: Mapping[Method[Any, Any], Handler],
    transport: Transport | None = None,
    address: str = "127.0.0.1:0",
    registry: Registry | None = None,
) -> AsyncIterator[Served]:
    """Serves all `handlers` until the block ends: by grpc.aio on a free port unless told otherwise.

    `served.stub.call(methods.X, request)` calls them; `served.address` is for other clients.
    """
    transport = GrpcAioTransport() if transport is None else transport
    routes = {}
    for group in handlers:
        routes.update(compose(group, registry=registry))
    server = await transport.serve(Listener(address), routes)
    try:
        channel = await transport.connect(Target(server.address))
        try:
            yield Served(server, channel, Stub(channel))
        finally:
            await channel.close()
    finally:
        await server.close()


@asynccontextmanager
async def serve_inproc(*handlers: Mapping[Method[Any, Any], Handler]) -> AsyncIterator[Served]:
    """As `serve_handlers`, without a socket and without serialising."""
    async with serve_handlers(
        *handlers, transport=InprocTransport(), address="inproc:test"
    ) as served:
        yield served
