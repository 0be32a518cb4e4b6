"""The transport that every machine has: gRPC over HTTP/2 by grpcio's asyncio API.

The only module that imports grpcio. Messages pass through as bytes in both directions; parsing is
the routes' business. One event loop serves and calls; grpcio's own threads never run our code.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc import aio

from remex_core.errors import Code, RpcFailed, Unimplemented
from remex_core.wire import addresses
from remex_core.wire.status import ERROR_HEADER, past_deadline, to_failure, to_status_error
from remex_core.wire.transport import (
    Channel,
    Incoming,
    Server,
    StatusError,
    Transport,
)

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        AsyncIterator,
        Callable,
        Iterator,
        Mapping,
    )

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

# Windows, frame and buffer sizes stay grpcio's own: with its bandwidth probing, larger ones were
# measured to gain nothing on 1 MiB messages and to cost memory for every open stream.
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

_NOBODY_ANSWERS: Final = (
    "failed to connect to all addresses",
    "errors resolving",
    "DNS resolution failed",
)

_DEADLINE_PASSED: Final = "Deadline Exceeded"

_CLEANUP_SECONDS: Final = 5.0
"""How long handlers that were cut may take to clean up before the server is gone."""

_STATUS_CODES: Final = {Code(status.value[0]): status for status in grpc.StatusCode}


class GrpcAioTransport(Transport):
    """gRPC over TCP or a unix socket, in clear text."""

    async def serve(self, listener: Listener, routes: Mapping[str, Route]) -> Server:
        address = addresses.normalise(listener.address)
        addresses.check_free(address)
        handlers = _Handlers(routes)
        server = aio.server(
            handlers=(handlers,),
            options=(
                *_SERVER_OPTIONS,
                ("grpc.max_receive_message_length", listener.max_receive_bytes),
            ),
        )
        try:
            port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise addresses.taken(address, OSError(0, "it cannot be bound")) from error
        await server.start()
        return _GrpcServer(server, handlers, addresses.with_port(address, port))

    async def connect(self, target: Target) -> Channel:
        return _GrpcChannel(target)


class _GrpcServer(Server):
    def __init__(self, server: aio.Server, handlers: _Handlers, address: str) -> None:
        self._server = server
        self._handlers = handlers
        self._address = address

    @property
    def address(self) -> str:
        return self._address

    async def drain(self, grace: float) -> None:
        await self._stop(grace)

    async def close(self) -> None:
        await self._stop(None)

    async def _stop(self, grace: float | None) -> None:
        await self._server.stop(grace)
        # grpcio has cancelled the calls that were left, but does not wait for their handlers.
        if self._handlers.open:
            await asyncio.wait(self._handlers.open, timeout=_CLEANUP_SECONDS)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc] # grpcio has no types
    """Finds the route of a call by its path; `open` are the tasks that answer calls now."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self.open: set[asyncio.Task[Any]] = set()
        self._handlers = {path: self._handler(route) for path, route in routes.items()}

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler:
        path = handler_call_details.method
        return self._handlers.get(path) or _unimplemented(path)

    def _handler(self, route: Route) -> grpc.RpcMethodHandler:
        streamed = route.method.client_streams
        if route.method.server_streams:
            many = self._answer_many(route, streamed)
            if streamed:
                return grpc.stream_stream_rpc_method_handler(many)
            return grpc.unary_stream_rpc_method_handler(many)
        one = self._answer_one(route, streamed)
        if streamed:
            return grpc.stream_unary_rpc_method_handler(one)
        return grpc.unary_unary_rpc_method_handler(one)

    def _answer_one(self, route: Route, streamed: bool) -> Callable[[Any, Any], Any]:
        run = route.unary
        assert run is not None
        tasks = self.open

        async def handle(request: Any, context: Any) -> bytes:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            trailing: Trailing = []
            payloads = _Requests(context) if streamed else request
            try:
                answer = await run(_incoming(context), payloads, trailing)
            except StatusError as error:
                await _abort(context, error)
            finally:
                tasks.discard(task)
            if trailing:
                context.set_trailing_metadata(tuple(trailing))
            return _serialised(answer)

        return handle

    def _answer_many(self, route: Route, streamed: bool) -> Callable[[Any, Any], Any]:
        run = route.stream
        assert run is not None
        tasks = self.open

        async def handle(request: Any, context: Any) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            trailing: Trailing = []
            payloads = _Requests(context) if streamed else request
            write = context.write
            try:
                async with aclosing(run(_incoming(context), payloads, trailing)) as answers:
                    async for answer in answers:
                        await write(_serialised(answer))
            except aio.InternalError as error:
                # The client went while a message was on its way to it: that ends the call as
                # its cancellation would have a moment later, and is nothing to log.
                raise asyncio.CancelledError from error
            except StatusError as error:
                await _abort(context, error)
            finally:
                tasks.discard(task)
            if trailing:
                context.set_trailing_metadata(tuple(trailing))

        return handle


def _incoming(context: Any) -> Incoming:
    return Incoming(context.invocation_metadata(), context.peer(), context.time_remaining())


def _serialised(payload: Payload) -> bytes:
    return payload if isinstance(payload, bytes) else payload.SerializeToString()


