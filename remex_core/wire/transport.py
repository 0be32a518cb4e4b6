"""The transport contract: how RPCs reach handlers, and nothing else.

A transport moves payloads between a listener and routes. Parsing, error mapping, limits, metrics
and tracing are composed into each route once, at start-up (`wire.compose`), so all transports
behave alike. `testing.TransportContract` is what each must pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping

    from google.protobuf.message import Message

    from remex_core.errors import Code
    from remex_core.wire.call import Metadata, MetadataValue, Payload
    from remex_core.wire.methods import Method

    Request: TypeAlias = Payload | AsyncIterable[Payload]
    Trailing: TypeAlias = list[tuple[str, MetadataValue]]
    UnaryRoute: TypeAlias = Callable[["Incoming", Request, Trailing], Awaitable[Payload]]
    StreamRoute: TypeAlias = Callable[["Incoming", Request, Trailing], AsyncGenerator[Payload]]


@dataclass(frozen=True, slots=True)
class Listener:
    """Where to listen: `host:port` (port 0: any free one), or `unix:/path`.

    `max_receive_bytes` bounds one incoming message (GEN-04).
    """

    address: str
    max_receive_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to call: `grpc://host:port`, `host:port`, or `unix:/path`."""

    address: str
    headers: Metadata = ()
    max_receive_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Incoming:
    """What a transport knows of a call when its headers are in.

    `time_remaining` is in seconds, or None without a deadline.
    """

    metadata: Metadata
    peer: str
    time_remaining: float | None


class StatusError(Exception):
    """How a route ends a call that does not end with OK; transports send it as it stands."""

    def __init__(
        self, code: Code, message: str, trailing: tuple[tuple[str, MetadataValue], ...] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.trailing = trailing


@dataclass(frozen=True, slots=True)
class Route:
    """One served method: the table's row, and the composed handler.

    Exactly one of `unary` and `stream` is set, by whether the server streams. The request is one
    payload, or an async iterator of payloads where the client streams. Either raises StatusError
    and nothing else, apart from CancelledError. What they add to the `trailing` list is sent
    with an OK status.
    """

    method: Method[Message, Message]
    unary: UnaryRoute | None = None
    stream: StreamRoute | None = None


class Server(ABC):
    """One listener that is being served."""

    @property
    @abstractmethod
    def address(self) -> str:
        """`host:port` with the real port, or `unix:/path`."""

    @abstractmethod
    async def drain(self, grace: float) -> None:
        """Takes no new calls and returns when the open ones ended, or were cut after `grace` s."""

    @abstractmethod
    async def close(self) -> None:
        """Cuts all calls and frees the address; after `drain` as well."""


@dataclass(slots=True)
class Received:
    """What came back beside the messages of one call: filled in when the call has ended with OK."""

    trailing: list[tuple[str, MetadataValue]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What one outgoing call brings along: headers, and seconds until its deadline.

    Whoever wants the trailing metadata of the answer gives a `received` to fill.
    """

    metadata: Metadata = ()
    timeout: float | None = None
    received: Received | None = None


class Channel(ABC):
    """A connection, kept alive and re-established by itself, over which calls are made.

    Both ways of calling raise `errors.RpcFailed` for any status but OK, with the code, message
    and details that the other side gave (UNAVAILABLE where there is none).
    """

    @abstractmethod
    async def call(
        self,
        method: Method[Message, Message],
        request: Request,
        options: CallOptions,
    ) -> Payload:
        """One response. Cancelling the caller cancels the call."""

    @abstractmethod
    def stream(
        self,
        method: Method[Message, Message],
        request: Request,
        options: CallOptions,
    ) -> AsyncGenerator[Payload]:
        """Many responses. Closing the generator cancels the call."""

    @abstractmethod
    async def close(self) -> None:
        """Cuts open calls and the connection."""


class Transport(ABC):
    """One way to move payloads between processes, or within one."""

    @abstractmethod
    async def serve(self, listener: Listener, routes: Mapping[str, Route]) -> Server:
        """Serves `routes` (by method path); any other path answers UNIMPLEMENTED (GEN-01).

        Raises:
            errors.Unavailable: if the address cannot be taken, saying by what it is held if known.
        """

    @abstractmethod
    async def connect(self, target: Target) -> Channel:
        """A channel; the first connection is made when the first call is."""
