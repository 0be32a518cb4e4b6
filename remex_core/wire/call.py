"""What a handler may know of the call it answers.

Handlers see this and their messages, never a transport. A handler is one of

- `async def f(call, request) -> response`,
- `def f(call, request) -> AsyncGenerator[response]` where the server streams,
- `async def f(call, requests) -> response` where the client streams,
- `def f(call, requests) -> AsyncGenerator[response]` where both do,

with `requests` an async iterator. A handler whose answer is in memory finishes without awaiting.
A response may also be `bytes`: the serialised message, for handlers that have it ready.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from google.protobuf.message import Message

if TYPE_CHECKING:
    from remex_core.proto import reapi
    from remex_core.wire.methods import Method

MetadataValue: TypeAlias = str | bytes
Metadata: TypeAlias = tuple[tuple[str, MetadataValue], ...]
"""Header pairs in wire order; names are lowercase, values of names ending in `-bin` are bytes."""

Payload: TypeAlias = bytes | Message
"""One message: serialised, or as an object where both sides share the process.

An object that was handed over belongs to both sides and is not changed by either.
"""


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
    and interceptors and sent with the status. `request_metadata` is the client's
    RequestMetadata where it sent one that could be read (RMD-01, GEN-07, GEN-09).
    """

    method: Method[Message, Message]
    metadata: Metadata = ()
    peer: str = ""
    deadline: float | None = None
    identity: Identity = ANONYMOUS
    request_metadata: reapi.RequestMetadata | None = None
    traceparent: str = ""
    trailing: list[tuple[str, MetadataValue]] = field(default_factory=list)

    def header(self, name: str) -> MetadataValue | None:
        """The first value of a header, or None."""
        for key, value in self.metadata:
            if key == name:
                return value
        return None
