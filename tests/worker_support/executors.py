"""Executors for tests of what stands above one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from remex_core.worker.executor import Executor, RunOutcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from remex_core.worker.executor import Runner, RunRequest


class RealExecutor(Executor):
    """Runs commands through a runner, with nothing but a TMPDIR added."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def offers(self) -> Mapping[str, Sequence[str]]:
        return {"Tested": ["yes"]}

    async def run(self, request: RunRequest) -> RunOutcome:
        environment = {"TMPDIR": str(request.tmp), **request.environment}
        return await self._runner.run(replace(request, environment=environment))

    async def close(self) -> None:
        pass


class HeldExecutor(Executor):
    """Runs nothing: each run lasts until it is let go; `outcome` may be an error to raise."""

    def __init__(self) -> None:
        self.outcome: RunOutcome | Exception = RunOutcome(exit_code=0)
        self.running: dict[str, asyncio.Event] = {}
        self.cancelled: list[str] = []
        self.started: asyncio.Queue[str] = asyncio.Queue()

    async def offers(self) -> Mapping[str, Sequence[str]]:
        return {}

    async def run(self, request: RunRequest) -> RunOutcome:
        self.running[request.id] = asyncio.Event()
        self.started.put_nowait(request.id)
        try:
            await self.running[request.id].wait()
        except asyncio.CancelledError:
            self.cancelled.append(request.id)
            raise
        finally:
            del self.running[request.id]
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def next(self) -> str:
        """The id of the next run that starts."""
        return await self.started.get()

    def let_go(self, request_id: str) -> None:
        """Lets a run end."""
        self.running[request_id].set()

    async def close(self) -> None:
        pass
