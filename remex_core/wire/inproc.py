"""The transport between roles of one process: the same routes, no socket, no serialising.

Each call is a task of its own on the serving side, as it would be in another process: a caller
that is cancelled cancels it, a deadline ends it, and responses wait in a bounded queue. Requests
are read straight from the caller's iterator. Message objects are handed over, never copied;
nothing here limits their size, because they are in this process's memory already.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final

from remex_core.errors import Code, InvalidArgument, RpcFailed, Unavailable, Unimplemented
from remex_core.wire.status import past_deadline, to_failure, to_status_error
from remex_core.wire.transport import Channel, Incoming, Server, StatusError, Transport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Coroutine, Mapping

    from google.protobuf.message import Message

    from remex_core.wire.call import Metadata, Payload
    from remex_core.wire.methods import Method
    from remex_core.wire.transport import (
        CallOptions,
        Listener,
        Request,
        Route,
        StreamRoute,
        Target,
        Trailing,
    )

_PREFIX: Final = "inproc:"
_MAX_AHEAD: Final = 4
"""How many responses a handler may be ahead of its caller."""


class InprocTransport(Transport):
    """Joins the roles that were given this very object; addresses are `inproc:NAME`."""

    def __init__(self) -> None:
        self._servers: dict[str, _InprocServer] = {}

    async def serve(self, listener: Listener, routes: Mapping[str, Route]) -> Server:
        address = _checked(listener.address)
        if address in self._servers:
            raise Unavailable(
                f"Cannot listen on {address}: this process serves that name already.",
                hint="Give each role of a process a name of its own.",
            )
        server = self._servers[address] = _InprocServer(address, routes, self._servers)
        return server

    async def connect(self, target: Target) -> Channel:
        return _InprocChannel(_checked(target.address), target.headers, self._servers)


def _checked(address: str) -> str:
    if not address.startswith(_PREFIX) or address == _PREFIX:
        raise InvalidArgument(f"{address!r} is no address of the form inproc:NAME.")
    return address


class _Exchange:
    """One open call: the task that answers it, and what ended it if that was not the task."""

    def __init__(self, work: Coroutine[Any, Any, Any], *homes: set[_Exchange]) -> None:
        self.task = asyncio.create_task(work)
        self._cut: RpcFailed | None = None
        self._homes = homes
        self._timer: asyncio.TimerHandle | None = None
        for home in homes:
            home.add(self)
        self.task.add_done_callback(self._ended)

    def cut_after(self, seconds: float, failure: RpcFailed) -> None:
        """Sets the deadline of the call."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self.cut, failure)

    def cut(self, failure: RpcFailed) -> None:
        """Ends the call from outside; does nothing if it has ended."""
        if self._cut is None and not self.task.done():
            self._cut = failure
            self.task.cancel()

    def result(self, requests: object) -> Any:
        """What the ended task answered.

        Raises:
            RpcFailed: for any status but OK.
        """
        if isinstance(requests, _Requests) and requests.error is not None:
            raise requests.error
        if self._cut is not None:
            raise self._cut
        if self.task.cancelled():
            raise RpcFailed(Code.CANCELLED, "The call was cancelled where it was answered.")
        error = self.task.exception()
        if isinstance(error, StatusError):
            raise to_failure(error.code, error.message, error.trailing) from None
        return self.task.result()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for home in self._homes:
            home.discard(self)
        if not task.cancelled():
            task.exception()  # retrieved here, since a caller that left will not ask for it


class _InprocServer(Server):
    def __init__(
        self, address: str, routes: Mapping[str, Route], servers: dict[str, _InprocServer]
    ) -> None:
        self._address = address
        self._servers = servers
        self.routes = routes
        self.open: set[_Exchange] = set()

    @property
    def address(self) -> str:
        return self._address

    async def drain(self, grace: float) -> None:
        self._servers.pop(self._address, None)
        if self.open:
            await asyncio.wait([exchange.task for exchange in self.open], timeout=grace)
        await self.close()

    async def close(self) -> None:
        self._servers.pop(self._address, None)
        tasks = [exchange.task for exchange in self.open]
        for exchange in tuple(self.open):
            exchange.cut(RpcFailed(Code.UNAVAILABLE, f"{self._address} is no longer served."))
        if tasks:
            await asyncio.wait(tasks)


