"""A scheduler's side of the worker protocol, moved by hand."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.duration_pb2 import Duration

from remex_core.proto import worker
from remex_core.testing.server import serve_handlers
from remex_core.wire.inproc import InprocTransport
from remex_core.wire.methods import WORKER_SESSION
from remex_core.wire.transport import Target

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from remex_core.errors import RemexError
    from remex_core.wire.call import Call
    from remex_core.wire.transport import Channel

ADDRESS: Final = "inproc:scheduler"


class FakeSession:
    """One session that a worker opened; `hello` is what it said first."""

    def __init__(self, hello: worker.Hello) -> None:
        self.hello = hello
        self.outbox: asyncio.Queue[worker.FromScheduler | RemexError | None] = asyncio.Queue()
        self.inbox: asyncio.Queue[worker.FromWorker | None] = asyncio.Queue()

    def send(self, **message: Any) -> None:
        """Sends a message of one kind, as in `send(lease=…)`."""
        self.outbox.put_nowait(worker.FromScheduler(**message))

    def welcome(self, **fields: Any) -> None:
        """Welcomes the worker, with statements every hour unless something changes."""
        values: dict[str, Any] = {
            "protocol_version": 1,
            "epoch": 1,
            "statement_interval": Duration(seconds=3600),
            "lease_timeout": Duration(seconds=3600),
        }
        self.send(welcome=worker.Welcome(**(values | fields)))

    def end(self, error: RemexError | None = None) -> None:
        """Ends the stream, by itself or with an error."""
        self.outbox.put_nowait(error)

    async def receive(self) -> worker.FromWorker | None:
        """The worker's next message; None when it has said its last."""
        return await self.inbox.get()

    async def result(self) -> worker.Result:
        """The worker's next result; statements before it are passed over."""
        while (message := await self.receive()) is not None:
            if message.HasField("result"):
                return message.result
        raise AssertionError("the worker left without a result")

    async def statement(self, *states: worker.LeaseState) -> worker.Statement:
        """The next statement in which the leases are in these states, in order."""
        while (message := await self.receive()) is not None:
            found = [lease.state for lease in message.statement.leases]
            if message.HasField("statement") and found == list(states):
                return message.statement
        raise AssertionError(f"the worker left without stating {states}")

    async def run(self, lease: worker.Lease) -> worker.Result:
        """Gives a lease out, and acknowledges its result."""
        self.send(lease=lease)
        result = await self.result()
        self.send(acknowledge=worker.Acknowledge(lease_id=lease.lease_id))
        return result


class FakeScheduler:
    """Serves the worker API within the process; `session` waits for a worker."""

    def __init__(self) -> None:
        self.transport = InprocTransport()
        self._sessions: asyncio.Queue[FakeSession] = asyncio.Queue()

    async def connect(self) -> Channel:
        """A channel, as a worker makes it."""
        return await self.transport.connect(Target(ADDRESS))

    async def session(self) -> FakeSession:
        """The next session that a worker opens."""
        return await self._sessions.get()

    async def welcomed(self, **fields: Any) -> FakeSession:
        """The next session, welcomed."""
        session = await self.session()
        session.welcome(**fields)
        return session

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Reachable inside the block."""
        handlers = {WORKER_SESSION: self._serve}
        async with serve_handlers(handlers, transport=self.transport, address=ADDRESS):
            yield

    async def _serve(
        self, _call: Call, requests: AsyncIterator[worker.FromWorker]
    ) -> AsyncGenerator[worker.FromScheduler]:
        session = FakeSession((await anext(requests)).hello)
        reading = asyncio.create_task(_read(session, requests))
        self._sessions.put_nowait(session)
        try:
            while (message := await session.outbox.get()) is not None:
                if not isinstance(message, worker.FromScheduler):
                    raise message
                yield message
        finally:
            reading.cancel()
            await asyncio.wait([reading])


async def _read(session: FakeSession, requests: AsyncIterator[worker.FromWorker]) -> None:
    try:
        async for message in requests:
            session.inbox.put_nowait(message)
    finally:
        session.inbox.put_nowait(None)
        session.end()
