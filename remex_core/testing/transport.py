"""The transport contract as a test suite: subclass it, give one fixture, test every promise.

A plugin's test module is::

    class TestMyTransport(TransportContract):
        @pytest.fixture
        def endpoint(self):
            return MyTransport(), "127.0.0.1:0"

It needs `asyncio_mode = "auto"` of pytest-asyncio.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, TypeVar

import pytest

from remex_core import errors
from remex_core.digest import SHA256
from remex_core.errors import Code, RpcFailed, Unavailable
from remex_core.proto import bytestream, error_details, reflection
from remex_core.telemetry import names
from remex_core.telemetry.metrics import Registry
from remex_core.testing.echo import MANY_TO_MANY, MANY_TO_ONE, ONE_TO_MANY, ONE_TO_ONE, Echo
from remex_core.wire import methods
from remex_core.wire.compose import compose
from remex_core.wire.status import detail, from_status
from remex_core.wire.stub import Stub
from remex_core.wire.transport import CallOptions, Listener, Received, Target, Transport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

    from remex_core.wire.methods import Method
    from remex_core.wire.transport import Channel, Server

A = TypeVar("A")

Endpoint: TypeAlias = tuple[Transport, str]

MIB: Final = 1024 * 1024
SOON: Final = 20.0
"""Seconds within which what must happen happens, on the slowest machine."""

ASK: Final = bytestream.QueryWriteStatusRequest(resource_name="abc")
READ: Final = bytestream.ReadRequest(read_offset=7)
ALL: Final = (ONE_TO_ONE, ONE_TO_MANY, MANY_TO_ONE, MANY_TO_MANY)


class Running:
    """An echo that is served, a channel to it, and what is needed to look behind both."""

    def __init__(
        self, echo: Echo, transport: Transport, server: Server, channel: Channel, registry: Registry
    ) -> None:
        self.echo = echo
        self.transport = transport
        self.server = server
        self.channel = channel
        self.stub = Stub(channel)
        self._registry = registry

    def open_calls(self, method: Method[Any, Any]) -> int:
        """How many handlers of a method are at work."""
        labels = (method.service, method.name)
        return int(self._registry.number(names.RPC_OPEN, *labels).value)

    async def read_all(self, **options: Any) -> list[int]:
        """The marks of all messages of one stream."""
        answers = self.stub.stream(ONE_TO_MANY, READ, **options)
        return [int(answer.data) async for answer in answers]


@asynccontextmanager
async def running(
    endpoint: Endpoint, echo: Echo, *, receive: int = 64 * MIB, accept: int = 64 * MIB
) -> AsyncIterator[Running]:
    """Serves `echo`, whose server takes messages up to `receive` bytes, its client to `accept`."""
    transport, address = endpoint
    registry = Registry()
    routes = compose(echo.handlers(), registry=registry)
    server = await transport.serve(Listener(address, receive), routes)
    try:
        channel = await transport.connect(Target(server.address, max_receive_bytes=accept))
        try:
            yield Running(echo, transport, server, channel, registry)
        finally:
            await channel.close()
    finally:
        await server.close()


async def writes(count: int, size: int = 10) -> AsyncGenerator[bytestream.WriteRequest]:
    """That many requests with that much data."""
    for _ in range(count):
        yield bytestream.WriteRequest(data=bytes(size))


def host(name: str) -> reflection.ServerReflectionRequest:
    """A request of the many-to-many echo."""
    return reflection.ServerReflectionRequest(host=name)


async def start(run: Running, method: Method[Any, Any], **options: Any) -> object:
    """Makes a call of any cardinality and takes all that comes back."""
    request: Any = ASK
    if method is ONE_TO_MANY:
        request = READ
    elif method is MANY_TO_ONE:
        request = writes(1)
    elif method is MANY_TO_MANY:
        request = _hosts("a")
    if method.server_streams:
        return [answer async for answer in run.stub.stream(method, request, **options)]
    return await run.stub.call(method, request, **options)


async def _hosts(*hosts: str) -> AsyncGenerator[reflection.ServerReflectionRequest]:
    for one in hosts:
        yield host(one)


def raising(error: BaseException) -> Callable[[object], Awaitable[None]]:
    """A hook that raises."""

    async def hook(_: object) -> None:
        raise error

    return hook


async def forever(_: object = None) -> None:
    """A hook that never comes back by itself."""
    await asyncio.Event().wait()


async def until(condition: Callable[[], bool]) -> None:
    """Waits until something holds that nothing announces."""
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110 - a count that nothing announces
            await asyncio.sleep(0.005)


by_method = pytest.mark.parametrize("method", ALL, ids=lambda method: method.name)


class TransportContract:
    """Every promise of `wire.transport`, for one transport.

    A subclass has a fixture `endpoint`: a transport, and an address at which it can serve.
    `hands_over_objects` is true of a transport within one process, where a message that is
    handed over takes no memory of its own and has no limit.
    """

    hands_over_objects: ClassVar[bool] = False

    async def test_one_to_one(self, endpoint: Endpoint) -> None:
        """One request, one response."""
        async with running(endpoint, Echo()) as run:
            answer = await run.stub.call(ONE_TO_ONE, ASK)
        assert (3, True) == (answer.committed_size, answer.complete)

    @pytest.mark.parametrize("answers", [0, 1, 100])
    async def test_one_to_many(self, endpoint: Endpoint, answers: int) -> None:
        """One request, any number of responses, in order."""
        async with running(endpoint, Echo(answers=answers)) as run:
            assert list(range(7, 7 + answers)) == await run.read_all()

    @pytest.mark.parametrize("count", [0, 1, 100])
    async def test_many_to_one(self, endpoint: Endpoint, count: int) -> None:
        """Any number of requests, one response when the handler has seen their end."""
        async with running(endpoint, Echo()) as run:
            answer = await run.stub.call(MANY_TO_ONE, writes(count))
            assert (10 * count, count) == (answer.committed_size, run.echo.received)

    async def test_many_to_many(self, endpoint: Endpoint) -> None:
        """Requests and responses take turns: each request is made from the response before."""
        answered: asyncio.Queue[str] = asyncio.Queue()

        async def requests() -> AsyncGenerator[reflection.ServerReflectionRequest]:
            yield host("0")
            for n in range(1, 20):
                assert str(n - 1) == await answered.get()
                yield host(str(n))

        seen = []
        async with running(endpoint, Echo()) as run, asyncio.timeout(SOON):
            async for answer in run.stub.stream(MANY_TO_MANY, requests()):
                seen.append(answer.valid_host)
                answered.put_nowait(answer.valid_host)
        assert [*map(str, range(20)), "end"] == seen

    async def test_half_close(self, endpoint: Endpoint) -> None:
        """The end of the requests reaches the handler, which may answer after it."""
        async with running(endpoint, Echo()) as run:
            answers = run.stub.stream(MANY_TO_MANY, _hosts())
            assert ["end"] == [answer.valid_host async for answer in answers]
            assert run.echo.half_closed.is_set()

    async def test_many_calls_at_once(self, endpoint: Endpoint) -> None:
        """Hundreds of calls share one channel, and each gets its own answer."""
        requests = [bytestream.QueryWriteStatusRequest(resource_name="x" * n) for n in range(300)]
        async with running(endpoint, Echo()) as run:
            answers = await asyncio.gather(
                *(run.stub.call(ONE_TO_ONE, request) for request in requests)
            )
        assert list(range(300)) == [answer.committed_size for answer in answers]

    async def test_large_messages(self, endpoint: Endpoint) -> None:
        """Messages of some MiB arrive whole, both ways."""
        async with running(endpoint, Echo(answers=2, answer_bytes=4 * MIB)) as run:
            answer = await run.stub.call(MANY_TO_ONE, writes(3, 4 * MIB))
            assert 12 * MIB == answer.committed_size
            sizes = [len(m.data) async for m in run.stub.stream(ONE_TO_MANY, READ)]
            assert [4 * MIB] * 2 == sizes

    @by_method
    async def test_headers(self, endpoint: Endpoint, method: Method[Any, Any]) -> None:
        """Text and binary headers reach the handler, those of one name in order."""
        transport, address = endpoint
        echo = Echo()
        server = await transport.serve(Listener(address), compose(echo.handlers()))
        target = Target(server.address, headers=(("x-target", "t"),))
        channel = await transport.connect(target)
        sent = (("x-text", "a b"), ("x-data-bin", b"\x00\xff"), ("x-text", "c"))
        try:
            run = Running(echo, transport, server, channel, Registry())
            await start(run, method, metadata=sent)
        finally:
            await channel.close()
            await server.close()
        (call,) = echo.calls
        ours = sorted(tuple(pair) for pair in call.metadata if pair[0].startswith("x-"))
        assert sorted([("x-target", "t"), *sent]) == ours
        assert "a b" == call.header("x-text")
        assert b"\x00\xff" == call.header("x-data-bin")
        assert call.peer

    @by_method
    async def test_trailing_metadata(self, endpoint: Endpoint, method: Method[Any, Any]) -> None:
        """What a handler adds comes back with the status, text and binary."""
        trailing = (("x-text", "a"), ("x-data-bin", b"\x00\xff"))
        async with running(endpoint, Echo(trailing=trailing)) as run:
            options = CallOptions(received=Received())
            request: Any = {ONE_TO_ONE: ASK, ONE_TO_MANY: READ}.get(method) or _nothing()
            await _drive(run.channel, method, request, options)
        assert options.received is not None
        ours = [(k, v) for k, v in options.received.trailing if k.startswith("x-")]
        assert list(trailing) == ours

    @pytest.mark.parametrize("code", [code for code in Code if code], ids=lambda code: code.name)
    async def test_every_code(self, endpoint: Endpoint, code: Code) -> None:
        """GEN-13: each code arrives as it was, with message and hint, whatever the language."""
        error = RpcFailed(code, "Größe 名 is wrong\nvery", hint="Do ✓")
        async with running(endpoint, Echo(hook=raising(error))) as run:
            with pytest.raises(RpcFailed) as raised:
                await run.stub.call(ONE_TO_ONE, ASK)
        failed = raised.value
        assert (code, error.message, error.hint, True) == (
            failed.remote_code,
            failed.message,
            failed.hint,
            failed.answered,
        )

    @by_method
    async def test_status_details(self, endpoint: Endpoint, method: Method[Any, Any]) -> None:
        """GEN-03, EXE-13, EXE-15: missing blobs arrive as one detail with their names."""
        error = errors.MissingBlobs([SHA256.key_of(b"a"), SHA256.key_of(b"b")])
        async with running(endpoint, Echo(hook=raising(error))) as run:
            with pytest.raises(RpcFailed) as raised:
                await start(run, method)
        status = from_status(raised.value.status)
        assert (Code.FAILED_PRECONDITION, error.message) == (status.code, status.message)
        assert 1 == len(status.details)
        failure = detail(status, error_details.PreconditionFailure)
        assert failure is not None
        assert [("MISSING", f"blobs/{key.hash}/1") for key in error.keys] == [
            (violation.type, violation.subject) for violation in failure.violations
        ]

    async def test_thousands_of_missing_blobs(self, endpoint: Endpoint) -> None:
        """EXE-16: details that no client takes as headers are cut, and stay well-formed."""
        keys = [SHA256.key_of(b"%d" % n) for n in range(10_000)]
        error = errors.MissingBlobs(keys)
        async with running(endpoint, Echo(hook=raising(error))) as run:
            with pytest.raises(RpcFailed) as raised:
                await run.stub.call(ONE_TO_ONE, ASK)
        assert Code.FAILED_PRECONDITION == raised.value.remote_code
        assert len(raised.value.status) <= 4096
        failure = detail(from_status(raised.value.status), error_details.PreconditionFailure)
        assert failure is not None
        assert f"blobs/{keys[0].hash}/1" == failure.violations[0].subject

    async def test_retry_delay(self, endpoint: Endpoint) -> None:
        """GEN-02: what passes by itself says when to come back."""
        error = errors.ResourceExhausted("full", retry_after=2.5)
        async with running(endpoint, Echo(hook=raising(error))) as run:
            with pytest.raises(RpcFailed) as raised:
                await run.stub.call(ONE_TO_ONE, ASK)
        info = detail(from_status(raised.value.status), error_details.RetryInfo)
        assert info is not None
        assert 2_500 == info.retry_delay.ToMilliseconds()

    async def test_messages_before_an_error(self, endpoint: Endpoint) -> None:
        """What was sent before a stream fails arrives before its error."""

        async def failing(_call: object, _: object) -> AsyncGenerator[bytestream.ReadResponse]:
            yield bytestream.ReadResponse(data=b"1")
            yield bytestream.ReadResponse(data=b"2")
            raise errors.DataLoss("torn")

        transport, address = endpoint
        seen: list[bytestream.ReadResponse] = []
        server = await transport.serve(Listener(address), compose({ONE_TO_MANY: failing}))
        channel = await transport.connect(Target(server.address))
        try:
            failure = await _take(Stub(channel).stream(ONE_TO_MANY, READ), seen)
        finally:
            await channel.close()
            await server.close()
        assert [b"1", b"2"] == [answer.data for answer in seen]
        assert failure is not None
        assert (Code.DATA_LOSS, "torn") == (failure.remote_code, failure.message)

    @by_method
    async def test_unknown_methods(self, endpoint: Endpoint, method: Method[Any, Any]) -> None:
        """GEN-01: a method that is not served answers UNIMPLEMENTED, whatever its shape."""
        transport, address = endpoint
        server = await transport.serve(Listener(address), {})
        channel = await transport.connect(Target(server.address))
        try:
            run = Running(Echo(), transport, server, channel, Registry())
            async with asyncio.timeout(SOON):
                with pytest.raises(RpcFailed, match=method.name) as raised:
                    await start(run, method)
        finally:
            await channel.close()
            await server.close()
        assert Code.UNIMPLEMENTED == raised.value.remote_code

    @by_method
    async def test_malformed_requests(self, endpoint: Endpoint, method: Method[Any, Any]) -> None:
        """GEN-13: bytes that are no message are INVALID_ARGUMENT, never INTERNAL."""

        async def garbage() -> AsyncGenerator[bytes]:
            yield b"\xff\xff\xff"

        async with running(endpoint, Echo()) as run:
            request = garbage() if method.client_streams else b"\xff\xff\xff"
            with pytest.raises(RpcFailed, match="cannot be read") as raised:
                await _drive(run.channel, method, request, CallOptions())
        assert Code.INVALID_ARGUMENT == raised.value.remote_code

    @by_method
    async def test_deadlines(self, endpoint: Endpoint, method: Method[Any, Any]) -> None:
        """GEN-15: a deadline reaches the handler, cancels it, and ends the call for its caller."""
        async with running(endpoint, Echo(hook=forever)) as run:
            async with asyncio.timeout(SOON):
                with pytest.raises(RpcFailed) as raised:
                    await start(run, method, timeout=0.3)
                await run.echo.cancelled.wait()
            await until(lambda: not run.open_calls(method))
            (call,) = run.echo.calls
        assert Code.DEADLINE_EXCEEDED == raised.value.remote_code
        assert method.name in raised.value.message
        assert call.deadline is not None

    async def test_calls_without_a_deadline(self, endpoint: Endpoint) -> None:
        """A caller that gives no deadline sets none."""
        async with running(endpoint, Echo()) as run:
            await run.stub.call(ONE_TO_ONE, ASK)
            (call,) = run.echo.calls
        assert None is call.deadline

    @by_method
    async def test_a_cancelled_caller_cancels_the_handler(
        self, endpoint: Endpoint, method: Method[Any, Any]
    ) -> None:
        """GEN-15: cancelling the task that makes a call cancels what answers it."""
        async with running(endpoint, Echo(hook=forever)) as run:
            task = asyncio.create_task(start(run, method))
            async with asyncio.timeout(SOON):
                await run.echo.started.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await run.echo.cancelled.wait()
            await until(lambda: not run.open_calls(method))

    async def test_closing_a_stream_cancels_the_handler(self, endpoint: Endpoint) -> None:
        """GEN-15: a caller that has read enough closes the stream, and the handler stops."""
        async with running(endpoint, Echo(answers=1_000_000, answer_bytes=MIB)) as run:
            async with aclosing(run.stub.stream(ONE_TO_MANY, READ)) as answers:
                await anext(answers)
            async with asyncio.timeout(SOON):
                await run.echo.cancelled.wait()
            await until(lambda: not run.open_calls(ONE_TO_MANY))

    async def test_a_failing_request_iterator(self, endpoint: Endpoint) -> None:
        """A caller whose own iterator fails gets that error, and the handler ends."""
        async with running(endpoint, Echo()) as run:

            async def failing() -> AsyncGenerator[bytestream.WriteRequest]:
                yield bytestream.WriteRequest(data=b"x")
                await until(lambda: run.echo.received == 1)
                raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                await run.stub.call(MANY_TO_ONE, failing())
            await until(lambda: not run.open_calls(MANY_TO_ONE))

    async def test_thousands_of_cancelled_calls(self, endpoint: Endpoint) -> None:
        """GEN-15: 1,000 calls that are cancelled leave no handler at work."""
        async with running(endpoint, Echo(hook=forever)) as run:
            for method in (MANY_TO_ONE, ONE_TO_MANY):
                tasks = [asyncio.create_task(start(run, method)) for _ in range(500)]
                await until(lambda method=method: run.open_calls(method) > 400)  # type: ignore[misc]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await until(lambda method=method: not run.open_calls(method))  # type: ignore[misc]

    async def test_an_early_answer_to_a_large_upload(self, endpoint: Endpoint) -> None:
        """BSW-12: a handler may answer while 100 MiB are still to come; the caller gets its OK."""
        closed = asyncio.Event()

        async def requests() -> AsyncGenerator[bytestream.WriteRequest]:
            try:
                for _ in range(100):
                    yield bytestream.WriteRequest(data=bytes(MIB))
            finally:
                closed.set()

        async with running(endpoint, Echo(read_requests=False)) as run, asyncio.timeout(SOON):
            answer = await run.stub.call(MANY_TO_ONE, requests())
            assert MIB == answer.committed_size
            await closed.wait()

    async def test_an_early_end_of_both_streams(self, endpoint: Endpoint) -> None:
        """A handler that ends while requests still come ends the call with OK."""

        async def requests() -> AsyncGenerator[reflection.ServerReflectionRequest]:
            for _ in range(1000):
                yield host("x" * 10_000)

        async with running(endpoint, Echo(read_requests=False)) as run, asyncio.timeout(SOON):
            answers = run.stub.stream(MANY_TO_MANY, requests())
            assert [10_000] == [len(answer.valid_host) async for answer in answers]

    async def test_an_early_error_to_a_large_upload(self, endpoint: Endpoint) -> None:
        """A refusal in the middle of an upload arrives as it is, however often it happens."""
        error = errors.InvalidArgument("enough")
        codes = set()
        async with running(endpoint, Echo(hook=raising(error))) as run:
            for _ in range(20):
                with pytest.raises(RpcFailed) as raised:
                    await run.stub.call(MANY_TO_ONE, writes(50, MIB))
                codes.add((raised.value.remote_code, raised.value.message))
        assert {(Code.INVALID_ARGUMENT, "enough")} == codes

    async def test_a_slow_reader_slows_the_handler(self, endpoint: Endpoint) -> None:
        """Responses that nobody reads are made only up to a bound."""
        async with (
            running(endpoint, Echo(answers=1000, answer_bytes=MIB)) as run,
            aclosing(run.stub.stream(ONE_TO_MANY, READ)) as answers,
        ):
            await anext(answers)
            await _settled(lambda: run.echo.produced)
            assert run.echo.produced < 100

    async def test_a_slow_handler_slows_the_caller(self, endpoint: Endpoint) -> None:
        """Requests that the handler does not read are taken only up to a bound."""
        sent = 0

        async def requests() -> AsyncGenerator[bytestream.WriteRequest]:
            nonlocal sent
            for _ in range(1000):
                yield bytestream.WriteRequest(data=bytes(MIB))
                sent += 1

        async with running(endpoint, Echo(hook=forever)) as run:
            task = asyncio.create_task(run.stub.call(MANY_TO_ONE, requests()))
            await run.echo.started.wait()
            await _settled(lambda: sent)
            assert sent < 100
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    @pytest.mark.parametrize("size", [MIB - 100, MIB + 100])
    async def test_limits_of_requests(self, endpoint: Endpoint, size: int) -> None:
        """GEN-04: a request above the listener's limit is refused, one below it is taken."""
        async with running(endpoint, Echo(), receive=MIB) as run:
            codes = await _outcome(run.stub.call(MANY_TO_ONE, writes(1, size)))
        assert codes == ("" if size < MIB or self.hands_over_objects else "RESOURCE_EXHAUSTED")

    @pytest.mark.parametrize("size", [MIB - 100, MIB + 100])
    async def test_limits_of_responses(self, endpoint: Endpoint, size: int) -> None:
        """GEN-05: a response above the client's limit fails the call, one below it is taken."""
        async with running(endpoint, Echo(answer_bytes=size), accept=MIB) as run:
            codes = await _outcome(run.read_all())
        assert codes == ("" if size < MIB or self.hands_over_objects else "RESOURCE_EXHAUSTED")

    async def test_nobody_answers(self, endpoint: Endpoint) -> None:
        """A call to an address that nobody serves fails at once and says so."""
        transport, address = endpoint
        server = await transport.serve(Listener(address), {})
        await server.close()
        channel = await transport.connect(Target(server.address))
        try:
            async with asyncio.timeout(SOON):
                with pytest.raises(RpcFailed, match="Nobody answers at") as raised:
                    await Stub(channel).call(ONE_TO_ONE, ASK)
        finally:
            await channel.close()
        assert (Code.UNAVAILABLE, False) == (raised.value.remote_code, raised.value.answered)
        assert server.address in raised.value.message

    async def test_a_server_that_comes_back(self, endpoint: Endpoint) -> None:
        """A channel finds a server again that was gone for a while."""
        async with running(endpoint, Echo()) as run:
            await run.stub.call(ONE_TO_ONE, ASK)
            await run.server.close()
            with pytest.raises(RpcFailed):
                await run.stub.call(ONE_TO_ONE, ASK)
            routes = compose(run.echo.handlers())
            again = await run.transport.serve(Listener(run.server.address), routes)
            try:
                async with asyncio.timeout(SOON):
                    while await _outcome(run.stub.call(ONE_TO_ONE, ASK)):  # noqa: ASYNC110 - asks
                        await asyncio.sleep(0.05)
            finally:
                await again.close()

    async def test_an_address_that_is_taken(self, endpoint: Endpoint) -> None:
        """Serving where somebody serves already is refused, with the address and what to do."""
        transport, _ = endpoint
        async with running(endpoint, Echo()) as run:
            with pytest.raises(Unavailable, match="Cannot listen on") as raised:
                await transport.serve(Listener(run.server.address), {})
            assert run.server.address in raised.value.message
            assert raised.value.hint
            await run.stub.call(ONE_TO_ONE, ASK)

    async def test_an_address_that_is_none(self, endpoint: Endpoint) -> None:
        """What is no address is refused as such, by both sides."""
        transport, _ = endpoint
        for address in ("", "nonsense:", "ftp://x:1"):
            with pytest.raises(errors.InvalidArgument):
                await transport.serve(Listener(address), {})
            with pytest.raises(errors.InvalidArgument):
                await transport.connect(Target(address))

    async def test_a_drain_lets_open_calls_end(self, endpoint: Endpoint) -> None:
        """A draining server takes no new calls, and returns when the open ones have ended."""
        gate = asyncio.Event()

        async def hook(_: object) -> None:
            await gate.wait()

        async with running(endpoint, Echo(hook=hook)) as run, asyncio.timeout(SOON):
            call = asyncio.create_task(run.stub.call(ONE_TO_ONE, ASK))
            await run.echo.started.wait()
            drain = asyncio.create_task(run.server.drain(SOON))
            await until_refused(run)
            assert not drain.done()
            gate.set()
            assert 3 == (await call).committed_size
            await drain

    @by_method
    async def test_a_drain_cuts_what_lasts_too_long(
        self, endpoint: Endpoint, method: Method[Any, Any]
    ) -> None:
        """After the grace, open calls are cut: their handlers have ended when drain returns."""
        async with running(endpoint, Echo(hook=forever)) as run, asyncio.timeout(SOON):
            call = asyncio.create_task(start(run, method))
            await run.echo.started.wait()
            await run.server.drain(0.05)
            assert run.echo.cancelled.is_set()
            assert 0 == run.open_calls(method)
            with pytest.raises(RpcFailed) as raised:
                await call
        assert Code.UNAVAILABLE == raised.value.remote_code

    @by_method
    async def test_closing_a_channel_cuts_its_calls(
        self, endpoint: Endpoint, method: Method[Any, Any]
    ) -> None:
        """Open calls of a closed channel fail, and their handlers are cancelled."""
        async with running(endpoint, Echo(hook=forever)) as run, asyncio.timeout(SOON):
            call = asyncio.create_task(start(run, method))
            await run.echo.started.wait()
            await run.channel.close()
            with pytest.raises(RpcFailed) as raised:
                await call
            await run.echo.cancelled.wait()
            with pytest.raises(RpcFailed):
                await run.stub.call(ONE_TO_ONE, ASK)
        assert Code.CANCELLED == raised.value.remote_code


