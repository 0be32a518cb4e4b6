"""Builds the demo's program through a remex, as a build tool would."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from remex_core.client.actions import Command
from remex_core.errors import FailedPrecondition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from remex_core.client import RemoteClient
    from remex_core.demo.program import Program, Step
    from remex_core.digest import Key

_JOBS: Final = 16
_ENVIRONMENT: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


@dataclass(frozen=True, slots=True)
class Done:
    """How one step went: on which worker, the seconds it ran there, and if that was this time."""

    output: str
    worker: str
    seconds: float
    cached: bool
    made: Key


@dataclass(frozen=True, slots=True)
class Build:
    """One build of a program on a server; `ended` is called as each step ends."""

    client: RemoteClient
    program: Program
    ended: Callable[[Done], None]

    async def run(self) -> list[Done]:
        """Every step, in the order of the program.

        Raises:
            FailedPrecondition: if a step fails; says what it printed.
            RemexError: if a step could not be run.
        """
        room = asyncio.Semaphore(_JOBS)

        async def compile_one(step: Step) -> Done:
            async with room:
                return await self._run(step, {})

        tasks = [asyncio.create_task(compile_one(step)) for step in self.program.compiles]
        try:
            compiled = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        linked = await self._run(self.program.link, {done.output: done.made for done in compiled})
        return [*compiled, linked]

    async def _run(self, step: Step, made: Mapping[str, Key]) -> Done:
        command = Command(
            step.argv,
            {**step.sources, **made},
            outputs=(step.output,),
            environment=_ENVIRONMENT,
            timeout=60,
        )
        finished = await self.client.run(command)
        result = finished.result
        if result.exit_code != 0 or not result.output_files:
            printed = (await self.client.stderr(result)).decode(errors="replace")
            raise FailedPrecondition(
                f"The step that makes {step.output} ended with {result.exit_code}.",
                hint=f"{' '.join(step.argv)}\n{printed}",
            )
        metadata = result.execution_metadata
        ran = (
            metadata.execution_completed_timestamp.ToNanoseconds()
            - metadata.execution_start_timestamp.ToNanoseconds()
        )
        done = Done(
            step.output,
            metadata.worker,
            ran / 1e9,
            finished.cached,
            self.client.key(result.output_files[0].digest),
        )
        self.ended(done)
        return done
