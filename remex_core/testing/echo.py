"""Handlers of every cardinality that do what a request asks, for tests of transports.

They are served under methods of the table whose messages have room for it, not for what these
methods mean: one to one is QueryWriteStatus, one to many Read, many to one Write, many to many
reflection.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from remex_core.proto import bytestream, reflection
from remex_core.wire import methods

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping

    from remex_core.wire.call import Call, Handler, MetadataValue
    from remex_core.wire.methods import Method

ONE_TO_ONE: Final = methods.QUERY_WRITE_STATUS
ONE_TO_MANY: Final = methods.READ
MANY_TO_ONE: Final = methods.WRITE
MANY_TO_MANY: Final = methods.REFLECTION


@dataclass(slots=True)
class Echo:
    """Four handlers, and what they saw.

    `hook` runs first in each of them and may wait, or raise what the handler then ends with.
    `read_requests` is whether the handlers of client streams read any further afterwards.
    """

    hook: Callable[[Call], Awaitable[object]] | None = None
    read_requests: bool = True
    answers: int = 3
    answer_bytes: int = 10
    trailing: tuple[tuple[str, MetadataValue], ...] = ()
    calls: list[Call] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    half_closed: asyncio.Event = field(default_factory=asyncio.Event)
    produced: int = 0
    received: int = 0

    def handlers(self) -> Mapping[Method[Any, Any], Handler]:
        """The handlers by method."""
        return {
            ONE_TO_ONE: self.one_to_one,
            ONE_TO_MANY: self.one_to_many,
            MANY_TO_ONE: self.many_to_one,
            MANY_TO_MANY: self.many_to_many,
        }

    async def one_to_one(
        self, call: Call, request: bytestream.QueryWriteStatusRequest
    ) -> bytestream.QueryWriteStatusResponse:
        """The length of the resource name."""
        await self._begin(call)
        return bytestream.QueryWriteStatusResponse(
            committed_size=len(request.resource_name), complete=True
        )

    async def one_to_many(
        self, call: Call, request: bytestream.ReadRequest
    ) -> AsyncGenerator[bytestream.ReadResponse]:
        """`answers` messages of `answer_bytes` each, that end with `read_offset`, 1 more, …"""
        await self._begin(call)
        try:
            for n in range(self.answers):
                mark = b"%d" % (request.read_offset + n)
                self.produced += 1
                yield bytestream.ReadResponse(data=mark.rjust(self.answer_bytes))
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise

    async def many_to_one(
        self, call: Call, requests: AsyncIterator[bytestream.WriteRequest]
    ) -> bytestream.WriteResponse:
        """The sum of the lengths of all data, or of the first message's if told to read no more."""
        await self._begin(call)
        total = 0
        try:
            async for request in requests:
                self.received += 1
                total += len(request.data)
                if not self.read_requests:
                    break
            else:
                self.half_closed.set()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return bytestream.WriteResponse(committed_size=total)

    async def many_to_many(
        self, call: Call, requests: AsyncIterator[reflection.ServerReflectionRequest]
    ) -> AsyncGenerator[reflection.ServerReflectionResponse]:
        """Each request's host at once, and `end` after the last."""
        await self._begin(call)
        try:
            async for request in requests:
                self.received += 1
                yield reflection.ServerReflectionResponse(valid_host=request.host)
                if not self.read_requests:
                    return
            self.half_closed.set()
            yield reflection.ServerReflectionResponse(valid_host="end")
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise

    async def _begin(self, call: Call) -> None:
        self.calls.append(call)
        self.started.set()
        call.trailing.extend(self.trailing)
        if self.hook is None:
            return
        try:
            await self.hook(call)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
