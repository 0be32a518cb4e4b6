"""What the engine keeps beside the machine: the payload of groups, and what watchers see."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from remex_core.scheduler.commands import Stage

if TYPE_CHECKING:
    from remex_core.digest import Key
    from remex_core.proto import reapi
    from remex_core.scheduler.events import ActionSpec


@dataclass(frozen=True, slots=True)
class Submission:
    """One Execute call as the engine takes it.

    `action` and `command` are the serialised messages, or empty where the worker shall read them;
    `inputs` are the blobs that are known to belong to it. `timeout` is in seconds or None,
    `caches` tells whether a good result enters the action cache. `inline` is a request with
    nothing but the wishes for inlined outputs, or None where there are none (EXE-32).
    """

    spec: ActionSpec
    action: bytes
    command: bytes
    inputs: tuple[Key, ...]
    timeout: float | None
    caches: bool
    traceparent: str = ""
    request_metadata: bytes = b""
    inline: reapi.ExecuteRequest | None = None

    @property
    def carried(self) -> int:
        """How many bytes it keeps in memory for its worker."""
        return len(self.action) + len(self.command)


@dataclass(slots=True)
class GroupRecord:
    """The payload of a group, for as long as the machine has it. Times are Unix seconds.

    `cached` is what the look-up found, `response` what a worker delivered.
    """

    submission: Submission
    queued_at: float
    worker: str = ""
    cached: reapi.ExecuteResponse | None = None
    response: reapi.ExecuteResponse | None = None


@dataclass(slots=True, eq=False)
class OperationRecord:
    """One operation as its watchers see it: only the latest state counts.

    `response` is set once the operation is done. Everybody who waits holds one of `waiters`.
    """

    name: str
    spec: ActionSpec
    created_at: float
    inline: reapi.ExecuteRequest | None = None
    stage: Stage = Stage.CACHE_CHECK
    version: int = 0
    group: GroupRecord | None = None
    response: reapi.ExecuteResponse | None = None
    is_forgotten: bool = False
    waiters: set[asyncio.Future[None]] = field(default_factory=set)

    @property
    def is_done(self) -> bool:
        """Whether nothing further will happen to it."""
        return self.response is not None

    def publish(self, stage: Stage) -> None:
        """Notes where it stands."""
        if not self.is_done and self.stage is not stage:
            self.stage = stage
            self.changed()

    def finish(self, response: reapi.ExecuteResponse) -> None:
        """Notes how it ended."""
        self.stage, self.response, self.group = Stage.COMPLETED, response, None
        self.changed()

    def changed(self) -> None:
        """Wakes everybody who waits for news."""
        self.version += 1
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)
        self.waiters.clear()

    async def wait(self, version: int, timeout: float) -> None:
        """Returns when the version is no longer `version`, or after `timeout` seconds."""
        if self.version != version:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiters.add(waiter)
        try:
            await asyncio.wait((waiter,), timeout=timeout)
        finally:
            self.waiters.discard(waiter)
