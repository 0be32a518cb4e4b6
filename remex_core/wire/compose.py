"""Puts around each handler, once at start-up, what every RPC has in common.

A composed route parses what came as bytes, builds the `Call`, maps errors to statuses, counts,
and writes one canonical log line per call. So transports carry payloads and nothing else, and
behave alike; and malformed bytes get our error and never a library's (GEN-13).
"""

from __future__ import annotations

import logging
import secrets
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError, Message

from remex_core import clock
from remex_core.errors import Code, Internal, InvalidArgument, RemexError
from remex_core.telemetry import names
from remex_core.telemetry.metrics import Registry
from remex_core.telemetry.tracing import traced
from remex_core.wire.call import Call
from remex_core.wire.status import to_status_error
from remex_core.wire.transport import Route

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from opentelemetry.trace import Tracer

    from remex_core.clock import Clock
    from remex_core.wire.call import Handler, Payload
    from remex_core.wire.methods import Method
    from remex_core.wire.transport import (
        Incoming,
        Request,
        StatusError,
        StreamRoute,
        Trailing,
        UnaryRoute,
    )

log = logging.getLogger("remex.rpc")

_SERVER_FAULTS = frozenset(
    (Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS, Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED)
)


def compose(
    handlers: Mapping[Method[Any, Any], Handler],
    *,
    registry: Registry | None = None,
    tracer: Tracer | None = None,
    clock: Clock = clock.SYSTEM,
) -> dict[str, Route]:
    """The routes by path, ready for a transport.

    Args:
        handlers: what answers each method; see `wire.call` for their shapes.
        registry: where calls are counted; one that nobody reads if None.
        tracer: makes a span of each call; None makes none and costs nothing.
        clock: measures durations and deadlines.
    """
    registry = Registry() if registry is None else registry
    routes = {}
    for method, bare in handlers.items():
        handler = bare if tracer is None else traced(method, bare, tracer)
        account = _Account(method, registry, clock)
        if method.server_streams:
            routes[method.path] = Route(method, stream=_stream(method, handler, account))
        else:
            routes[method.path] = Route(method, unary=_unary(method, handler, account))
    return routes


class _Account:
    """What is counted and logged of one method's calls."""

    def __init__(self, method: Method[Any, Any], registry: Registry, clock: Clock) -> None:
        labels = (method.service, method.name)
        self._path = method.path
        self._registry = registry
        self._labels = labels
        self._ended = {
            Code.OK: registry.number(names.RPC_CALLS, *labels, Code.OK.name),
        }
        self._seconds = registry.histogram(names.RPC_SECONDS, *labels)
        self.open = registry.number(names.RPC_OPEN, *labels)
        self.monotonic = clock.monotonic

    def ended(self, call: Call, started: float, code: Code, message: str = "") -> None:
        """Counts a call that ended, and logs its line."""
        seconds = self.monotonic() - started
        self.open.value -= 1
        self._seconds.observe(seconds)
        number = self._ended.get(code)
        if number is None:
            number = self._registry.number(names.RPC_CALLS, *self._labels, code.name)
            self._ended[code] = number
        number.value += 1
        level = logging.WARNING if code in _SERVER_FAULTS else logging.DEBUG
        if log.isEnabledFor(level):
            self._log(level, call, seconds, code, message)

    def failed(self, call: Call, started: float, error: Exception) -> StatusError:
        """Counts a call whose handler raised, and answers what its route raises for it."""
        if not isinstance(error, RemexError):
            incident = secrets.token_hex(4)
            log.error("Incident %s in %s", incident, self._path, exc_info=error)
            error = Internal(
                f"An unexpected error ended this call; the server's log has it as "
                f"incident {incident}.",
                hint="Report it with the server's log lines around the incident.",
            )
        self.ended(call, started, error.status_code, error.message)
        return to_status_error(error)

    def _log(self, level: int, call: Call, seconds: float, code: Code, message: str) -> None:
        fields: dict[str, object] = {
            "rpc": self._path,
            "code": code.name,
            "ms": round(seconds * 1000, 3),
            "peer": call.peer,
        }
        if message:
            fields["error"] = message
        told = call.request_metadata
        if told is not None:
            fields["tool"] = told.tool_details.tool_name
            fields["invocation"] = told.tool_invocation_id
            fields["action"] = told.action_id
        log.log(level, "%s %s", self._path, code.name, extra={"fields": fields})


def _unary(method: Method[Any, Any], handler: Handler, account: _Account) -> UnaryRoute:
    parse = _parser(method)
    streamed = method.client_streams
    monotonic = account.monotonic

    async def route(incoming: Incoming, request: Request, trailing: Trailing) -> Payload:
        started = monotonic()
        call = _call(method, incoming, started, trailing)
        account.open.value += 1
        try:
            message = _Parsed(request, method) if streamed else parse(request)
            answer: Payload = await handler(call, message)  # type: ignore[misc] # by its method
        except Exception as error:
            raise account.failed(call, started, error) from error
        except BaseException:
            # Cancelled, closed by the transport, or the whole process ends.
            account.ended(call, started, Code.CANCELLED)
            raise
        account.ended(call, started, Code.OK)
        return answer

    return route


def _stream(method: Method[Any, Any], handler: Handler, account: _Account) -> StreamRoute:
    parse = _parser(method)
    streamed = method.client_streams
    monotonic = account.monotonic

    async def route(
        incoming: Incoming, request: Request, trailing: Trailing
    ) -> AsyncGenerator[Payload]:
        started = monotonic()
        call = _call(method, incoming, started, trailing)
        account.open.value += 1
        try:
            message = _Parsed(request, method) if streamed else parse(request)
            answers: AsyncGenerator[Payload] = handler(call, message)  # type: ignore[assignment] # by its method
            async with aclosing(answers):
                async for answer in answers:
                    yield answer
        except Exception as error:
            raise account.failed(call, started, error) from error
        except BaseException:
            # Cancelled, closed by the transport, or the whole process ends.
            account.ended(call, started, Code.CANCELLED)
            raise
        account.ended(call, started, Code.OK)

    return route


def _call(method: Method[Any, Any], incoming: Incoming, started: float, trailing: Trailing) -> Call:
    left = incoming.time_remaining
    deadline = None if left is None else started + left
    return Call(method, incoming.metadata, incoming.peer, deadline, trailing=trailing)


def _parser(method: Method[Any, Any]) -> Any:
    from_string = method.request.FromString

    def parse(payload: Payload) -> Message:
        if isinstance(payload, Message):
            return payload
        try:
            message: Message = from_string(payload)
        except DecodeError as error:
            raise InvalidArgument(
                f"The request to {method.path} cannot be read: its bytes are no "
                f"{method.request.DESCRIPTOR.full_name} message.",
            ) from error
        return message

    return parse


class _Parsed:
    """The messages of a client's stream; a malformed one ends it with InvalidArgument."""

    __slots__ = ("_next", "_parse")

    def __init__(self, payloads: Any, method: Method[Any, Any]) -> None:
        self._next = aiter(payloads).__anext__
        self._parse = _parser(method)

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        message: Message = self._parse(await self._next())
        return message
