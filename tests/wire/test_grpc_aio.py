"""The transport over grpcio: the contract, and what only HTTP/2 has."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc import aio

from remex_core import errors
from remex_core.digest import SHA256
from remex_core.errors import Code, RpcFailed
from remex_core.proto import bytestream, error_details, rpc_status
from remex_core.testing.echo import MANY_TO_ONE, ONE_TO_MANY, ONE_TO_ONE, Echo
from remex_core.testing.transport import ASK, SOON, TransportContract, raising, running, until
from remex_core.wire.grpc_aio import GrpcAioTransport
from remex_core.wire.stub import Stub
from remex_core.wire.transport import Listener, Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from remex_core.testing.transport import Endpoint

TCP: Endpoint = (GrpcAioTransport(), "127.0.0.1:0")


class TestOverTcp(TransportContract):
    @pytest.fixture
    def endpoint(self) -> Endpoint:
        return TCP


class TestOverUnixSockets(TransportContract):
    @pytest.fixture
    def endpoint(self, tmp_path: Path) -> Endpoint:
        return GrpcAioTransport(), f"unix:{tmp_path}/socket"


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_requests(compression: grpc.Compression) -> None:
    """GEN-06: requests may be compressed, one by one or in a stream."""
    request = bytestream.QueryWriteStatusRequest(resource_name="a" * 100_000)
    write = bytestream.WriteRequest(data=bytes(100_000)).SerializeToString()
    async with (
        running(TCP, Echo()) as run,
        aio.insecure_channel(run.server.address, compression=compression) as channel,
    ):
        answer = await channel.unary_unary(ONE_TO_ONE.path)(request.SerializeToString())
        assert 100_000 == ONE_TO_ONE.response.FromString(answer).committed_size
        call = channel.stream_unary(MANY_TO_ONE.path)()
        for _ in range(3):
            await call.write(write)
        await call.done_writing()
        assert 300_000 == MANY_TO_ONE.response.FromString(await call).committed_size
        assert ("grpc-encoding", "gzip") not in list(await call.initial_metadata())


async def test_a_foreign_client_reads_the_details() -> None:
    """GEN-03: the trailer `grpc-status-details-bin` is a Status whose code is the call's."""
    key = SHA256.key_of(b"a")
    async with (
        running(TCP, Echo(hook=raising(errors.MissingBlobs([key])))) as run,
        aio.insecure_channel(run.server.address) as channel,
    ):
        with pytest.raises(aio.AioRpcError) as raised:
            await channel.unary_unary(ONE_TO_ONE.path)(b"")
    trailing = dict(raised.value.trailing_metadata())
    status = rpc_status.Status.FromString(trailing["grpc-status-details-bin"])
    assert (raised.value.code().value[0], raised.value.details()) == (status.code, status.message)
    failure = error_details.PreconditionFailure()
    assert status.details[0].Unpack(failure)
    assert f"blobs/{key.hash}/1" == failure.violations[0].subject


