"""The transport that every machine has: gRPC over HTTP/2 by grpcio's asyncio API.

The only module that imports grpcio. Messages pass through as bytes in both directions; parsing is
the routes' business. One event loop serves and calls; grpcio's own threads never run our code.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc import aio

from remex_core.errors import Code, RpcFailed, Unimplemented
from remex_core.wire import addresses
from remex_core.wire.status import to_failure, to_status_error
from remex_core.wire.transport import (
    Channel,
    Incoming,
    Server,
    StatusError,
    Transport,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping

    from google.protobuf.message import Message

    from remex_core.wire.call import Payload
    from remex_core.wire.methods import Method
    from remex_core.wire.transport import (
        CallOptions,
        Listener,
        Request,
        Route,
        Target,
        Trailing,
    )

_MAX_HEADER_BYTES: Final = 64 * 1024

_SHARED_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", _MAX_HEADER_BYTES),
    ("grpc.absolute_max_metadata_size", 2 * _MAX_HEADER_BYTES),
)

_SERVER_OPTIONS: Final = (
    *_SHARED_OPTIONS,
    # A second server on the same port is a mistake until somebody asks for it.
    ("grpc.so_reuseport", 0),
    # Clients may ping an idle connection as often as they like (GEN-08).
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
    ("grpc.http2.max_ping_strikes", 0),
    # Notices within 80 s that a client's machine is gone.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Bazel opens 2,000 calls at once; the default refuses some before Python sees them.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
)

_CHANNEL_OPTIONS: Final = (
    *_SHARED_OPTIONS,
    # Pings only while calls are open: other servers answer idle pings with GOAWAY.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # After a restart of the server, calls find it again within a second or five.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # Channels share nothing, so that one which is closed takes no other's connection along.
    ("grpc.use_local_subchannel_pool", 1),
)

_LOOPBACK: Final = ("127.", "localhost:", "[::1]:", "unix:")


class GrpcAioTransport(Transport):
    """gRPC over TCP or a unix socket, in clear text."""

    async def serve(self, listener: Listener, routes: Mapping[str, Route]) -> Server:
        address = addresses.normalise(listener.address)
        addresses.check_free(address)
        server = aio.server(
            handlers=(_Handlers(routes),),
            options=(
                *_SERVER_OPTIONS,
                ("grpc.max_receive_message_length", listener.max_receive_bytes),
            ),
        )
        try:
            port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise addresses.taken(address, OSError(None, "the address cannot be bound")) from error
        await server.start()
        return _GrpcServer(server, addresses.with_port(address, port))

    async def connect(self, target: Target) -> Channel:
        return _GrpcChannel(target)


class _GrpcServer(Server):
    def __init__(self, server: aio.Server, address: str) -> None:
        self._server = server
        self._address = address

    @property
    def address(self) -> str:
        return self._address

    async def drain(self, grace: float) -> None:
        await self._server.stop(grace)

    async def close(self) -> None:
        await self._server.stop(None)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc] # grpcio has no types
    """Finds the route of a call by its path."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self._handlers = {path: _handler(route) for path, route in routes.items()}

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler:
        path = handler_call_details.method
        return self._handlers.get(path) or _unimplemented(path)


def _handler(route: Route) -> grpc.RpcMethodHandler:
    streamed = route.method.client_streams
    if route.method.server_streams:
        run = _answer_many(route, streamed)
        return (
            grpc.stream_stream_rpc_method_handler(run)
            if streamed
            else grpc.unary_stream_rpc_method_handler(run)
        )
    run = _answer_one(route, streamed)
    return (
        grpc.stream_unary_rpc_method_handler(run)
        if streamed
        else grpc.unary_unary_rpc_method_handler(run)
    )


def _answer_one(route: Route, streamed: bool) -> Callable[[Any, Any], Any]:
    run = route.unary
    assert run is not None

    async def handle(request: Any, context: Any) -> bytes:
        trailing: Trailing = []
        payloads = _Requests(context) if streamed else request
        try:
            answer = await run(_incoming(context), payloads, trailing)
        except StatusError as error:
            await _abort(context, error)
        if trailing:
            context.set_trailing_metadata(tuple(trailing))
        return answer if isinstance(answer, bytes) else answer.SerializeToString()

    return handle


