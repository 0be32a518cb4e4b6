"""Calls of another server, as the kind `grpc` makes them: deadlines, retries, and its errors."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from google.protobuf.message import Message

from remex_core.errors import (
    Code,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    RemexError,
    RpcFailed,
    StoreFull,
    StoreUnavailable,
)
from remex_core.wire.stub import Stub

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from remex_core.wire.methods import Method
    from remex_core.wire.transport import Channel

log = logging.getLogger(__name__)

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)

ATTEMPTS: Final = 5
FIRST_DELAY: Final = 0.1

_TRANSIENT: Final = frozenset((Code.UNAVAILABLE, Code.ABORTED, Code.INTERNAL, Code.UNKNOWN))


class Backoff:
    """How often a call is tried again: five attempts in about 1.5 s, anew after any progress."""

    def __init__(self) -> None:
        self._failures = 0

    def progress(self) -> None:
        """Something came, so the next failure is a first one again."""
        self._failures = 0

    async def wait_after(self, failure: RpcFailed) -> None:
        """Returns when it is time to try again.

        Raises:
            RpcFailed: `failure`, when trying again would be of no use.
        """
        self._failures += 1
        if failure.status_code not in _TRANSIENT or self._failures == ATTEMPTS:
            raise failure
        delay = FIRST_DELAY * 2 ** (self._failures - 1)
        await asyncio.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 - spreads retries


class Reachability:
    """Logs when a server cannot be reached any more, and when it can again: a line for each."""

    def __init__(self) -> None:
        self._lost = False

    def lost(self, address: str, why: str) -> None:
        """A call was not answered."""
        if not self._lost:
            self._lost = True
            log.warning(
                "The store at %s cannot be reached: %s What needs it fails until it answers again.",
                address,
                why,
            )

    def found(self, address: str) -> None:
        """A call was answered."""
        if self._lost:
            self._lost = False
            log.info("The store at %s answers again.", address)


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of one server; `timeout` is how long it may be silent, in seconds."""

    channel: Channel
    address: str
    timeout: float
    reachability: Reachability = field(default_factory=Reachability)

    async def call(self, method: Method[Q, A], request: Q) -> A:
        """One answer to one request, tried again where that can help.

        Raises:
            RpcFailed: as `error` understands it.
        """
        backoff = Backoff()
        stub = Stub(self.channel)
        while True:
            try:
                answer = await stub.call(method, request, timeout=self.timeout)
            except RpcFailed as failure:
                await backoff.wait_after(failure)
            else:
                self.reachability.found(self.address)
                return answer

    async def stream(self, method: Method[Q, A], request: Q) -> AsyncGenerator[A]:
        """The answers of one call, which is not tried again.

        Raises:
            RpcFailed: for any status but OK, and UNAVAILABLE when nothing comes for too long.
        """
        async with aclosing(Stub(self.channel).stream(method, request)) as answers:
            while True:
                try:
                    async with asyncio.timeout(self.timeout):
                        answer = await anext(answers, None)
                except TimeoutError:
                    raise self._silent() from None
                if answer is None:
                    return
                yield answer

    async def send(self, method: Method[Q, A], requests: AsyncGenerator[Q]) -> A:
        """The one answer to a stream of requests, which is not tried again.

        The time that `requests` take to come does not count. They are closed when this returns.

        Raises:
            RpcFailed: for any status but OK, and UNAVAILABLE when nothing is taken for too long.
            Exception: what `requests` raised.
        """
        loop = asyncio.get_running_loop()
        failure: list[Exception] = []
        running = asyncio.Event()
        ended = asyncio.Event()

        async def watched() -> AsyncGenerator[Q]:
            running.set()
            try:
                async with aclosing(requests):
                    async for request in requests:
                        scope.reschedule(loop.time() + self.timeout)
                        yield request
                        scope.reschedule(None)
            except Exception as error:
                failure.append(error)
                raise
            finally:
                ended.set()
            scope.reschedule(loop.time() + self.timeout)

        try:
            async with asyncio.timeout(None) as scope:
                return await Stub(self.channel).call(method, watched())
        except (RpcFailed, TimeoutError) as error:
            if failure:
                raise failure[0] from None
            if isinstance(error, TimeoutError):
                raise self._silent() from None
            raise
        finally:
            if running.is_set():
                await ended.wait()  # the channel may be about to close it

    def error(self, failed: RpcFailed) -> RemexError:
        """What a store raises for what the server answered."""
        if not failed.answered and failed.status_code == Code.UNAVAILABLE:
            self.reachability.lost(self.address, failed.message)
        return self.error_of(failed.status_code, failed.message, failed.hint)

    def error_of(self, code: int, message: str, hint: str = "") -> RemexError:
        """What a store raises for a status, which is not that a blob was not found."""
        kind = _ERRORS.get(code, StoreUnavailable)
        name = Code(code).name if code in _CODES else str(code)
        if self.address not in message:
            message = f"The store at {self.address} answered {name}: {message}"
        return kind(message, hint=hint)

    def ended_early(self, what: str) -> RpcFailed:
        """The failure of a call that ended with OK and without all that was due."""
        return RpcFailed(Code.UNAVAILABLE, f"{self.address} ended {what} early.", answered=False)

    def _silent(self) -> RpcFailed:
        return RpcFailed(
            Code.UNAVAILABLE,
            f"The store at {self.address} was silent for {self.timeout:g} s.",
            answered=False,
        )


_CODES: Final = frozenset(Code)
_ERRORS: Final[dict[int, type[RemexError]]] = {
    Code.INVALID_ARGUMENT: InvalidArgument,
    Code.FAILED_PRECONDITION: FailedPrecondition,
    Code.PERMISSION_DENIED: PermissionDenied,
    Code.UNAUTHENTICATED: PermissionDenied,
    Code.RESOURCE_EXHAUSTED: StoreFull,
    Code.DATA_LOSS: DataLoss,
}
