"""What is put around each handler."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from remex_core import errors
from remex_core.clock import ManualClock
from remex_core.errors import Code
from remex_core.proto import bytestream, reapi
from remex_core.telemetry import names
from remex_core.telemetry.metrics import Registry
from remex_core.wire import methods
from remex_core.wire.call import REQUEST_METADATA_HEADER, Call
from remex_core.wire.compose import compose
from remex_core.wire.transport import Incoming, StatusError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from remex_core.wire.call import Handler, Payload
    from remex_core.wire.transport import Trailing

QUERY = methods.QUERY_WRITE_STATUS
LABELS = (QUERY.service, QUERY.name)
REQUEST = bytestream.QueryWriteStatusRequest(resource_name="abc")
ANSWER = bytestream.QueryWriteStatusResponse(committed_size=1)
INCOMING = Incoming((("a", "b"),), "ipv4:1.2.3.4:5", None)


async def fine(_call: Call, _request: object) -> bytestream.QueryWriteStatusResponse:
    return ANSWER


async def unary(
    handler: Handler,
    request: Any = REQUEST,
    *,
    incoming: Incoming = INCOMING,
    trailing: Trailing | None = None,
    **options: Any,
) -> Payload:
    route = compose({QUERY: handler}, **options)[QUERY.path].unary
    assert route is not None
    return await route(incoming, request, [] if trailing is None else trailing)


def stream(handler: Handler, request: Any, **options: Any) -> AsyncGenerator[Payload]:
    route = compose({methods.READ: handler}, **options)[methods.READ.path].stream
    assert route is not None
    return route(INCOMING, request, [])


def raising(error: BaseException) -> Handler:
    async def handler(_call: Call, _request: object) -> bytes:
        raise error

    return handler


async def test_a_request_comes_as_bytes_or_as_the_object() -> None:
    """Bytes are parsed; an object that was handed over is given as it is."""
    seen: list[object] = []

    async def handler(_call: Call, request: object) -> bytes:
        seen.append(request)
        return b"ready"

    assert b"ready" == await unary(handler, REQUEST.SerializeToString())
    assert b"ready" == await unary(handler, REQUEST)
    assert [REQUEST, REQUEST] == seen
    assert seen[1] is REQUEST


async def test_a_handler_learns_of_its_call() -> None:
    """Headers, peer and deadline are in the call; what it adds to `trailing` is the transport's."""
    clock = ManualClock(steady=100.0)
    trailing: Trailing = []

    async def handler(call: Call, _request: object) -> bytes:
        assert (QUERY, INCOMING.metadata, INCOMING.peer, 107.5) == (
            call.method,
            call.metadata,
            call.peer,
            call.deadline,
        )
        call.trailing.append(("x", "y"))
        return b""

    incoming = Incoming(INCOMING.metadata, INCOMING.peer, 7.5)
    await unary(handler, incoming=incoming, trailing=trailing, clock=clock)
    assert [("x", "y")] == trailing


@pytest.mark.parametrize(
    "garbage", [b"\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xfe"], ids=["tag", "short", "utf-8"]
)
async def test_malformed_bytes_are_the_clients_fault(garbage: bytes) -> None:
    """GEN-13: bytes that cannot be parsed are INVALID_ARGUMENT, with the message's name."""
    with pytest.raises(StatusError, match=r"google\.bytestream\.QueryWriteStatus") as raised:
        await unary(fine, garbage)
    assert Code.INVALID_ARGUMENT == raised.value.code
    with pytest.raises(StatusError) as raised:
        await anext(stream(raising(AssertionError()), garbage))
    assert Code.INVALID_ARGUMENT == raised.value.code


async def test_a_malformed_message_in_a_stream() -> None:
    """GEN-13: the handler meets the error where it reads the message, and may clean up."""
    cleaned = []

    async def payloads() -> AsyncIterator[bytes]:
        yield b""
        yield b"\xff"

    async def handler(_call: Call, requests: AsyncIterator[bytestream.WriteRequest]) -> bytes:
        try:
            async for _ in requests:
                pass
        finally:
            cleaned.append(True)
        return b""

    route = compose({methods.WRITE: handler})[methods.WRITE.path].unary
    assert route is not None
    with pytest.raises(StatusError) as raised:
        await route(INCOMING, payloads(), [])
    assert (Code.INVALID_ARGUMENT, [True]) == (raised.value.code, cleaned)


async def test_unknown_fields_and_numbers_are_tolerated() -> None:
    """GEN-11: fields and enum numbers of a later version of the protocol do no harm."""

    async def handler(_call: Call, request: reapi.FindMissingBlobsRequest) -> bytes:
        assert 12345 == request.digest_function
        return b""

    route = compose({methods.FIND_MISSING_BLOBS: handler})[methods.FIND_MISSING_BLOBS.path].unary
    assert route is not None
    known = reapi.FindMissingBlobsRequest(instance_name="x").SerializeToString()
    later = known + b"\x18\xb9\x60" + b"\xa2\x06\x03new"
    assert b"" == await route(INCOMING, later, [])