def _answer_many(route: Route, streamed: bool) -> Callable[[Any, Any], Any]:
    run = route.stream
    assert run is not None

    async def handle(request: Any, context: Any) -> None:
        trailing: Trailing = []
        payloads = _Requests(context) if streamed else request
        write = context.write
        try:
            async with aclosing(run(_incoming(context), payloads, trailing)) as answers:
                async for answer in answers:
                    await write(answer if isinstance(answer, bytes) else answer.SerializeToString())
        except StatusError as error:
            await _abort(context, error)
        if trailing:
            context.set_trailing_metadata(tuple(trailing))

    return handle


def _incoming(context: Any) -> Incoming:
    return Incoming(context.invocation_metadata(), context.peer(), context.time_remaining())


async def _abort(context: Any, error: StatusError) -> None:
    await context.abort(_STATUS_CODES[error.code], error.message, error.trailing)


def _unimplemented(path: str) -> grpc.RpcMethodHandler:
    async def handle(_: Any, context: Any) -> None:
        await _abort(
            context, to_status_error(Unimplemented(f"The method {path} is not offered here."))
        )

    return grpc.stream_stream_rpc_method_handler(handle)


class _Requests:
    """What a client streams, one message for each step."""

    __slots__ = ("_read",)

    def __init__(self, context: Any) -> None:
        self._read = context.read

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        message: bytes = await self._read()
        if message is aio.EOF:
            raise StopAsyncIteration
        return message


_STATUS_CODES: Final = {Code(status.value[0]): status for status in grpc.StatusCode}


class _GrpcChannel(Channel):
    def __init__(self, target: Target) -> None:
        self._address = addresses.normalise(target.address)
        self._headers = target.headers
        options: list[tuple[str, int]] = [
            *_CHANNEL_OPTIONS,
            ("grpc.max_receive_message_length", target.max_receive_bytes),
        ]
        if self._address.startswith(_LOOPBACK):
            options.append(("grpc.enable_http_proxy", 0))
        self._channel = aio.insecure_channel(self._address, options)
        self._callables: dict[str, Callable[..., Any]] = {}

    async def call(
        self, method: Method[Message, Message], request: Request, options: CallOptions
    ) -> Payload:
        call, pump = self._start(method, request, options)
        try:
            answer: bytes = await call
            if options.received is not None:
                options.received.trailing = list(await call.trailing_metadata())
        except aio.AioRpcError as error:
            raise self._failure(error) from None
        finally:
            if pump is not None:
                await pump.stop()
        return answer

    async def stream(
        self, method: Method[Message, Message], request: Request, options: CallOptions
    ) -> AsyncGenerator[Payload]:
        call, pump = self._start(method, request, options)
        try:
            while (answer := await call.read()) is not aio.EOF:
                yield answer
            if options.received is not None:
                options.received.trailing = list(await call.trailing_metadata())
        except aio.AioRpcError as error:
            raise self._failure(error) from None
        finally:
            call.cancel()
            if pump is not None:
                await pump.stop()

    async def close(self) -> None:
        await self._channel.close()

    def _start(
        self, method: Method[Message, Message], request: Request, options: CallOptions
    ) -> tuple[Any, _Pump | None]:
        start = self._callables.get(method.path)
        if start is None:
            start = self._callables[method.path] = self._callable(method)
        metadata = self._headers + options.metadata
        if isinstance(request, bytes):
            return start(request, timeout=options.timeout, metadata=metadata), None
        if not method.client_streams:
            payload = request.SerializeToString()  # type: ignore[union-attr] # a message
            return start(payload, timeout=options.timeout, metadata=metadata), None
        call = start(timeout=options.timeout, metadata=metadata)
        return call, _Pump(call, request)  # type: ignore[arg-type] # streamed by its method

    def _callable(self, method: Method[Message, Message]) -> Callable[..., Any]:
        kind = (
            f"{'stream' if method.client_streams else 'unary'}_"
            f"{'stream' if method.server_streams else 'unary'}"
        )
        made: Callable[..., Any] = getattr(self._channel, kind)(method.path)
        return made

    def _failure(self, error: aio.AioRpcError) -> RpcFailed:
        code = Code(error.code().value[0])
        trailing = list(error.trailing_metadata() or ())
        message = error.details() or ""
        return to_failure(code, message, trailing)


class _Pump:
    """Sends what the caller streams, from a task of its own."""

    def __init__(self, call: Any, payloads: AsyncIterable[Payload]) -> None:
        self._call = call
        self._payloads = payloads
        self._task = asyncio.create_task(self._send())

    async def stop(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _send(self) -> None:
        async for payload in self._payloads:
            await self._call.write(
                payload if isinstance(payload, bytes) else payload.SerializeToString()
            )
        await self._call.done_writing()
