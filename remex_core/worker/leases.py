"""The leases that a worker holds: what it says of them, and what the scheduler says of them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from remex_core.errors import Cancelled
from remex_core.proto import worker
from remex_core.wire.status import to_status

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine
    from typing import Any

log = logging.getLogger("remex.worker")


class Execute(Protocol):
    """What turns a lease into its result; see `Pipeline.execute`."""

    def __call__(
        self, lease: worker.Lease, enter: Callable[[worker.LeaseState], None], /
    ) -> Coroutine[Any, Any, worker.Result]: ...


class HeldLease:
    """One lease, from when it was taken until its result is acknowledged."""

    def __init__(self, lease: worker.Lease) -> None:
        self.lease = lease
        self.state: worker.LeaseState = worker.ASSIGNED
        self.result: worker.Result | None = None
        self.task: asyncio.Task[worker.Result] | None = None
        self.stated_in = 0
        """The first statement of this session that named it; 0 before that."""
        self.unwanted = False


class Leases:
    """All leases of a worker, by id.

    Args:
        execute: runs one.
        changed: called after every change that a scheduler is to hear of.
        finished: called when there is a result to be sent.
    """

    def __init__(
        self, execute: Execute, changed: Callable[[], None], finished: Callable[[], None]
    ) -> None:
        self._execute = execute
        self._changed = changed
        self._finished = finished
        self._held: dict[str, HeldLease] = {}

    def __len__(self) -> int:
        return len(self._held)

    def take(self, lease: worker.Lease) -> None:
        """Starts work on a lease; one that is held already is left as it is."""
        if lease.lease_id in self._held:
            return
        held = self._held[lease.lease_id] = HeldLease(lease)

        def enter(state: worker.LeaseState) -> None:
            held.state = state
            self._changed()

        held.task = asyncio.create_task(self._execute(lease, enter))
        held.task.add_done_callback(lambda task: self._ended(held, task))
        self._changed()

    def _ended(self, held: HeldLease, task: asyncio.Task[worker.Result]) -> None:
        if task.cancelled() and held.unwanted:
            del self._held[held.lease.lease_id]
            self._changed()
            return
        if task.cancelled():
            held.result = worker.Result(
                lease_id=held.lease.lease_id,
                attempt=held.lease.attempt,
                status=to_status(Cancelled("The lease was revoked.")),
                revoked=True,
            )
        else:
            held.result = task.result()
        held.state = worker.DONE
        self._changed()
        self._finished()

    def revoke(self, revoke: worker.Revoke) -> None:
        """Drops a lease; one whose process has started only where `kill` says so."""
        held = self._held.get(revoke.lease_id)
        if held is None or held.task is None:
            return
        started = held.state in {worker.RUNNING, worker.UPLOADING}
        if revoke.kill or not started:
            held.task.cancel()

    def acknowledge(self, lease_id: str) -> None:
        """Forgets a lease whose result the scheduler has."""
        held = self._held.get(lease_id)
        if held is not None and held.result is not None:
            del self._held[lease_id]
            self._changed()

    def believe(self, belief: worker.Belief) -> None:
        """Drops what the scheduler, knowing of it, does not believe in; results wait on."""
        believed = set(belief.lease_ids)
        for lease_id, held in self._held.items():
            known = 0 < held.stated_in <= belief.statement_sequence
            if known and lease_id not in believed and held.task is not None:
                held.unwanted = True
                held.task.cancel()

    def begin_session(self) -> None:
        """Forgets what an earlier session was told."""
        for held in self._held.values():
            held.stated_in = 0

    def state(self, sequence: int) -> list[worker.LeaseStatement]:
        """What to say of each lease in the statement with this sequence number."""
        for held in self._held.values():
            held.stated_in = held.stated_in or sequence
        return [
            worker.LeaseStatement(lease_id=lease_id, attempt=held.lease.attempt, state=held.state)
            for lease_id, held in self._held.items()
        ]

    def results(self, but: Collection[str]) -> list[worker.Result]:
        """The results that wait to be acknowledged, without the leases in `but`."""
        return [
            held.result
            for lease_id, held in self._held.items()
            if held.result is not None and lease_id not in but
        ]

    async def cancel_all(self) -> None:
        """Ends everything that runs."""
        tasks = [held.task for held in self._held.values() if held.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
