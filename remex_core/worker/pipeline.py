"""One lease from its assignment to its result, several of them at once.

Stages: fetch the inputs and make them on disk, wait for a slot, run, collect and upload. Each
is bounded, and a lease holds a slot only while its process runs, so that network, processors
and disk stay busy side by side.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from remex_core.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    RemexError,
    Unavailable,
)
from remex_core.proto import reapi, rpc_status, worker
from remex_core.store import ops
from remex_core.store.contract import LocalFiles, Store
from remex_core.wire.status import to_status
from remex_core.worker.outputs import collect
from remex_core.worker.staging import Staged, Stager
from remex_core.worker.timeline import Mark, Timeline
from remex_core.worker.upload import upload
from remex_core.worker.work_directory import remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from remex_core.clock import Clock
    from remex_core.digest import Key
    from remex_core.worker.executor import Executor, RunOutcome
    from remex_core.worker.options import Terms, WorkerOptions
    from remex_core.worker.outputs import Collected
    from remex_core.worker.work_directory import ActionDirectory, WorkDirectory

log = logging.getLogger("remex.worker")

TIMEOUT_MESSAGE: Final = "execution timeout exceeded"
"""The exact text that clients look for (EXE-24)."""

_STAGES_AT_ONCE: Final = 4
_REMOVALS_BEHIND: Final = 16


class Pipeline:
    """Runs leases.

    Args:
        options: who the worker is, and its bounds.
        store: where inputs come from and outputs go.
        executor: what runs commands.
        work: where their directories are made.
        terms: what the scheduler said, kept up to date by the session.
        clock: the worker's.
    """

    def __init__(
        self,
        options: WorkerOptions,
        store: Store,
        executor: Executor,
        work: WorkDirectory,
        terms: Terms,
        clock: Clock,
    ) -> None:
        self._options = options
        self._store = store
        self._executor = executor
        self._work = work
        self._terms = terms
        self._clock = clock
        self._stager = Stager(store, options.limits, options.max_input_entries)
        self._fetching = asyncio.Semaphore(max(_STAGES_AT_ONCE, options.slots))
        self._slots = asyncio.Semaphore(options.slots)
        self._uploading = asyncio.Semaphore(max(_STAGES_AT_ONCE, options.slots))
        self._removals: set[asyncio.Task[None]] = set()

    async def execute(
        self, lease: worker.Lease, enter: Callable[[worker.LeaseState], None]
    ) -> worker.Result:
        """The result of a lease, whatever becomes of it; `enter` is told of each state.

        Cancelling kills the action's processes and leaves nothing behind.
        """
        run = _Run(lease, Timeline(self._clock, self._terms.offset))
        run.timeline.mark(Mark.WORKER_START)
        try:
            await self._stages(run, enter)
        except RemexError as error:
            run.fail(error)
        except OSError as error:
            run.fail(
                Unavailable(f"The worker {self._options.name} failed: {error}."), worker.WORKER
            )
        except Exception:
            incident = uuid.uuid4().hex[:12]
            log.exception("incident %s while running lease %s", incident, lease.lease_id)
            why = f"The worker {self._options.name} failed unexpectedly (incident {incident})."
            run.fail(Internal(why), worker.WORKER)
        finally:
            if run.directory is not None:
                self._remove(run.directory.path)
        log.info("%s", run.line(self._options.name))
        return run.result

    async def close(self) -> None:
        """Waits until the directories of all actions are gone."""
        while self._removals:
            await asyncio.wait(self._removals)

    async def _stages(self, run: _Run, enter: Callable[[worker.LeaseState], None]) -> None:
        async with self._fetching:
            while len(self._removals) >= _REMOVALS_BEHIND:
                await asyncio.wait(self._removals, return_when=asyncio.FIRST_COMPLETED)
            enter(worker.FETCHING)
            run.timeline.mark(Mark.FETCH_START)
            run.directory = await asyncio.to_thread(self._work.new_action)
            staged = await self._stager.stage(run.lease, run.directory)
            run.timeline.mark(Mark.FETCH_END)
        enter(worker.READY)
        async with self._slots:
            enter(worker.RUNNING)
            run.culprit = worker.WORKER
            run.timeline.mark(Mark.RUN_START)
            run.outcome = outcome = await self._executor.run(staged.request)
            run.timeline.mark(Mark.RUN_END)
        enter(worker.UPLOADING)
        async with self._uploading:
            run.culprit = worker.CAS
            run.timeline.mark(Mark.UPLOAD_START)
            function = self._stager.function(run.lease)
            tampered, collected = await asyncio.to_thread(self._collect, staged, outcome, run.lease)
            if tampered:
                await self._discard(tampered, run)
            await upload(self._store, collected.files, collected.blobs)
            run.timeline.mark(Mark.UPLOAD_END)
            run.timeline.mark(Mark.WORKER_END)
            run.finish(collected, self._options.name)
            await self._attach(run, function.key_of, collected.result)

    def _collect(
        self, staged: Staged, outcome: RunOutcome, lease: worker.Lease
    ) -> tuple[Collection[Key], Collected]:
        """Everything that is to be read from disk after a run, in one thread hop."""
        request = staged.request
        if outcome.spawn_error:
            with request.stderr.open("a") as stderr:
                stderr.write(f"{outcome.spawn_error}\n")
        local = ops.capability(self._store, LocalFiles)
        tampered: Collection[Key] = ()
        if local is not None and staged.links is not None:
            tampered = local.verify_links(staged.links)
        collected = collect(
            request.root,
            staged.command,
            self._stager.function(lease),
            stdout=request.stdout,
            stderr=request.stderr,
            max_file_bytes=self._options.max_output_file_bytes,
        )
        return tampered, collected

    async def _discard(self, tampered: Collection[Key], run: _Run) -> None:
        """Takes blobs out of the store that were changed through their links."""
        await self._store.discard(tampered)
        log.warning(
            "action %s/%d changed %d of its inputs in place; they were discarded from the store",
            run.lease.action_hash,
            run.lease.action_size_bytes,
            len(tampered),
        )
        run.note("Inputs were changed in place while this action ran, so its result is not cached.")

    async def _attach(
        self, run: _Run, key_of: Callable[[bytes], Key], result: reapi.ActionResult
    ) -> None:
        """Puts the ActionResult into the lease's result, or into the CAS if it is large."""
        data = result.SerializeToString()
        if len(data) <= self._terms.max_inline_result_bytes:
            run.result.action_result = data
            return
        key = key_of(data)
        await ops.write_bytes(self._store, key, data)
        run.result.action_result_hash = key.hash
        run.result.action_result_size_bytes = key.size

    def _remove(self, path: Path) -> None:
        """Removes a directory in the background."""
        task = asyncio.create_task(asyncio.to_thread(_remove_or_log, path))
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)


