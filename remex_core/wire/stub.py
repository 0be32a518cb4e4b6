"""Calling a method of the table over a channel, in messages.

The one place where outgoing requests are serialised and answers parsed, so that channels stay
about payloads and callers about messages; and where the current trace is sent along.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import Message

from remex_core.telemetry.tracing import outgoing
from remex_core.wire.transport import CallOptions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable

    from remex_core.wire.call import Metadata, Payload
    from remex_core.wire.methods import Method
    from remex_core.wire.transport import Channel

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)


class Stub:
    """Typed calls over one channel; `metadata` goes with each of them."""

    def __init__(self, channel: Channel, metadata: Metadata = ()) -> None:
        self._channel = channel
        self._metadata = metadata

    async def call(
        self,
        method: Method[Q, A],
        request: Q | AsyncIterable[Q],
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> A:
        """The one response of a call.

        Raises:
            RpcFailed: for any status but OK.
        """
        options = CallOptions(self._metadata + metadata + outgoing(), timeout)
        return _decode(method, await self._channel.call(method, request, options))  # type: ignore[arg-type] # Method is invariant

    async def stream(
        self,
        method: Method[Q, A],
        request: Q | AsyncIterable[Q],
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> AsyncGenerator[A]:
        """The responses of a call, as they come; closing the generator cancels the call.

        Raises:
            RpcFailed: for any status but OK.
        """
        options = CallOptions(self._metadata + metadata + outgoing(), timeout)
        async with aclosing(self._channel.stream(method, request, options)) as answers:  # type: ignore[arg-type] # Method is invariant
            async for answer in answers:
                yield _decode(method, answer)


def _decode(method: Method[Q, A], payload: Payload) -> A:
    if isinstance(payload, bytes):
        return method.response.FromString(payload)
    assert isinstance(payload, method.response)
    return payload
