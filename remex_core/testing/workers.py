"""A worker that runs nothing and does what a test tells it to, over the real protocol."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from remex_core.errors import RemexError
from remex_core.proto import reapi, rpc_status, worker
from remex_core.wire.methods import WORKER_SESSION

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence

    from remex_core.wire.stub import Stub


class FakeWorker:
    """One worker process, moved by hand.

    Messages of the scheduler wait in one queue for each kind: `leases`, `revokes`,
    `acknowledged` (lease ids) and `beliefs`. `held` is what the next statement says, by lease id.

    Args:
        stub: speaks to the scheduler's worker API.
        name, incarnation, slots, prefetch, instances, join_token, version: for the Hello.
        properties: name to one value or several.
    """

    def __init__(
        self,
        stub: Stub,
        name: str = "w1",
        *,
        incarnation: str = "first life",
        slots: int = 1,
        prefetch: int = 0,
        properties: Mapping[str, str | Sequence[str]] | None = None,
        instances: Iterable[str] = (),
        join_token: str = "",
        version: int = 1,
    ) -> None:
        self.hello = worker.Hello(
            protocol_version=version,
            name=name,
            incarnation=incarnation,
            join_token=join_token,
            slots=slots,
            prefetch=prefetch,
            instances=instances,
            software_version="a fake",
        )
        for key, values in (properties or {}).items():
            for value in (values,) if isinstance(values, str) else values:
                self.hello.properties.add(name=key, value=value)
        self.leases: asyncio.Queue[worker.Lease] = asyncio.Queue()
        self.revokes: asyncio.Queue[worker.Revoke] = asyncio.Queue()
        self.acknowledged: asyncio.Queue[str] = asyncio.Queue()
        self.beliefs: asyncio.Queue[worker.Belief] = asyncio.Queue()
        self.held: dict[str, worker.LeaseStatement] = {}
        self.draining = False
        self._stub = stub
        self._outgoing: asyncio.Queue[worker.FromWorker | None] = asyncio.Queue()
        self._session: asyncio.Task[None] | None = None
        self._answers: asyncio.Queue[worker.Welcome | worker.Refused] = asyncio.Queue()
        self._sequence = 0

    @property
    def name(self) -> str:
        """What it calls itself."""
        return self.hello.name

    async def connect(self) -> worker.Welcome | worker.Refused:
        """Opens a session, and answers how the scheduler received it; states nothing yet."""
        self._outgoing = asyncio.Queue()
        self.say(hello=self.hello)
        self._session = asyncio.create_task(self._talk(self._outgoing))
        return await self._answers.get()

    async def disconnect(self) -> None:
        """Breaks the stream, as a network may; what it holds it goes on holding."""
        if self._session is not None:
            self._session.cancel()
            with suppress(asyncio.CancelledError):
                await self._session

    async def leave(self) -> None:
        """Drains: says so, and ends the stream in good order."""
        self.draining = True
        await self.state()
        self._outgoing.put_nowait(None)
        assert self._session is not None
        await self._session

    def say(self, **message: Any) -> None:
        """Sends one message, as in `say(result=…)`."""
        self._outgoing.put_nowait(worker.FromWorker(**message))

    async def state(self, **fields: Any) -> worker.Belief:
        """States what it holds, and answers what the scheduler believes thereupon."""
        self._sequence += 1
        self.say(
            statement=worker.Statement(
                sequence=self._sequence,
                leases=self.held.values(),
                draining=self.draining,
                **fields,
            )
        )
        while True:
            belief = await self.beliefs.get()
            if belief.statement_sequence == self._sequence:
                return belief

    async def next_lease(self) -> worker.Lease:
        """The next lease that the scheduler gives; from now on it is held."""
        lease = await self.leases.get()
        self.held[lease.lease_id] = worker.LeaseStatement(
            lease_id=lease.lease_id, attempt=lease.attempt, state=worker.ASSIGNED
        )
        return lease

    async def progress(self, lease: worker.Lease, state: worker.LeaseState) -> None:
        """States that it has come so far with a lease."""
        self.held[lease.lease_id].state = state
        await self.state()

    def finish(
        self,
        lease: worker.Lease,
        result: reapi.ActionResult | None = None,
        *,
        status: rpc_status.Status | None = None,
        cacheable: bool = True,
        **fields: Any,
    ) -> None:
        """Sends the result of a lease: by default that the process ended with exit code 0."""
        message = worker.Result(
            lease_id=lease.lease_id,
            attempt=lease.attempt,
            status=status or rpc_status.Status(),
            cacheable=cacheable,
            **fields,
        )
        if not message.action_result_hash:
            message.action_result = (result or reapi.ActionResult()).SerializeToString()
        if lease.lease_id in self.held:
            self.held[lease.lease_id].state = worker.DONE
        self.say(result=message)

    async def _talk(self, outgoing: asyncio.Queue[worker.FromWorker | None]) -> None:
        try:
            stream = self._stub.stream(WORKER_SESSION, _until_none(outgoing))
            async with aclosing(stream) as incoming:
                async for message in incoming:
                    self._receive(message)
        except RemexError:
            # The scheduler went away; what was said so far is in the queues.
            pass

    def _receive(self, message: worker.FromScheduler) -> None:
        match message.WhichOneof("message"):
            case "welcome":
                self._answers.put_nowait(message.welcome)
            case "refused":
                self._answers.put_nowait(message.refused)
            case "lease":
                self.leases.put_nowait(message.lease)
            case "revoke":
                self.revokes.put_nowait(message.revoke)
            case "acknowledge":
                self.held.pop(message.acknowledge.lease_id, None)
                self.acknowledged.put_nowait(message.acknowledge.lease_id)
            case "belief":
                self.beliefs.put_nowait(message.belief)


@asynccontextmanager
async def fake_worker(stub: Stub, name: str = "w1", **settings: Any) -> AsyncIterator[FakeWorker]:
    """A worker that has joined and stated that it holds nothing; see `FakeWorker`."""
    made = FakeWorker(stub, name, **settings)
    answer = await made.connect()
    assert isinstance(answer, worker.Welcome), answer
    await made.state()
    try:
        yield made
    finally:
        await made.disconnect()


async def _until_none(
    messages: asyncio.Queue[worker.FromWorker | None],
) -> AsyncGenerator[worker.FromWorker]:
    while (message := await messages.get()) is not None:
        yield message