async def test_an_error_of_the_tree_keeps_its_code_and_message() -> None:
    """GEN-13: services raise, and the status follows from the class."""
    with pytest.raises(StatusError, match="no such blob") as raised:
        await unary(raising(errors.NotFound("no such blob")))
    assert Code.NOT_FOUND == raised.value.code


async def test_an_unexpected_error_is_an_incident(caplog: pytest.LogCaptureFixture) -> None:
    """GEN-13: a bug is INTERNAL with an incident id; text and traceback are only in the log."""
    with pytest.raises(StatusError) as raised:
        await unary(raising(ZeroDivisionError("secret")))
    assert Code.INTERNAL == raised.value.code
    assert "secret" not in raised.value.message
    (record,) = [record for record in caplog.records if record.exc_info]
    incident = record.getMessage().split()[1]
    assert f"incident {incident}." in raised.value.message
    assert QUERY.path in record.getMessage()


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(1)])
async def test_cancellation_and_exits_pass(error: BaseException) -> None:
    """GEN-15: a route turns nothing into a status that is not an answer."""
    registry = Registry()
    with pytest.raises(type(error)) as raised:
        await unary(raising(error), registry=registry)
    assert raised.value is error
    assert 0 == registry.number(names.RPC_OPEN, *LABELS).value


async def test_closing_a_stream_closes_its_handler() -> None:
    """GEN-15: whoever stops taking responses has the handler's cleanup run before it goes on."""
    registry = Registry()
    cleaned = []

    async def handler(_call: Call, _request: object) -> AsyncGenerator[bytes]:
        try:
            while True:
                yield b""
        finally:
            cleaned.append(True)

    answers = stream(handler, b"", registry=registry)
    await anext(answers)
    await answers.aclose()
    labels = (methods.READ.service, methods.READ.name)
    assert [True] == cleaned
    assert 0 == registry.number(names.RPC_OPEN, *labels).value
    assert 1 == registry.number(names.RPC_CALLS, *labels, "CANCELLED").value


async def test_a_handler_that_raises_before_it_streams() -> None:
    """A handler that is a plain function may refuse before it makes its generator."""

    def handler(_call: Call, _request: object) -> AsyncGenerator[bytes]:
        raise errors.InvalidArgument("no")

    with pytest.raises(StatusError, match="no"):
        await anext(stream(handler, b""))


async def test_calls_are_counted_by_method_and_code() -> None:
    """Calls that ended, their durations and those at work are counted, and nothing else."""
    registry = Registry()
    clock = ManualClock()

    async def slow(_call: Call, _request: object) -> bytes:
        assert 1 == registry.number(names.RPC_OPEN, *LABELS).value
        clock.advance(2.0)
        return b""

    routes = compose({QUERY: slow}, registry=registry, clock=clock)
    route = routes[QUERY.path].unary
    assert route is not None
    await route(INCOMING, b"", [])
    await route(INCOMING, b"", [])
    with pytest.raises(StatusError):
        await route(INCOMING, b"\xff", [])
    assert (2, 1, 0) == (
        registry.number(names.RPC_CALLS, *LABELS, "OK").value,
        registry.number(names.RPC_CALLS, *LABELS, "INVALID_ARGUMENT").value,
        registry.number(names.RPC_OPEN, *LABELS).value,
    )
    assert 4.0 == registry.histogram(names.RPC_SECONDS, *LABELS).sum


async def test_one_line_for_each_call(caplog: pytest.LogCaptureFixture) -> None:
    """Each call leaves one line with what happened, for whom and how long it took."""
    caplog.set_level(logging.DEBUG, "remex.rpc")
    told = reapi.RequestMetadata(
        tool_details=reapi.ToolDetails(tool_name="bazel"), tool_invocation_id="i", action_id="a"
    )
    incoming = Incoming(((REQUEST_METADATA_HEADER, told.SerializeToString()),), INCOMING.peer, None)
    await unary(fine, incoming=incoming, clock=ManualClock())
    with pytest.raises(StatusError):
        await unary(raising(errors.NotFound("gone")), clock=ManualClock())
    with pytest.raises(StatusError):
        await unary(raising(errors.StoreUnavailable("away")), clock=ManualClock())
    lines = [
        (record.levelname, record.getMessage(), vars(record)["fields"]) for record in caplog.records
    ]
    shared = {"rpc": QUERY.path, "ms": 0.0, "peer": INCOMING.peer}
    assert [
        (
            "DEBUG",
            f"{QUERY.path} OK",
            shared | {"code": "OK", "tool": "bazel", "invocation": "i", "action": "a"},
        ),
        ("DEBUG", f"{QUERY.path} NOT_FOUND", shared | {"code": "NOT_FOUND", "error": "gone"}),
        ("WARNING", f"{QUERY.path} UNAVAILABLE", shared | {"code": "UNAVAILABLE", "error": "away"}),
    ] == lines
