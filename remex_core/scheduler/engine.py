"""The asynchronous shell around the machine: feeds it events and carries out its commands.

Everything that waits is here: the action cache, the journal, time. Commands are carried out by
one task in the order in which they came; of each batch, what has to be persisted goes first.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from remex_core import clock
from remex_core.errors import InvalidArgument, RemexError, ResourceExhausted, Unavailable
from remex_core.proto import reapi
from remex_core.scheduler import commands as do
from remex_core.scheduler import events as on
from remex_core.scheduler.connections import Connections
from remex_core.scheduler.content import Content
from remex_core.scheduler.guards import TimedOrder, TimedPlacement
from remex_core.scheduler.journal import Fenced
from remex_core.scheduler.journal_rows import rows_of
from remex_core.scheduler.messages import acknowledge_message, lease_message, revoke_message
from remex_core.scheduler.records import GroupRecord, OperationRecord
from remex_core.scheduler.results import (
    complete_metadata,
    is_cacheable,
    to_event,
    to_failure,
    to_response,
)
from remex_core.scheduler.state import SchedulerState

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from remex_core.clock import Clock
    from remex_core.proto import worker as protocol
    from remex_core.scheduler.connections import Connection
    from remex_core.scheduler.journal import Journal
    from remex_core.scheduler.options import SchedulerOptions
    from remex_core.scheduler.policy import OrderPolicy, PlacementPolicy
    from remex_core.scheduler.records import Submission
    from remex_core.services.instances import Instances

log = logging.getLogger("remex.scheduler")

_TICK_SECONDS: Final = 1.0
_JOURNAL_RETRY_SECONDS: Final = 1.0
_MAX_CARRIED_BYTES: Final = 256 * 1024
_LEFT: Final = "it drained and left"


class Scheduler:
    """Takes actions, gives them to workers, and tells watchers what becomes of them.

    Args:
        options: the site's tunables.
        instances: where action caches and content are found.
        order, placement: the two policies.
        journal: what survives a restart.
        clock: times and timeouts.
    """

    def __init__(
        self,
        options: SchedulerOptions,
        instances: Instances,
        order: OrderPolicy,
        placement: PlacementPolicy,
        journal: Journal,
        clock: Clock = clock.SYSTEM,
    ) -> None:
        self.options = options
        self.clock = clock
        self.connections = Connections()
        self.epoch = 0
        self._content = Content(instances)
        self._journal = journal
        self._make_state: Callable[[int], SchedulerState] = lambda epoch: SchedulerState(
            options,
            TimedOrder(order, clock.monotonic),
            TimedPlacement(placement, clock.monotonic),
            epoch,
        )
        self._operations: dict[str, OperationRecord] = {}
        self._groups: dict[str, GroupRecord] = {}
        self._carried = 0
        self._commands: list[do.Command] = []
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_draining = False
        self._is_stopping = False
        self._trouble = ""
        self._faults: set[str] = set()

    async def start(self) -> None:
        """Opens the journal and begins to work."""
        self.epoch = await self._journal.open()
        self.state = self._make_state(self.epoch)
        self._idle.set()
        self._spawn(self._carry_out())
        self._spawn(self._keep_time())

    async def drain(self, grace: float) -> None:
        """Takes no more actions; returns when all are done, or after `grace` seconds."""
        self._is_draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._idle.wait()

    def send_watchers_away(self) -> None:
        """Takes no more actions, and ends every stream that waits for one (OP-05)."""
        self._is_draining = self._is_stopping = True
        for record in self._operations.values():
            record.changed()

    async def close(self) -> None:
        """Stops at once. Watchers are told that the scheduler is going away."""
        self.send_watchers_away()
        for connection in self.connections.all():
            connection.end("the scheduler is stopping")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._journal.close()

    @property
    def is_stopping(self) -> bool:
        """Whether watchers have to be sent away (OP-05)."""
        return self._is_stopping

    def readiness(self) -> str:
        """Why the scheduler is not fully itself; empty when it is."""
        if not self.epoch:
            return "starting"
        faults = self.state.dispatcher.faults
        return "; ".join([*([self._trouble] if self._trouble else []), *faults])

    def submit(self, submission: Submission) -> OperationRecord:
        """Takes an action; the operation's record changes as things happen.

        Raises:
            ResourceExhausted: if the queue is full (EXE-20).
            Unavailable: if the scheduler is stopping.
        """
        self._refuse_if_draining()
        if self.state.queued >= self.options.max_queued:
            raise ResourceExhausted(
                f"The queue is full: {self.state.queued} actions wait for a worker.",
                hint="Start more workers, or build with fewer --jobs.",
                retry_after=5.0,
            )
        record = self._new_operation(submission.spec, submission.inline)
        group = str(uuid.uuid4())
        self._add_group(group, submission)
        self._idle.clear()
        self._feed(on.Submitted(record.name, group, submission.spec))
        joined = self.state.operations.group_of(record.name)
        assert joined is not None
        if joined.id != group:
            self._remove_group(group)
        record.group = self._groups[joined.id]
        return record

    def reject(self, spec: on.ActionSpec, error: RemexError) -> OperationRecord:
        """An operation that is done from the start, for an action that cannot be run (EXE-14)."""
        self._refuse_if_draining()
        record = self._new_operation(spec, None)
        response = to_failure(error)
        record.finish(response)
        self._feed(on.Rejected(record.name, response.ByteSize()))
        return record

    def operation(self, name: str) -> OperationRecord | None:
        """The record of an operation, or None if there is none or it was forgotten (OP-02)."""
        record = self._operations.get(name)
        return None if record is None or record.is_forgotten else record

    def operations(self) -> list[OperationRecord]:
        """Every operation that can be asked for, the oldest first."""
        return [record for record in self._operations.values() if not record.is_forgotten]

    def cancel(self, name: str) -> None:
        """Ends an operation that is not done (OP-08)."""
        self._feed(on.Cancelled(name))

    def forget(self, name: str) -> None:
        """Drops an operation's name and result; one that is not done goes on (OP-07)."""
        self._feed(on.Forgotten(name))

    def tell(self, event: on.WorkerJoined | on.WorkerStated | on.WorkerLost) -> None:
        """Takes in what a worker said of itself."""
        self._feed(event)

    def disconnected(self, connection: Connection) -> None:
        """Takes in that a session has ended; one that a newer session replaced does not count."""
        if not self.connections.remove(connection):
            return
        name, incarnation = connection.name, connection.incarnation
        if connection.is_leaving:
            self._feed(on.WorkerLost(name, incarnation, _LEFT))
        else:
            self._feed(on.WorkerDisconnected(name, incarnation))

    def drain_worker(self, name: str) -> None:
        """Gives this worker nothing more."""
        self._feed(on.DrainRequested(name))

    def deliver(self, connection: Connection, result: protocol.Result) -> None:
        """Takes a worker's result, or the news that there is none."""
        group = self.state.live_group(connection.name, connection.incarnation, result.lease_id)
        if group is not None and result.action_result_hash:
            self._spawn(self._fetch_result(connection, group.id, result))
        else:
            self._deliver(connection, result, result.action_result)

    def tick(self, lag: float = 0.0) -> None:
        """Does what is due by now; `lag` is for how many seconds the scheduler stood still."""
        self._feed(on.Tick(lag))
        for fault in self.state.dispatcher.faults:
            if fault not in self._faults:
                self._faults.add(fault)
                log.error("%s", fault)

    def _feed(self, event: on.Event) -> None:
        commands = self.state.handle(event, self.clock.monotonic())
        if commands:
            self._commands += commands
            self._wake.set()

    async def _carry_out(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._commands = self._commands, []
            if self._journal.is_durable:
                await self._persist(batch)
            for command in batch:
                try:
                    self._do(command)
                except Exception:
                    log.exception("Could not carry out %s", command)
            if not len(self.state.operations):
                self._idle.set()

    async def _persist(self, batch: Sequence[do.Command]) -> None:
        """Returns when everything that the batch wants persisted is safe, however long it takes."""
        rows = rows_of(batch, self.epoch, self._groups, self._operations)
        while rows:
            try:
                await self._journal.append(self.epoch, rows)
            except Fenced as error:
                log.critical("This scheduler has been replaced: %s", error.message)
                self._trouble = error.message
                self.send_watchers_away()
                await asyncio.Event().wait()
            except Exception as error:
                log.exception("The journal cannot be written; nothing goes on until it can")
                self._trouble = f"the journal cannot be written: {error}"
                await asyncio.sleep(_JOURNAL_RETRY_SECONDS)
            else:
                self._trouble = ""
                return

    def _do(self, command: do.Command) -> None:
        match command:
            case do.Persist():
                pass
            case do.Publish():
                for name in command.operations:
                    self._operations[name].publish(command.stage)
            case do.Finish():
                self._finish(command)
            case do.Lease():
                self._lease(command)
            case do.Revoke():
                self._send(command, revoke_message(command))
            case do.Acknowledge():
                self._send(command, acknowledge_message(command))
            case do.LookUp():
                self._spawn(self._look_up(command.group))
            case do.Store():
                self._spawn(self._store(command.group))
            case do.Touch():
                groups = (self._groups.get(name) for name in command.groups)
                submissions = [group.submission for group in groups if group is not None]
                self._spawn(self._content.touch(submissions))
            case do.Expire():
                self._expire(command.operations)
            case do.Dismiss():
                level = logging.INFO if command.reason == _LEFT else logging.WARNING
                log.log(level, "Worker %s is gone: %s.", command.worker, command.reason)
                connection = self.connections.get(command.worker, command.incarnation)
                if connection is not None:
                    connection.end(command.reason)

    def _lease(self, command: do.Lease) -> None:
        record = self._groups.get(command.group)
        if record is not None:
            record.worker = command.worker
            self._send(command, lease_message(command, record, self.epoch))

    def _send(
        self, command: do.Lease | do.Revoke | do.Acknowledge, message: protocol.FromScheduler
    ) -> None:
        """Sends to a worker; what a closed session misses, the next statement heals."""
        connection = self.connections.get(command.worker, command.incarnation)
        if connection is not None:
            connection.send(message)

    def _finish(self, command: do.Finish) -> None:
        group = self._groups[command.group]
        if command.group_ended:
            self._remove_group(command.group)
        response = _response(command, group)
        for name in command.operations:
            record = self._operations[name]
            record.finish(response)
            if record.is_forgotten:
                del self._operations[name]

    def _expire(self, names: Iterable[str]) -> None:
        for name in names:
            record = self._operations[name]
            record.is_forgotten = True
            # Whoever still waits for it is told of its end.
            if record.is_done:
                del self._operations[name]

    async def _look_up(self, group: str) -> None:
        weight, record = 0, self._groups.get(group)
        try:
            result = None
            if record is not None:
                result = await self._content.cached_result(record.submission.spec)
            if record is not None and result is not None:
                record.cached = reapi.ExecuteResponse(result=result, cached_result=True)
                # Present, though OK is its default: some clients look whether it is there.
                record.cached.status.SetInParent()
                weight = result.ByteSize()
        except Exception:
            log.exception("The look-up of a result failed; the action runs")
        self._feed(on.LookedUp(group, hit=weight > 0, weight=weight))

    async def _store(self, group: str) -> None:
        record = self._groups.get(group)
        try:
            if record is not None and record.response is not None:
                result = record.response.result
                await self._content.store_result(record.submission.spec, result)
        except Exception:
            log.exception("The result of an action could not be cached")
        self._feed(on.Stored(group))

    async def _fetch_result(
        self, connection: Connection, group: str, result: protocol.Result
    ) -> None:
        record = self._groups.get(group)
        if record is None:
            return
        try:
            data = await self._content.read_result(
                record.submission.spec, result.action_result_hash, result.action_result_size_bytes
            )
        except RemexError as error:
            self._failed_result(connection, result, on.Culprit.CAS, error.message)
        else:
            self._deliver(connection, result, data)

    def _deliver(self, connection: Connection, result: protocol.Result, data: bytes) -> None:
        name, incarnation = connection.name, connection.incarnation
        group = self.state.live_group(name, incarnation, result.lease_id)
        caches, weight = False, 0
        if group is not None:
            record = self._groups[group.id]
            try:
                response = to_response(result, data)
            except InvalidArgument as error:
                response = to_failure(error)
            except RemexError as error:
                self._failed_result(connection, result, on.Culprit.WORKER, error.message)
                return
            complete_metadata(record, response, name, self.clock.now())
            record.response = response
            caches, weight = is_cacheable(record, response, result), response.ByteSize()
        self._feed(to_event(name, incarnation, result, caches=caches, weight=weight))

    def _failed_result(
        self, connection: Connection, result: protocol.Result, culprit: on.Culprit, why: str
    ) -> None:
        """A result that cannot be had is no result."""
        self._feed(
            on.Completed(
                connection.name,
                connection.incarnation,
                result.lease_id,
                succeeded=False,
                culprit=culprit,
                reason=why,
            )
        )

    async def _keep_time(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _TICK_SECONDS
            await asyncio.sleep(_TICK_SECONDS)
            self.tick(max(0.0, loop.time() - due))

    def _new_operation(
        self, spec: on.ActionSpec, inline: reapi.ExecuteRequest | None
    ) -> OperationRecord:
        name = _operation_name(spec.instance)
        record = self._operations[name] = OperationRecord(name, spec, self.clock.now(), inline)
        return record

    def _add_group(self, group: str, submission: Submission) -> None:
        carried = submission.carried
        if carried > _MAX_CARRIED_BYTES or self._carried + carried > self.options.carried_bytes:
            submission = replace(submission, action=b"", command=b"")
        self._carried += submission.carried
        self._groups[group] = GroupRecord(submission, self.clock.now())

    def _remove_group(self, group: str) -> None:
        self._carried -= self._groups.pop(group).submission.carried

    def _refuse_if_draining(self) -> None:
        if self._is_draining:
            raise Unavailable("The scheduler is stopping.", hint="Try again in a moment.")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _operation_name(instance: str) -> str:
    """A name that nobody can guess, since it alone is the right to see and cancel (OP-10)."""
    name = f"operations/{uuid.uuid4()}"
    return f"{instance}/{name}" if instance else name


def _response(command: do.Finish, group: GroupRecord) -> reapi.ExecuteResponse:
    if command.code is not None:
        response = reapi.ExecuteResponse(message=command.explanation)
        response.status.code, response.status.message = command.code, command.message
        return response
    found = group.cached if command.ending is do.Ending.CACHED else group.response
    assert found is not None, "an operation ended without a response"
    return found