async def until_refused(run: Running) -> None:
    """Waits until new calls are not answered any more."""
    async with asyncio.timeout(SOON):
        while True:
            channel = await run.transport.connect(Target(run.server.address))
            try:
                outcome = await _outcome(Stub(channel).call(methods.HEALTH_CHECK, _NO_HEALTH))
            finally:
                await channel.close()
            if outcome == Code.UNAVAILABLE.name:
                return
            await asyncio.sleep(0.01)


_NO_HEALTH: Final = methods.HEALTH_CHECK.request()


async def _drive(
    channel: Channel, method: Method[Any, Any], request: Any, options: CallOptions
) -> None:
    """Makes a call in payloads, and takes all that comes back."""
    if method.server_streams:
        async for _ in channel.stream(method, request, options):
            pass
    else:
        await channel.call(method, request, options)


async def _take(answers: AsyncGenerator[A], seen: list[A]) -> RpcFailed | None:
    """Takes all messages of a stream; answers how it failed."""
    try:
        async for answer in answers:
            seen.append(answer)  # noqa: PERF401 - what came before a failure counts
    except RpcFailed as failed:
        return failed
    return None


async def _nothing() -> AsyncGenerator[Any]:
    return
    yield


async def _outcome(work: Awaitable[object]) -> str:
    """The name of the code that a call failed with, or empty."""
    try:
        await work
    except RpcFailed as failed:
        return failed.remote_code.name
    return ""


async def _settled(count: Callable[[], int]) -> None:
    """Waits until a count has not moved for half a second, or is beyond every bound."""
    seen: Sequence[int] = ()
    while len(seen) < 50 or len(set(seen[-50:])) > 1:
        seen = (*seen, count())
        if seen[-1] >= 100:
            return
        await asyncio.sleep(0.01)
