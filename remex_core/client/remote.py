"""The whole client, and how to get one."""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from remex_core.client.admin import Admin
from remex_core.client.outputs import Outputs
from remex_core.digest import SHA256
from remex_core.wire.transport import Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from remex_core.digest import DigestFunction
    from remex_core.wire.transport import Transport


class RemoteClient(Outputs, Admin):
    """Everything that a client asks of a server; see the base classes."""


@asynccontextmanager
async def connect(
    address: str,
    *,
    instance: str = "",
    function: DigestFunction = SHA256,
    invocation: str = "",
    transport: Transport | None = None,
) -> AsyncIterator[RemoteClient]:
    """A client of the server at `address`, until the block ends.

    The connection is made with the first call, and made again when it was lost.

    Raises:
        InvalidArgument: if it is no address; calls raise Unreachable if nobody answers there.
    """
    if transport is None:
        from remex_core.wire.grpc_aio import GrpcAioTransport

        transport = GrpcAioTransport()
    channel = await transport.connect(Target(address))
    try:
        yield RemoteClient(
            channel,
            instance=instance,
            function=function,
            invocation=invocation or str(uuid.uuid4()),
        )
    finally:
        await channel.close()