class Frame:
    """Frames of HTTP/2, for what no client library shows."""

    PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    HEADERS, SETTINGS, PING, GOAWAY = 1, 4, 6, 7
    ACK = 1

    @staticmethod
    def encode(kind: int, payload: bytes = b"") -> bytes:
        return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, 0, 0) + payload

    @staticmethod
    async def read(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
        """Kind, flags and payload of the next frame."""
        head = await reader.readexactly(9)
        length = int.from_bytes(head[:3])
        return head[3], head[4], await reader.readexactly(length)


@asynccontextmanager
async def bare_connection(
    address: str,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection on which HTTP/2 has been greeted, and no call made."""
    reader, writer = await asyncio.open_connection(*address.split(":"))
    writer.write(Frame.PREFACE + Frame.encode(Frame.SETTINGS))
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


async def test_an_idle_connection_may_ping_as_often_as_it_likes() -> None:
    """GEN-08: hundreds of pings without a call are all answered, and none with GOAWAY."""
    async with (
        asyncio.timeout(SOON),
        running(TCP, Echo()) as run,
        bare_connection(run.server.address) as (reader, writer),
    ):
        for n in range(300):
            writer.write(Frame.encode(Frame.PING, struct.pack(">Q", n)))
            while True:
                kind, flags, payload = await Frame.read(reader)
                assert Frame.GOAWAY != kind
                if kind == Frame.PING and flags & Frame.ACK:
                    break
            assert n == struct.unpack(">Q", payload)[0]


@pytest.mark.nightly
@pytest.mark.timeout(400)
async def test_an_idle_channel_stays_up_for_minutes() -> None:
    """GEN-08: a client that pings its idle connection every 10 s keeps it for five minutes."""
    options = (
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    )
    async with (
        running(TCP, Echo()) as run,
        aio.insecure_channel(run.server.address, options) as channel,
    ):
        await channel.unary_unary(ONE_TO_ONE.path)(b"")
        lost = asyncio.create_task(channel.wait_for_state_change(grpc.ChannelConnectivity.READY))
        done, _ = await asyncio.wait((lost,), timeout=300)
        lost.cancel()
        assert set() == done


async def test_a_burst_of_calls_is_not_refused() -> None:
    """GEN-01: the 3,000 calls that Bazel may open at once all reach their handlers."""
    gate = asyncio.Event()

    async def hook(_: object) -> None:
        await gate.wait()

    async with running(TCP, Echo(hook=hook)) as run:
        channels = [await run.transport.connect(Target(run.server.address)) for _ in range(6)]
        tasks = [
            asyncio.create_task(Stub(channel).call(ONE_TO_ONE, ASK))
            for channel in channels
            for _ in range(500)
        ]
        await until(lambda: run.open_calls(ONE_TO_ONE) == 3000)
        gate.set()
        answers = await asyncio.gather(*tasks)
        for channel in channels:
            await channel.close()
    assert {3} == {answer.committed_size for answer in answers}


async def test_long_headers() -> None:
    """GEN-12: credentials of 30 KiB arrive."""
    token = "x" * 30_000
    async with running(TCP, Echo()) as run:
        await run.stub.call(ONE_TO_ONE, ASK, metadata=(("authorization", token),))
        assert token == run.echo.calls[0].header("authorization")


async def test_a_proxy_is_not_asked_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment does not come between the roles of one machine."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with running(TCP, Echo()) as run:
        assert 3 == (await run.stub.call(ONE_TO_ONE, ASK)).committed_size


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::1]:0", "localhost:0", "grpc://127.0.0.1:0"])
async def test_ways_to_listen(address: str) -> None:
    """The address that is told has the real port, and clients reach it there."""
    async with running((GrpcAioTransport(), address), Echo()) as run:
        assert not run.server.address.endswith(":0")
        assert 3 == (await run.stub.call(ONE_TO_ONE, ASK)).committed_size


async def test_a_socket_file_comes_and_goes(tmp_path: Path) -> None:
    """A socket left by a dead server is replaced; a server that ends leaves none behind."""
    path = tmp_path / "socket"
    endpoint = (GrpcAioTransport(), f"unix:{path}")
    async with running(endpoint, Echo()):
        assert path.is_socket()
    assert not path.exists()
    listening = await asyncio.start_unix_server(lambda *_: None, path)
    listening.close()
    await listening.wait_closed()
    assert path.exists()
    async with running(endpoint, Echo()) as run:
        assert 3 == (await run.stub.call(ONE_TO_ONE, ASK)).committed_size


@asynccontextmanager
async def impostor(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[tuple[str, Stub]]:
    """The address of a server that is no gRPC server, and a client of it."""
    tasks = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError):
            await answer(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    channel = await GrpcAioTransport().connect(Target(address))
    try:
        yield address, Stub(channel)
    finally:
        await channel.close()
        server.close()
        await server.wait_closed()
        await asyncio.gather(*filter(None, tasks))


async def test_a_server_that_speaks_something_else() -> None:
    """A port where HTTP/1 is spoken is an error that names the address and what was found."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with impostor(answer) as (address, stub):
        with pytest.raises(RpcFailed, match=f"Nobody answers at {address}") as raised:
            await stub.call(ONE_TO_ONE, ASK, timeout=SOON)
    assert (Code.UNAVAILABLE, False) == (raised.value.remote_code, raised.value.answered)
    assert "HTTP" in raised.value.message


async def test_a_connection_that_breaks_in_the_middle() -> None:
    """A peer that vanishes during a call is UNAVAILABLE, with the address."""

    async def vanish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(Frame.PREFACE))
        writer.write(Frame.encode(Frame.SETTINGS))
        while (await Frame.read(reader))[0] != Frame.HEADERS:
            pass

    async with impostor(vanish) as (address, stub):
        with pytest.raises(RpcFailed, match=f"The call to {address} broke off") as raised:
            await stub.call(ONE_TO_ONE, ASK, timeout=SOON)
    assert (Code.UNAVAILABLE, True) == (raised.value.remote_code, raised.value.answered)


async def test_a_client_that_goes_while_it_is_written_to(caplog: pytest.LogCaptureFixture) -> None:
    """A client that stops reading and goes ends its call, and is no error of the server's."""

    def read_once_and_go(address: str) -> None:
        with grpc.insecure_channel(address) as channel:
            answers = channel.unary_stream(f"/{ONE_TO_MANY.path}".replace("//", "/"))(b"")
            next(answers)

    echo = Echo(answers=1000, answer_bytes=1 << 20)
    async with running(TCP, echo) as run, asyncio.timeout(SOON):
        for _ in range(20):
            await asyncio.to_thread(read_once_and_go, run.server.address)
            await echo.cancelled.wait()
            echo.cancelled.clear()
    assert [] == [record.getMessage() for record in caplog.records]


async def test_garbage_does_not_hurt_the_server() -> None:
    """GEN-13: connections that speak no HTTP/2 are closed, and others go on."""
    async with running(TCP, Echo()) as run, asyncio.timeout(SOON):
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 1000, b"PRI * HTTP/2.0\r\n\r\nXX"):
            reader, writer = await asyncio.open_connection(*run.server.address.split(":"))
            writer.write(garbage)
            await reader.read()
            writer.close()
            await writer.wait_closed()
        assert 3 == (await run.stub.call(ONE_TO_ONE, ASK)).committed_size


async def test_tls_is_not_offered_yet() -> None:
    """grpcs:// is refused with the reason, not tried in clear text."""
    with pytest.raises(errors.InvalidArgument, match="TLS"):
        await GrpcAioTransport().connect(Target("grpcs://127.0.0.1:1"))
    with pytest.raises(errors.InvalidArgument, match="TLS"):
        await GrpcAioTransport().serve(Listener("grpcs://127.0.0.1:0"), {})