class _Run:
    """What is known of one lease while it goes through the stages.

    `culprit` is to blame for an error that does not say itself that the action is.
    """

    def __init__(self, lease: worker.Lease, timeline: Timeline) -> None:
        self.lease = lease
        self.timeline = timeline
        self.directory: ActionDirectory | None = None
        self.outcome: RunOutcome | None = None
        self.culprit = worker.CAS
        self.result = worker.Result(lease_id=lease.lease_id, attempt=lease.attempt, cacheable=True)
        self._notes: list[str] = []

    def note(self, text: str) -> None:
        """Adds a sentence for the person whose action this is; the result is not cached."""
        self._notes.append(text)
        self.result.message = "\n".join(self._notes)
        self.result.cacheable = False

    def fail(self, error: RemexError, culprit: worker.Culprit | None = None) -> None:
        """Ends the lease with an error."""
        if culprit is None:
            guilty = isinstance(error, InvalidArgument | FailedPrecondition)
            culprit = worker.ACTION if guilty else self.culprit
        self.result.status.CopyFrom(to_status(error))
        self.result.culprit = culprit
        self.result.cacheable = False
        if error.hint:
            self.note(error.hint)

    def finish(self, collected: Collected, worker_name: str) -> None:
        """Ends the lease with what was collected."""
        outcome = self.outcome
        assert outcome is not None
        result = collected.result
        result.exit_code = outcome.exit_code
        result.execution_metadata.CopyFrom(
            self.timeline.metadata(worker_name, self.lease.queued_at, outcome.wall_seconds)
        )
        self.result.status.CopyFrom(rpc_status.Status())
        if outcome.stdio_truncated:
            self.note("The action printed more than is kept, so its result is not cached.")
        if outcome.spawn_error:
            self.note(outcome.spawn_error)
        if outcome.killed_by:
            self.note(
                f"The action was killed because it went over its limit of {outcome.killed_by}."
            )
        if outcome.timed_out:
            self.fail(DeadlineExceeded(TIMEOUT_MESSAGE), worker.ACTION)
        elif collected.problems:
            self.fail(collected.problems[0], worker.ACTION)
        for problem in collected.problems[1:]:
            self.note(problem.message)

    def line(self, worker_name: str) -> str:
        """The canonical log line."""
        timeline, lease = self.timeline, self.lease
        queue = timeline.since_queued(lease.queued_at.ToNanoseconds() / 1e9)
        stages = (
            ("queue", queue),
            ("fetch", timeline.seconds(Mark.FETCH_START, Mark.FETCH_END)),
            ("run", timeline.seconds(Mark.RUN_START, Mark.RUN_END)),
            ("upload", timeline.seconds(Mark.UPLOAD_START, Mark.UPLOAD_END)),
        )
        code = self.result.status.code
        return " ".join(
            [
                f"action done worker={worker_name} operation={lease.attempt.group}",
                f"digest={lease.action_hash}/{lease.action_size_bytes}",
                f"exit={'-' if self.outcome is None else self.outcome.exit_code}",
                *(f"{name}={seconds * 1000:.0f}ms" for name, seconds in stages),
                f"mnemonic={_mnemonic(lease)}",
                *([f"status={code} {self.result.status.message!r}"] if code else []),
            ]
        )


def _mnemonic(lease: worker.Lease) -> str:
    try:
        metadata = reapi.RequestMetadata.FromString(lease.request_metadata)
    except DecodeError:
        return "-"
    return "".join(metadata.action_mnemonic.split()) or "-"


def _remove_or_log(path: Path) -> None:
    try:
        remove_tree(path)
    except OSError as error:
        log.warning("The directory of an action cannot be removed: %s", error)
