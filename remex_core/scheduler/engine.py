"""The asynchronous shell around the machine: feeds it events and carries out its commands.

Everything that waits is here: the action cache, the journal, time. Commands are carried out by
one task in the order in which they came, so that nothing overtakes a Persist.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from remex_core import clock
from remex_core.errors import Code, RemexError, ResourceExhausted, Unavailable
from remex_core.proto import reapi
from remex_core.proto import worker as protocol
from remex_core.scheduler import commands as do
from remex_core.scheduler import events as on
from remex_core.scheduler.connections import Connections
from remex_core.scheduler.records import GroupRecord, OperationRecord
from remex_core.scheduler.state import SchedulerState
from remex_core.store import ops

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from remex_core.clock import Clock
    from remex_core.digest import Key
    from remex_core.scheduler.journal import Journal
    from remex_core.scheduler.options import SchedulerOptions
    from remex_core.scheduler.policy import OrderPolicy, PlacementPolicy
    from remex_core.scheduler.records import Submission
    from remex_core.services.instances import Instances

log = logging.getLogger("remex.scheduler")

_TICK_SECONDS: Final = 1.0
_MAX_RESULT_BYTES: Final = 4 * 1024 * 1024


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
        self.started_at = clock.now()
        self._instances = instances
        self._journal = journal
        self._make_state: Callable[[int], SchedulerState] = lambda epoch: SchedulerState(
            options, order, placement, epoch
        )
        self._records: dict[str, OperationRecord] = {}
        self._groups: dict[str, GroupRecord] = {}
        self._commands: deque[do.Command] = deque()
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False

    async def start(self) -> None:
        """Opens the journal and begins to work."""
        self.epoch = await self._journal.open()
        self.state = self._make_state(self.epoch)
        self._spawn(self._carry_out())
        self._spawn(self._tick())

    async def close(self) -> None:
        """Stops at once. Watchers are told that the scheduler is going away."""
        self._draining = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for record in self._records.values():
            record.changed()
        for connection in self.connections.all():
            connection.end("the scheduler is stopping")
        await self._journal.close()

    @property
    def is_stopping(self) -> bool:
        """Whether watchers have to be sent away (OP-05)."""
        return self._draining

    def readiness(self) -> str:
        """Why the scheduler is not fully itself; empty when it is."""
        return "; ".join(self.state.dispatcher.broken.values()) if self.epoch else "starting"

    # Clients.

    def submit(self, submission: Submission) -> OperationRecord:
        """Takes an action; the operation's record changes as things happen.

        Raises:
            ResourceExhausted: if the queue is full (EXE-20).
            Unavailable: if the scheduler is stopping.
        """
        self._refuse_if_stopping()
        if self.state.queued >= self.options.max_queued:
            raise ResourceExhausted(
                f"The queue is full: {self.state.queued} actions wait for a worker.",
                hint="Start more workers, or build with fewer --jobs.",
                retry_after=5.0,
            )
        record = self._new_record(submission.spec)
        group = str(uuid.uuid4())
        self._groups[group] = GroupRecord(submission, self.clock.now())
        self._feed(on.Submitted(record.name, group, submission.spec))
        joined = self.state.operations.group_of(record.name)
        if joined != group:
            del self._groups[group]
        record.group = self._groups.get(joined or "")
        return record

    def reject(self, spec: on.ActionSpec, response: reapi.ExecuteResponse) -> OperationRecord:
        """An operation that is done from the start, for an action that cannot be run (EXE-14)."""
        self._refuse_if_stopping()
        record = self._new_record(spec)
        self.state.operations.add(record.name, "")
        self.state.operations.finish(record.name, self.clock.monotonic())
        record.stage, record.response = do.Stage.COMPLETED, response
        return record

    def operation(self, name: str) -> OperationRecord | None:
        """The record of an operation, or None if there is none or it was forgotten (OP-02)."""
        return self._records.get(name)

    def operations(self) -> list[OperationRecord]:
        """Every operation that can be asked for, the oldest first."""
        return list(self._records.values())

    def cancel(self, name: str) -> None:
        """Ends an operation that is not done (OP-08)."""
        self._feed(on.Cancelled(name))

    def forget(self, name: str) -> None:
        """Drops a finished operation (OP-07)."""
        self._feed(on.Forgotten(name))

    # Workers.

    def joined(self, event: on.WorkerJoined) -> None:
        """A worker opened a session."""
        self._feed(event)

    def stated(self, event: on.WorkerStated) -> None:
        """A worker said what it holds."""
        self._feed(event)

    def lost(self, name: str, incarnation: str, reason: str) -> None:
        """A worker left for good."""
        self._feed(on.WorkerLost(name, incarnation, reason))

    def drain_worker(self, name: str) -> None:
        """Gives this worker nothing more."""
        self._feed(on.DrainRequested(name))

    async def completed(
        self, event: on.Completed, response: reapi.ExecuteResponse, *, caches: bool
    ) -> None:
        """A worker's result, or the lack of one; a good one enters the action cache first.

        `caches` is whether the worker thinks that the result may be kept.
        """
        group = self.state.live_group(event.name, event.incarnation, event.lease)
        if group is not None:
            record = self._groups[group.id]
            if event.succeeded or event.culprit is on.Culprit.ACTION:
                self._complete_metadata(record, response)
                record.response = response
            if caches and event.succeeded and _is_cacheable(record, response):
                await self._store_result(record.submission.spec, response.result)
        self._feed(event)

    def lease_message(self, lease: do.Lease) -> protocol.FromScheduler | None:
        """The message that gives a lease to its worker."""
        record = self._groups.get(lease.group)
        if record is None:
            return None
        submission, spec = record.submission, record.submission.spec
        message = protocol.Lease(
            lease_id=lease.lease,
            attempt=protocol.Attempt(group=lease.group, number=lease.attempt, epoch=self.epoch),
            instance_name=spec.instance,
            digest_function=spec.key.function,
            action_hash=spec.key.hash,
            action_size_bytes=spec.key.size,
            priority=spec.priority,
            traceparent=submission.traceparent,
            request_metadata=submission.request_metadata,
            action=submission.action,
            command=submission.command,
        )
        if submission.timeout is not None:
            message.timeout.FromNanoseconds(int(submission.timeout * 1e9))
        message.queued_at.FromNanoseconds(int(record.queued_at * 1e9))
        return protocol.FromScheduler(lease=message)

    # Inside.

    def _feed(self, event: on.Event) -> None:
        self._commands.extend(self.state.handle(event, self.clock.monotonic()))
        self._wake.set()

    async def _carry_out(self) -> None:
        while True:
            while self._commands:
                command = self._commands.popleft()
                try:
                    await self._do(command)
                except Exception:
                    log.exception("Could not carry out %s", type(command).__name__)
            self._wake.clear()
            await self._wake.wait()

    async def _do(self, command: do.Command) -> None:
        match command:
            case do.Persist():
                await self._journal.append(self.epoch, command.rows)
            case do.Publish():
                for name in command.operations:
                    self._publish(name, command.stage)
            case do.Finish():
                self._finish(command)
            case do.Lease():
                self._groups[command.group].worker = command.worker
                self._send(command, self.lease_message(command))
            case do.Revoke():
                revoke = protocol.Revoke(
                    lease_id=command.lease, reason=command.reason, kill=command.kill
                )
                self._send(command, protocol.FromScheduler(revoke=revoke))
            case do.Acknowledge():
                acknowledge = protocol.Acknowledge(lease_id=command.lease)
                self._send(command, protocol.FromScheduler(acknowledge=acknowledge))
            case do.LookUp():
                self._spawn(self._look_up(command.group))
            case do.Touch():
                self._spawn(self._touch(command.groups))
            case do.Expire():
                for name in command.operations:
                    self._records.pop(name, None)
            case do.Dismiss():
                log.warning("Worker %s is gone: %s.", command.worker, command.reason)
                connection = self.connections.get(command.worker, command.incarnation)
                if connection is not None:
                    connection.end(command.reason)

    def _send(
        self,
        command: do.Lease | do.Revoke | do.Acknowledge,
        message: protocol.FromScheduler | None,
    ) -> None:
        """Sends to a worker; what a closed session misses, the next statement heals."""
        connection = self.connections.get(command.worker, command.incarnation)
        if connection is not None and message is not None:
            connection.send(message)

    def _publish(self, name: str, stage: do.Stage) -> None:
        record = self._records.get(name)
        if record is not None and not record.is_done and record.stage is not stage:
            record.stage = stage
            record.changed()

    def _finish(self, command: do.Finish) -> None:
        group = self._groups.get(command.group)
        if command.group_ended:
            self._groups.pop(command.group, None)
        if command.code is None:
            response = group.response if group is not None else None
            assert response is not None, "a group ended without a response"
        else:
            response = reapi.ExecuteResponse(message=command.explanation)
            response.status.code = command.code
            response.status.message = command.message
        for name in command.operations:
            record = self._records.get(name)
            if record is not None:
                record.response, record.stage = response, do.Stage.COMPLETED
                record.changed()

    async def _look_up(self, group: str) -> None:
        record = self._groups.get(group)
        if record is None:
            return
        spec = record.submission.spec
        hit = False
        try:
            data = await self._read_result(spec)
            if data is not None:
                result = reapi.ActionResult.FromString(data)
                record.response = reapi.ExecuteResponse(result=result, cached_result=True)
                hit = result.exit_code == 0
        except RemexError as error:
            log.warning("The action cache did not answer for %s: %s", spec.key, error.message)
        self._feed(on.LookedUp(group, hit))

    async def _read_result(self, spec: on.ActionSpec) -> bytes | None:
        instance = self._instances.resolve(spec.instance)
        key = instance.ac_key(spec.key)
        return await ops.read_or_none(instance.ac, key, max_bytes=_MAX_RESULT_BYTES)

    async def _store_result(self, spec: on.ActionSpec, result: reapi.ActionResult) -> None:
        instance = self._instances.resolve(spec.instance)
        try:
            await ops.write_bytes(
                instance.ac,
                instance.ac_key(spec.key),
                result.SerializeToString(deterministic=True),
            )
        except RemexError as error:
            log.warning("The result of %s could not be cached: %s", spec.key, error.message)

    async def _touch(self, groups: tuple[str, ...]) -> None:
        by_instance: dict[str, set[Key]] = {}
        for name in groups:
            record = self._groups.get(name)
            if record is not None:
                by_instance.setdefault(record.submission.spec.instance, set()).update(
                    _keys(record.submission)
                )
        for name, keys in by_instance.items():
            try:
                await self._instances.resolve(name).cas.find_missing(keys)
            except RemexError as error:
                log.warning("Inputs of waiting actions could not be touched: %s", error.message)

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _TICK_SECONDS
            await asyncio.sleep(_TICK_SECONDS)
            self._feed(on.Tick(max(0.0, loop.time() - due)))

    def _complete_metadata(self, record: GroupRecord, response: reapi.ExecuteResponse) -> None:
        """Makes the times of a result rise, from the scheduler's own time of queueing (MET-01)."""
        metadata = response.result.execution_metadata
        metadata.queued_timestamp.FromNanoseconds(int(record.queued_at * 1e9))
        latest = metadata.queued_timestamp
        for name in _TIMES_IN_ORDER:
            current = getattr(metadata, name)
            if (current.seconds, current.nanos) < (latest.seconds, latest.nanos):
                current.CopyFrom(latest)
            latest = current

    def _new_record(self, spec: on.ActionSpec) -> OperationRecord:
        prefix = f"{spec.instance}/" if spec.instance else ""
        name = f"{prefix}operations/{uuid.uuid4()}"
        record = self._records[name] = OperationRecord(name, spec, self.clock.now())
        return record

    def _refuse_if_stopping(self) -> None:
        if self._draining:
            raise Unavailable("The scheduler is stopping.", hint="Try again in a moment.")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


_TIMES_IN_ORDER: Final = (
    "worker_start_timestamp",
    "input_fetch_start_timestamp",
    "input_fetch_completed_timestamp",
    "execution_start_timestamp",
    "execution_completed_timestamp",
    "output_upload_start_timestamp",
    "output_upload_completed_timestamp",
    "worker_completed_timestamp",
)


def _is_cacheable(record: GroupRecord, response: reapi.ExecuteResponse) -> bool:
    """Whether a result may enter the action cache (EXE-10, EXE-25, AC-17)."""
    return (
        record.submission.caches
        and response.status.code == Code.OK
        and response.result.exit_code == 0
    )


def _keys(submission: Submission) -> list[Key]:
    """What an action needs that the scheduler knows of: the Action, Command and input root."""
    key = submission.spec.key
    action = reapi.Action.FromString(submission.action)
    return [
        key,
        *(
            key._replace(hash=digest.hash, size=digest.size_bytes)
            for digest in (action.command_digest, action.input_root_digest)
            if digest.size_bytes
        ),
    ]