async def _abort(context: Any, error: StatusError) -> None:
    await context.abort(_STATUS_CODES[error.code], error.message, error.trailing)


def _unimplemented(path: str) -> grpc.RpcMethodHandler:
    async def handle(_: Any, context: Any) -> None:
        await _abort(context, to_status_error(Unimplemented(f"{path} is not offered here.")))

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
            # A cancelled call reads as ended too, a moment before its cancellation comes to this
            # task. Mostly it is that near; where it is not, the response goes nowhere.
            await asyncio.sleep(0)
            raise StopAsyncIteration
        return message


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
        self._closed = False

    async def call(
        self, method: Method[Message, Message], request: Request, options: CallOptions
    ) -> Payload:
        call, pump = self._start(method, request, options)
        try:
            with self._failures(method, options, pump):
                answer: bytes = await call
                if options.received is not None:
                    options.received.trailing = list(await call.trailing_metadata())
        finally:
            if pump is not None:
                await pump.stop()
        return answer

    async def stream(
        self, method: Method[Message, Message], request: Request, options: CallOptions
    ) -> AsyncGenerator[Payload]:
        call, pump = self._start(method, request, options)
        try:
            with self._failures(method, options, pump):
                while (answer := await call.read()) is not aio.EOF:
                    yield answer
                if options.received is not None:
                    options.received.trailing = list(await call.trailing_metadata())
        finally:
            call.cancel()
            if pump is not None:
                await pump.stop()

    async def close(self) -> None:
        self._closed = True
        await self._channel.close()

    def _start(
        self, method: Method[Message, Message], request: Request, options: CallOptions
    ) -> tuple[Any, _Pump | None]:
        if self._closed:
            raise self._was_closed()
        start = self._callables.get(method.path)
        if start is None:
            start = self._callables[method.path] = self._callable(method)
        metadata = self._headers + options.metadata
        if not method.client_streams:
            payload = _serialised(request)  # type: ignore[arg-type] # one message, by its method
            return start(payload, timeout=options.timeout, metadata=metadata), None
        call = start(timeout=options.timeout, metadata=metadata)
        return call, _Pump(call, request)  # type: ignore[arg-type] # many messages, likewise

    def _callable(self, method: Method[Message, Message]) -> Callable[..., Any]:
        channel, path = self._channel, method.path
        made: Callable[..., Any]
        if method.client_streams:
            made = (
                channel.stream_stream(path) if method.server_streams else channel.stream_unary(path)
            )
        else:
            made = (
                channel.unary_stream(path) if method.server_streams else channel.unary_unary(path)
            )
        return made

    @contextmanager
    def _failures(
        self, method: Method[Message, Message], options: CallOptions, pump: _Pump | None
    ) -> Iterator[None]:
        """Turns what grpcio raises into what a channel raises."""
        try:
            yield
        except aio.AioRpcError as error:
            raise self._failure(error, method, options) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Not this task was cancelled but the call, by the pump or by `close`.
            if pump is not None and pump.error is not None:
                raise pump.error from None
            if self._closed:
                raise self._was_closed() from None
            raise

    def _failure(
        self, error: aio.AioRpcError, method: Method[Message, Message], options: CallOptions
    ) -> RpcFailed:
        code = Code(error.code().value[0])
        message = error.details() or ""
        trailing = tuple(error.trailing_metadata() or ())
        if message.startswith(_NOBODY_ANSWERS):
            reason = message.strip("]").rsplit(": ", 1)[-1]
            return RpcFailed(
                code,
                f"Nobody answers at {self._address}: {reason}.",
                hint="Check the address, and that the server runs and can be reached from here.",
                answered=False,
            )
        if code is Code.DEADLINE_EXCEEDED and message == _DEADLINE_PASSED:
            return past_deadline(self._address, method, options.timeout or 0)
        if code is Code.UNAVAILABLE and all(name != ERROR_HEADER for name, _ in trailing):
            message = f"The call to {self._address} broke off: {message}"
        return to_failure(code, message, trailing)

    def _was_closed(self) -> RpcFailed:
        return RpcFailed(
            Code.CANCELLED, f"The channel to {self._address} was closed.", answered=False
        )


class _Pump:
    """Sends what the caller streams, from a task of its own.

    Stops without a word when the call ends early: its status says why. A failure of the caller's
    own iterator cancels the call and is kept in `error`.
    """

    def __init__(self, call: Any, payloads: AsyncIterable[Payload]) -> None:
        self._call = call
        self._payloads = payloads
        self.error: Exception | None = None
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ends the task, and waits until the caller's iterator is closed."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        try:
            await self._send()
        except (aio.AioRpcError, aio.InternalError, asyncio.InvalidStateError):
            pass
        except Exception as error:  # noqa: BLE001 - raised again where the call is awaited
            self.error = error
            self._call.cancel()
        finally:
            close = getattr(self._payloads, "aclose", None)
            if close is not None:
                await close()

    async def _send(self) -> None:
        await self._call.wait_for_connection()
        # Not `call.write`: when a call has ended, that replaces the status which the server sent
        # by an INTERNAL of grpcio's own.
        send = self._call._cython_call.send_serialized_message  # noqa: SLF001 - see above
        async for payload in self._payloads:
            await send(_serialised(payload))
        await self._call.done_writing()
