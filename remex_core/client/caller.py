"""Calls with what all of a client's calls share: headers, deadlines, errors of the tree."""

from __future__ import annotations

from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from google.protobuf.message import Message

from remex_core import __version__
from remex_core.digest import SHA256, DigestFunction, Key, KeyMaker
from remex_core.errors import RpcFailed, Unreachable
from remex_core.proto import reapi
from remex_core.wire.call import REQUEST_METADATA_HEADER
from remex_core.wire.status import from_status, to_error
from remex_core.wire.stub import Stub

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Iterator

    from remex_core.wire.call import Metadata
    from remex_core.wire.methods import Method
    from remex_core.wire.transport import Channel

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)

TIMEOUT: Final = 60.0
"""Seconds that a call may take unless said otherwise; what Bazel gives."""


class Caller:
    """One instance of one server, over one channel.

    Args:
        channel: over which all calls go.
        instance: the instance name that requests carry.
        function: names and hashes all content.
        invocation: tells this run from others in the server's logs.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        instance: str = "",
        function: DigestFunction = SHA256,
        invocation: str = "",
    ) -> None:
        self.instance = instance
        self.function = function
        self._keys = KeyMaker(function)
        self._metadata = reapi.RequestMetadata(
            tool_details=reapi.ToolDetails(tool_name="remex", tool_version=__version__),
            tool_invocation_id=invocation,
        )
        self._stub = Stub(channel)

    def key_of(self, data: bytes) -> Key:
        """The key under which `data` is stored."""
        return self.function.key_of(data)

    def key(self, digest: reapi.Digest) -> Key:
        """The key of a digest that the server sent.

        Raises:
            MalformedDigest: if it is none of this client's digest function.
        """
        return self._keys.key(digest.hash, digest.size_bytes)

    async def call(
        self,
        method: Method[Q, A],
        request: Q | AsyncIterable[Q],
        *,
        timeout: float | None = TIMEOUT,
        action: str = "",
    ) -> A:
        """The one response of a call; `action` is the hash of the action it is made for.

        Raises:
            Unreachable: if nobody answers.
            RemexError: what the server's status stands for.
        """
        with _errors():
            return await self._stub.call(
                method, request, timeout=timeout, metadata=self._headers(action)
            )

    async def stream(
        self,
        method: Method[Q, A],
        request: Q,
        *,
        timeout: float | None = TIMEOUT,
        action: str = "",
    ) -> AsyncGenerator[A]:
        """The responses of a call, as they come; closing the generator cancels the call.

        Raises:
            Unreachable: if nobody answers.
            RemexError: what the server's status stands for.
        """
        with _errors():
            answers = self._stub.stream(
                method, request, timeout=timeout, metadata=self._headers(action)
            )
            async with aclosing(answers):
                async for answer in answers:
                    yield answer

    def _headers(self, action: str) -> Metadata:
        self._metadata.action_id = action
        return ((REQUEST_METADATA_HEADER, self._metadata.SerializeToString()),)


def to_digest(key: Key) -> reapi.Digest:
    """The message that names a blob."""
    return reapi.Digest(hash=key.hash, size_bytes=key.size)


@contextmanager
def _errors() -> Iterator[None]:
    """Raises the error of the tree for what a channel raises."""
    try:
        yield
    except RpcFailed as failed:
        if not failed.answered:
            raise Unreachable(failed.message, hint=failed.hint) from None
        status = from_status(failed.status)
        status.code = failed.status_code
        status.message = failed.message
        raise to_error(status, hint=failed.hint) from failed
