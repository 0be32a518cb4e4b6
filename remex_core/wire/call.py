"""What a handler may know of the call it answers.

Handlers see this and their messages, never a transport. A handler is one of

- `async def f(call, request) -> response`,
- `def f(call, request) -> AsyncGenerator[response]` where the server streams,
- `async def f(call, requests) -> response` where the client streams,
- `def f(call, requests) -> AsyncGenerator[response]` where both do,

with `requests` an async iterator. Its end says that no more will come, not that all has come: a
caller that vanished looks the same, so what must be complete says so in a message.

A handler whose answer is in memory finishes without awaiting. A response may also be `bytes`: the
serialised message, for handlers that have it ready.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from google.protobuf.message import DecodeError, Message

from remex_core.proto import reapi

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from typing import Any

    from remex_core.wire.methods import Method

    Handler: TypeAlias = Callable[["Call", Any], Awaitable["Payload"] | AsyncGenerator["Payload"]]

MetadataValue: TypeAlias = str | bytes
Metadata: TypeAlias = tuple[tuple[str, MetadataValue], ...]
"""Header pairs; names are lowercase, values of names ending in `-bin` are bytes.

Values of one name keep their order; names may be regrouped on the way.
"""

Payload: TypeAlias = bytes | Message
"""One message: serialised, or as an object where both sides share the process.

An object that was handed over belongs to both sides and is not changed by either.
"""

REQUEST_METADATA_HEADER: Final = "build.bazel.remote.execution.v2.requestmetadata-bin"
_REQUEST_METADATA_HEADERS: Final = frozenset(
    (REQUEST_METADATA_HEADER, "google.devtools.remoteexecution.v1test.requestmetadata-bin")
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls. Without authentication everybody is `anonymous`."""

    name: str = "anonymous"
    roles: frozenset[str] = frozenset()


ANONYMOUS = Identity()


@dataclass(slots=True, eq=False)
class Call:
    """One call in progress.

    `deadline` is on the monotonic clock in seconds, or None. `trailing` is filled by handlers
    and interceptors and sent with the status.
    """

    method: Method[Message, Message]
    metadata: Metadata = ()
    peer: str = ""
    deadline: float | None = None
    identity: Identity = ANONYMOUS
    trailing: list[tuple[str, MetadataValue]] = field(default_factory=list)

    def header(self, name: str) -> MetadataValue | None:
        """The first value of a header, or None."""
        for key, value in self.metadata:
            if key == name:
                return value
        return None

    @property
    def request_metadata(self) -> reapi.RequestMetadata | None:
        """The client's RequestMetadata, or None where it sent none that can be read.

        It informs and never decides (RMD-01); nothing in it needs to have a form (RMD-02). Older
        clients send it under an older name (GEN-09). Shared between calls: not to be changed.
        """
        for key, value in self.metadata:
            if key in _REQUEST_METADATA_HEADERS and isinstance(value, bytes):
                return _parse_request_metadata(value)
        return None

    @property
    def traceparent(self) -> str:
        """The W3C trace context of the caller, or empty."""
        value = self.header("traceparent")
        return value if isinstance(value, str) else ""


@lru_cache(maxsize=1024)
def _parse_request_metadata(value: bytes) -> reapi.RequestMetadata | None:
    """Remembered, because the calls of one action carry the same header (GEN-07)."""
    try:
        return reapi.RequestMetadata.FromString(value) if value else None
    except DecodeError:
        return None
