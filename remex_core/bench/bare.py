"""The least that grpc.aio can do: a server and a client that only move bytes.

What remex is compared with, so it uses grpcio itself and nothing of remex's wire. The server runs
as a process of its own (`python -m remex_core.bench.bare`), prints its address, and ends when its
standard input does.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc import aio

from remex_core.proto import reapi

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

_OPTIONS: Final = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))

READ: Final = "/bare/Read"
"""Answers a request `COUNT:SIZE` by COUNT messages of SIZE bytes."""
WRITE: Final = "/bare/Write"
"""Discards what is streamed, undecoded."""
FIND_MISSING: Final = "/bare/FindMissingBlobs"
"""Parses a FindMissingBlobsRequest and reads each digest's fields; answers that none misses."""


class BareClient:
    """Raw calls over one connection: bytes in, bytes out."""

    def __init__(self, channel: aio.Channel) -> None:
        self._channel = channel

    async def call(self, path: str, request: bytes) -> bytes:
        """One request, one response."""
        answer: bytes = await self._channel.unary_unary(path)(request)
        return answer

    async def read(self, path: str, request: bytes) -> int:
        """The number of bytes in all messages that come back."""
        call = self._channel.unary_stream(path)(request)
        total = 0
        while (message := await call.read()) is not aio.EOF:
            total += len(message)
        return total

    async def write(self, path: str, messages: AsyncIterable[bytes]) -> bytes:
        """Streams all messages; the one response."""
        call = self._channel.stream_unary(path)()
        async for message in messages:
            await call.write(message)
        await call.done_writing()
        answer: bytes = await call
        return answer


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[BareClient]:
    """A client of the server at `host:port`."""
    async with aio.insecure_channel(address, _OPTIONS) as channel:
        await channel.channel_ready()
        yield BareClient(channel)


@asynccontextmanager
async def bare_server() -> AsyncIterator[str]:
    """The address of a bare server that runs in a process of its own meanwhile."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "remex_core.bench.bare"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.stdin.close()
        await process.wait()


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc] # grpcio has no types
    def service(self, handler_call_details: Any) -> Any:
        return {
            READ: grpc.unary_stream_rpc_method_handler(_read),
            WRITE: grpc.stream_unary_rpc_method_handler(_write),
            FIND_MISSING: grpc.unary_unary_rpc_method_handler(_find_missing),
        }.get(handler_call_details.method)


async def _read(request: bytes, context: Any) -> None:
    count, _, size = request.decode().partition(":")
    message = bytes(int(size))
    for _ in range(int(count)):
        await context.write(message)


async def _write(_: Any, context: Any) -> bytes:
    while await context.read() is not aio.EOF:
        pass
    return b""


async def _find_missing(request: bytes, _: Any) -> bytes:
    for digest in reapi.FindMissingBlobsRequest.FromString(request).blob_digests:
        _ = (digest.hash, digest.size_bytes)
    return reapi.FindMissingBlobsResponse().SerializeToString()


async def _serve() -> None:
    server = aio.server(handlers=(_Handlers(),), options=_OPTIONS)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"127.0.0.1:{port}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.buffer.read)
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(_serve())