class _InprocChannel(Channel):
    def __init__(
        self, address: str, headers: Metadata, servers: Mapping[str, _InprocServer]
    ) -> None:
        self._address = address
        self._headers = headers
        self._servers = servers
        self._open: set[_Exchange] = set()
        self._closed = False

    async def call(
        self, method: Method[Message, Message], request: Request, options: CallOptions
    ) -> Payload:
        server, route = self._find(method)
        assert route.unary is not None
        trailing: Trailing = []
        requests = _Requests(request) if method.client_streams else request
        work = route.unary(self._incoming(options), requests, trailing)
        exchange = self._begin(work, server, method, requests, options)
        try:
            await asyncio.wait((exchange.task,))
        finally:
            exchange.task.cancel()
        answer: Payload = exchange.result(requests)
        if options.received is not None:
            options.received.trailing = trailing
        return answer

    async def stream(
        self, method: Method[Message, Message], request: Request, options: CallOptions
    ) -> AsyncGenerator[Payload]:
        server, route = self._find(method)
        assert route.stream is not None
        trailing: Trailing = []
        requests = _Requests(request) if method.client_streams else request
        answers = _Answers()
        work = answers.fill(route.stream, self._incoming(options), requests, trailing)
        exchange = self._begin(work, server, method, requests, options)
        exchange.task.add_done_callback(answers.end)
        try:
            async for answer in answers:
                yield answer
        finally:
            exchange.task.cancel()
        exchange.result(requests)
        if options.received is not None:
            options.received.trailing = trailing

    async def close(self) -> None:
        self._closed = True
        for exchange in tuple(self._open):
            exchange.cut(self._was_closed())

    def _begin(
        self,
        work: Awaitable[Any],
        server: _InprocServer,
        method: Method[Message, Message],
        requests: Any,
        options: CallOptions,
    ) -> _Exchange:
        exchange = _Exchange(_closing(work, requests), self._open, server.open)
        if options.timeout is not None:
            exchange.cut_after(
                options.timeout, past_deadline(self._address, method, options.timeout)
            )
        return exchange

    def _was_closed(self) -> RpcFailed:
        return RpcFailed(
            Code.CANCELLED, f"The channel to {self._address} was closed.", answered=False
        )

    def _find(self, method: Method[Message, Message]) -> tuple[_InprocServer, Route]:
        if self._closed:
            raise self._was_closed()
        server = self._servers.get(self._address)
        if server is None:
            raise RpcFailed(
                Code.UNAVAILABLE,
                f"Nobody answers at {self._address}: no role of this process serves it.",
                answered=False,
            )
        route = server.routes.get(method.path)
        if route is None:
            error = to_status_error(Unimplemented(f"{method.path} is not offered here."))
            raise to_failure(error.code, error.message, error.trailing)
        return server, route

    def _incoming(self, options: CallOptions) -> Incoming:
        return Incoming(self._headers + options.metadata, "inproc", options.timeout)


async def _closing(work: Any, requests: Any) -> Any:
    """Answers a call, and closes the caller's iterator when the handler is done with it."""
    try:
        return await work
    finally:
        if isinstance(requests, _Requests):
            await requests.aclose()


class _Requests:
    """What a caller streams; a failure of its iterator ends the call for the handler."""

    def __init__(self, payloads: Any) -> None:
        self._payloads: AsyncIterator[Payload] = aiter(payloads)
        self.error: Exception | None = None

    def __aiter__(self) -> AsyncIterator[Payload]:
        return self

    async def __anext__(self) -> Payload:
        try:
            return await anext(self._payloads)
        except StopAsyncIteration:
            raise
        except Exception as error:
            self.error = error
            raise asyncio.CancelledError from error

    async def aclose(self) -> None:
        close = getattr(self._payloads, "aclose", None)
        if close is not None:
            # A handler may have left a reading task behind, which then closes it by ending.
            with suppress(RuntimeError):
                await close()


class _Answers:
    """Responses on their way to the caller, at most `_MAX_AHEAD` of them."""

    def __init__(self) -> None:
        self._waiting: deque[Payload] = deque()
        self._ended = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()

    async def fill(
        self, route: StreamRoute, incoming: Incoming, requests: Any, trailing: Trailing
    ) -> None:
        """Runs the route and takes its responses."""
        async with aclosing(route(incoming, requests, trailing)) as answers:
            async for answer in answers:
                self._waiting.append(answer)
                self._changed.set()
                while len(self._waiting) >= _MAX_AHEAD:
                    self._room.clear()
                    await self._room.wait()

    def end(self, _: object) -> None:
        """No more will come."""
        self._ended = True
        self._changed.set()

    def __aiter__(self) -> AsyncIterator[Payload]:
        return self

    async def __anext__(self) -> Payload:
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        answer = self._waiting.popleft()
        self._room.set()
        return answer
