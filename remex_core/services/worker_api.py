"""The scheduler's side of worker sessions: who is admitted, and what goes back and forth."""

from __future__ import annotations

import asyncio
import hmac
import logging
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final

from remex_core import __version__
from remex_core.errors import DeadlineExceeded, RemexError
from remex_core.platform import offer
from remex_core.proto import worker as protocol
from remex_core.scheduler import events as on
from remex_core.scheduler.connections import Connection
from remex_core.wire import methods

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from remex_core.scheduler.engine import Scheduler
    from remex_core.wire.call import Call, Handler
    from remex_core.wire.methods import Method

log = logging.getLogger("remex.scheduler")

PROTOCOL_VERSION: Final = 1
MAX_INLINE_RESULT_BYTES: Final = 1024 * 1024

_HELLO_SECONDS: Final = 30.0
_RETRY_SECONDS: Final = 2
_SILENT_STATEMENTS: Final = 3
"""After so many statements that did not come, a name is free for another worker."""

_LEASE_STATES: Final = {state.value: state for state in on.LeaseState}


class WorkerApiService:
    """Admits workers and carries leases and results between them and the scheduler.

    `join_token` is what workers have to bring; empty admits all.
    """

    def __init__(self, scheduler: Scheduler, join_token: str = "") -> None:
        self._scheduler = scheduler
        self._join_token = join_token

    def handlers(self) -> Mapping[Method[Any, Any], Handler]:
        """The handlers by method."""
        return {methods.WORKER_SESSION: self.session}

    async def session(
        self, call: Call, messages: AsyncIterator[protocol.FromWorker]
    ) -> AsyncGenerator[protocol.FromScheduler]:
        """One session: Hello, Welcome or Refused, and then whatever either side has to say."""
        first = await _first(messages)
        hello = first.hello if first is not None else protocol.Hello()
        refused = self._refusal(hello)
        if refused is not None:
            log.warning(
                "The worker %r at %s is refused: %s", hello.name, call.peer, refused.message
            )
            yield protocol.FromScheduler(refused=refused)
            return
        log.info("Worker %s joins from %s with %d slot(s).", hello.name, call.peer, hello.slots)
        connection = self._begin(hello)
        listener = asyncio.create_task(self._listen(connection, messages))
        try:
            async with aclosing(connection.outgoing()) as outgoing:
                async for message in outgoing:
                    yield message
        finally:
            listener.cancel()
            with suppress(asyncio.CancelledError):
                await listener
            self._scheduler.disconnected(connection)

    def _begin(self, hello: protocol.Hello) -> Connection:
        scheduler = self._scheduler
        connection = Connection(hello.name, hello.incarnation, scheduler.clock.now())
        scheduler.connections.add(connection)
        connection.send(protocol.FromScheduler(welcome=self._welcome(hello)))
        scheduler.tell(
            on.WorkerJoined(
                hello.name,
                hello.incarnation,
                offer((each.name, each.value) for each in hello.properties),
                hello.slots,
                max(0, hello.prefetch),
                frozenset(hello.instances),
            )
        )
        return connection

    async def _listen(
        self, connection: Connection, messages: AsyncIterator[protocol.FromWorker]
    ) -> None:
        reason = "the worker closed the session"
        try:
            async for message in messages:
                connection.heard_at = self._scheduler.clock.now()
                match message.WhichOneof("message"):
                    case "statement":
                        self._stated(connection, message.statement)
                    case "result":
                        self._scheduler.deliver(connection, message.result)
                    case other:
                        log.warning("Worker %s said %s out of turn.", connection.name, other)
        except RemexError as error:
            reason = error.message
        finally:
            connection.end(reason)

    def _stated(self, connection: Connection, statement: protocol.Statement) -> None:
        connection.is_leaving = statement.draining and not statement.leases
        scheduler = self._scheduler
        scheduler.tell(
            on.WorkerStated(
                connection.name,
                connection.incarnation,
                {
                    # A state from a newer worker says at least that it has the lease.
                    lease.lease_id: _LEASE_STATES.get(lease.state, on.LeaseState.ASSIGNED)
                    for lease in statement.leases
                },
                statement.draining,
                statement.unhealthy,
            )
        )
        worker = scheduler.state.fleet.workers.get(connection.name)
        if worker is None or worker.incarnation != connection.incarnation:
            return
        belief = protocol.Belief(
            sequence=statement.sequence,
            statement_sequence=statement.sequence,
            lease_ids=worker.leases,
            drain=worker.draining,
            echoed_at=statement.sent_at,
        )
        belief.sent_at.FromNanoseconds(int(scheduler.clock.now() * 1e9))
        connection.believe(belief)

    def _refusal(self, hello: protocol.Hello) -> protocol.Refused | None:
        """Why this worker cannot be admitted, or None."""
        if not (hello.name and hello.incarnation and hello.slots > 0):
            return protocol.Refused(
                reason=protocol.Refused.MALFORMED,
                message="A session begins with a Hello that has a name, an incarnation and slots.",
            )
        if hello.protocol_version != PROTOCOL_VERSION:
            return protocol.Refused(
                reason=protocol.Refused.VERSION,
                message=f"This scheduler speaks version {PROTOCOL_VERSION} of the worker protocol, "
                f"worker {hello.name} version {hello.protocol_version}. "
                f"Install remex-core {__version__} there.",
            )
        if not hmac.compare_digest(hello.join_token.encode(), self._join_token.encode()):
            return protocol.Refused(
                reason=protocol.Refused.NOT_ADMITTED,
                message=f"The join token of worker {hello.name} is not this scheduler's.",
            )
        if self._is_taken(hello):
            refused = protocol.Refused(
                reason=protocol.Refused.NAME_TAKEN,
                message=f"Another live worker is called {hello.name}. "
                f"Give this one a name of its own with --name.",
            )
            refused.retry_after.seconds = _RETRY_SECONDS
            return refused
        return None

    def _is_taken(self, hello: protocol.Hello) -> bool:
        """Whether another process holds the name, and is alive as far as one can tell."""
        other = self._scheduler.connections.get(hello.name)
        if other is None or other.incarnation == hello.incarnation:
            return False
        patience = _SILENT_STATEMENTS * self._scheduler.options.statement_interval
        return self._scheduler.clock.now() - other.heard_at <= patience

    def _welcome(self, hello: protocol.Hello) -> protocol.Welcome:
        options = self._scheduler.options
        welcome = protocol.Welcome(
            protocol_version=PROTOCOL_VERSION,
            epoch=self._scheduler.epoch,
            max_inline_result_bytes=MAX_INLINE_RESULT_BYTES,
            scheduler_version=__version__,
            echoed_at=hello.sent_at,
        )
        welcome.lease_timeout.FromNanoseconds(int(options.lease_timeout * 1e9))
        welcome.statement_interval.FromNanoseconds(int(options.statement_interval * 1e9))
        welcome.sent_at.FromNanoseconds(int(self._scheduler.clock.now() * 1e9))
        return welcome


async def _first(messages: AsyncIterator[protocol.FromWorker]) -> protocol.FromWorker | None:
    """The message that opens a session; None if there is none.

    Raises:
        DeadlineExceeded: if it does not come.
    """
    try:
        async with asyncio.timeout(_HELLO_SECONDS):
            return await anext(messages, None)
    except TimeoutError:
        raise DeadlineExceeded(f"No Hello came within {_HELLO_SECONDS:.0f} s.") from None


def wrong_port(worker_api: str) -> Mapping[Method[Any, Any], Handler]:
    """Handlers for the public port, which tell a worker where the worker API is."""

    async def session(
        _call: Call, _messages: AsyncIterator[protocol.FromWorker]
    ) -> AsyncGenerator[protocol.FromScheduler]:
        yield protocol.FromScheduler(
            refused=protocol.Refused(
                reason=protocol.Refused.NOT_ADMITTED,
                message=f"This is the port for clients; workers connect to {worker_api}. "
                f"Start the worker with --scheduler grpc://{worker_api}.",
            )
        )

    return {methods.WORKER_SESSION: session}
