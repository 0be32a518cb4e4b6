"""The scheduler's side of a worker session."""

from __future__ import annotations

import asyncio
import hmac
import logging
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

from remex_core import __version__
from remex_core.errors import Code, RemexError
from remex_core.platform import offer
from remex_core.proto import reapi
from remex_core.proto import worker as protocol
from remex_core.scheduler import events as on
from remex_core.scheduler.connections import Connection
from remex_core.store import ops
from remex_core.wire import methods

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

    from remex_core.scheduler.engine import Scheduler
    from remex_core.services.instances import Instances
    from remex_core.wire.call import Call
    from remex_core.wire.methods import Method

log = logging.getLogger("remex.scheduler")

PROTOCOL_VERSION: Final = 1
MAX_INLINE_RESULT_BYTES: Final = 1024 * 1024
_MAX_RESULT_BYTES: Final = 16 * 1024 * 1024
_RETRY_SECONDS: Final = 2
_LEFT: Final = "it drained and left"

_REASON = protocol.Refused


class WorkerApiService:
    """Admits workers and carries leases and results between them and the scheduler.

    `join_token` is what workers have to bring; empty admits all.
    """

    def __init__(self, instances: Instances, scheduler: Scheduler, join_token: str = "") -> None:
        self._instances = instances
        self._scheduler = scheduler
        self._join_token = join_token

    def handlers(self) -> Mapping[Method[Any, Any], Callable[..., Any]]:
        """The handlers by method."""
        return {methods.WORKER_SESSION: self.session}

    async def session(
        self, call: Call, messages: AsyncIterator[protocol.FromWorker]
    ) -> AsyncGenerator[protocol.FromScheduler]:
        """One session: Hello, Welcome or Refused, and then whatever either side has to say."""
        first = await anext(messages, None)
        hello = first.hello if first is not None and first.HasField("hello") else None
        refused = self._refusal(hello)
        if refused is not None:
            log.warning("A worker at %s is refused: %s", call.peer, refused.message)
            yield protocol.FromScheduler(refused=refused)
            return
        assert hello is not None
        connection = Connection(hello.name, hello.incarnation, hello)
        self._scheduler.connections.add(connection)
        connection.send(protocol.FromScheduler(welcome=self._welcome(hello)))
        connection.heard_at = self._scheduler.clock.now()
        self._scheduler.joined(_joined(hello))
        log.info("Worker %s joined from %s with %d slot(s).", hello.name, call.peer, hello.slots)
        listener = asyncio.create_task(self._listen(connection, messages))
        try:
            async with aclosing(connection.outgoing()) as outgoing:
                async for message in outgoing:
                    yield message
        finally:
            self._scheduler.connections.remove(connection)
            listener.cancel()
            with suppress(asyncio.CancelledError):
                await listener

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
                        await self._completed(connection, message.result)
                    case other:
                        log.warning("Worker %s said %s out of turn.", connection.name, other)
            statement = connection.statement
            if statement.draining and not statement.leases:
                self._scheduler.lost(connection.name, connection.incarnation, _LEFT)
        except RemexError as error:
            reason = error.message
        finally:
            connection.end(reason)

    def _refusal(self, hello: protocol.Hello | None) -> protocol.Refused | None:
        """Why this worker cannot be admitted, or None."""
        if hello is None or not (hello.name and hello.incarnation and hello.slots > 0):
            return protocol.Refused(
                reason=_REASON.MALFORMED,
                message="A session begins with a Hello that has a name, an incarnation and slots.",
            )
        if hello.protocol_version != PROTOCOL_VERSION:
            return protocol.Refused(
                reason=_REASON.VERSION,
                message=f"This scheduler speaks version {PROTOCOL_VERSION} of the worker protocol, "
                f"worker {hello.name} version {hello.protocol_version}. "
                f"Install remex-core {__version__} there.",
            )
        if not hmac.compare_digest(hello.join_token.encode(), self._join_token.encode()):
            return protocol.Refused(
                reason=_REASON.NOT_ADMITTED,
                message=f"The join token of worker {hello.name} is not this scheduler's.",
            )
        other = self._scheduler.connections.get(hello.name)
        if other is not None and other.incarnation != hello.incarnation:
            refused = protocol.Refused(
                reason=_REASON.NAME_TAKEN,
                message=f"Another live worker is called {hello.name}. "
                f"Give this one a name of its own with --name.",
            )
            refused.retry_after.seconds = _RETRY_SECONDS
            return refused
        return None

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

    def _stated(self, connection: Connection, statement: protocol.Statement) -> None:
        connection.statement = statement
        self._scheduler.stated(
            on.WorkerStated(
                connection.name,
                connection.incarnation,
                {
                    lease.lease_id: on.LeaseState(lease.state)
                    for lease in statement.leases
                    if lease.state
                },
                statement.draining,
                statement.unhealthy,
            )
        )
        worker = self._scheduler.state.fleet.workers.get(connection.name)
        belief = protocol.Belief(
            sequence=statement.sequence,
            statement_sequence=statement.sequence,
            lease_ids=[] if worker is None else list(worker.leases),
            drain=worker is not None and worker.draining,
            echoed_at=statement.sent_at,
        )
        belief.sent_at.FromNanoseconds(int(self._scheduler.clock.now() * 1e9))
        connection.send(protocol.FromScheduler(belief=belief))

    async def _completed(self, connection: Connection, result: protocol.Result) -> None:
        try:
            response = await self._response(connection, result)
        except RemexError as error:
            # The result cannot be had: as if the CAS had failed this attempt.
            response = reapi.ExecuteResponse()
            culprit, succeeded, reason = on.Culprit.CAS, False, error.message
        else:
            culprit = on.Culprit(result.culprit)
            succeeded = result.status.code == Code.OK and not result.revoked
            reason = result.message or result.status.message
        event = on.Completed(
            connection.name,
            connection.incarnation,
            result.lease_id,
            succeeded=succeeded,
            culprit=culprit,
            revoked=result.revoked,
            reason=reason,
        )
        await self._scheduler.completed(event, response, caches=result.cacheable)

    async def _response(
        self, connection: Connection, result: protocol.Result
    ) -> reapi.ExecuteResponse:
        """What the client will see of this result.

        Raises:
            RemexError: if the result is in the CAS and cannot be read there.
        """
        data = result.action_result
        if result.action_result_hash:
            group = self._scheduler.state.live_group(
                connection.name, connection.incarnation, result.lease_id
            )
            if group is not None:
                key = group.spec.key._replace(
                    hash=result.action_result_hash, size=result.action_result_size_bytes
                )
                cas = self._instances.resolve(group.spec.instance).cas
                data = await ops.read_all(cas, key, max_bytes=_MAX_RESULT_BYTES)
        response = reapi.ExecuteResponse(status=result.status, message=result.message)
        try:
            response.result.ParseFromString(data)
        except DecodeError as error:
            raise RemexError(f"The result of {result.lease_id} cannot be read.") from error
        return response


def wrong_port(worker_api: str) -> Mapping[Method[Any, Any], Callable[..., Any]]:
    """Handlers for the public port, which tell a worker where the worker API is."""

    async def session(
        _call: Call, _messages: AsyncIterator[protocol.FromWorker]
    ) -> AsyncGenerator[protocol.FromScheduler]:
        yield protocol.FromScheduler(
            refused=protocol.Refused(
                reason=_REASON.NOT_ADMITTED,
                message=f"This is the port for clients; workers connect to {worker_api}. "
                f"Start the worker with --scheduler grpc://{worker_api}.",
            )
        )

    return {methods.WORKER_SESSION: session}


def _joined(hello: protocol.Hello) -> on.WorkerJoined:
    return on.WorkerJoined(
        hello.name,
        hello.incarnation,
        offer((each.name, each.value) for each in hello.properties),
        hello.slots,
        hello.prefetch,
        frozenset(hello.instances),
    )
