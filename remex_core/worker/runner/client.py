"""The worker's side of the runner: starts it, and runs actions through its supervisors."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import remex_core
from remex_core.errors import InvalidArgument, Unavailable
from remex_core.worker.executor import ResourceUsage, Runner, RunOutcome
from remex_core.worker.runner import frames
from remex_core.worker.runner.supervisor import KILL, READY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from remex_core.worker.executor import Account, RunRequest

_END_SECONDS = 30.0


class RunnerProcess(Runner):
    """A runner that is this process's child.

    Constructing one starts it at once, without an event loop: do so before anything heavy is
    imported or any thread started. It is started again when it died. Supervisors are kept and
    used again, so an action costs one fork of a small process.
    """

    def __init__(self) -> None:
        self._idle: list[_Supervisor] = []
        self._busy: set[_Supervisor] = set()
        self._closed = False
        self._start()

    def _start(self) -> None:
        control, theirs = socket.socketpair()
        source = Path(remex_core.__file__).parent.parent
        with theirs:
            self._process = subprocess.Popen(
                # No site-packages: the runner needs none, and starts in half the time.
                [
                    sys.executable,
                    "-S",
                    "-P",
                    "-m",
                    "remex_core.worker.runner",
                    str(theirs.fileno()),
                ],
                env={**os.environ, "PYTHONPATH": str(source)},
                cwd="/",
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._control = control

    @property
    def pid(self) -> int:
        """The process id of the runner that is used now."""
        return self._process.pid

    async def run(
        self,
        request: RunRequest,
        argv_prefix: Sequence[str] = (),
        account: Account | None = None,
    ) -> RunOutcome:
        supervisor = self._idle.pop() if self._idle else await self._supervisor()
        self._busy.add(supervisor)
        answer = asyncio.create_task(supervisor.ask(_frame(request, argv_prefix, account)))
        try:
            return _outcome(await _outlast(answer, supervisor))
        finally:
            self._busy.discard(supervisor)
            if supervisor.usable and not self._closed:
                self._idle.append(supervisor)
            else:
                supervisor.hang_up()

    async def _supervisor(self) -> _Supervisor:
        """A new supervisor, from a new runner where the one there was has died."""
        for _ in range(2):
            if self._closed:
                raise Unavailable("The runner is closed.")
            supervisor = await self._ask_for_supervisor()
            if supervisor is not None:
                return supervisor
            self._control.close()
            await asyncio.to_thread(self._process.wait, _END_SECONDS)
            self._start()
        raise Unavailable("The runner dies as soon as it is started.")

    async def _ask_for_supervisor(self) -> _Supervisor | None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [b"s"], [theirs.fileno()])
            except (BrokenPipeError, ConnectionResetError):
                ours.close()
                return None
        supervisor = _Supervisor(*await asyncio.open_connection(sock=ours))
        if await supervisor.is_there():
            return supervisor
        supervisor.hang_up()
        return None

    async def close(self) -> None:
        """Kills what still runs; afterwards neither the runner nor any action is left."""
        self._closed = True
        self._control.close()
        for supervisor in self._busy:
            supervisor.abandon()
        for supervisor in self._idle:
            supervisor.hang_up()
        self._idle.clear()
        await asyncio.to_thread(self._process.wait, _END_SECONDS)


class _Supervisor:
    """One supervisor: it runs one action at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.usable = True
        self._abandoned = False

    async def is_there(self) -> bool:
        """Whether the supervisor has begun; False if the runner died before it forked it."""
        try:
            return await self._receive() == READY
        except (OSError, asyncio.IncompleteReadError):
            return False

    async def ask(self, frame: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request to run something.

        Raises:
            Unavailable: if the supervisor died or was hung up on.
        """
        self.usable = False
        try:
            self._writer.write(frames.encode(frame))
            await self._writer.drain()
            answer = await self._receive()
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Unavailable("The runner died while it ran this action.") from error
        self.usable = True
        return answer

    async def _receive(self) -> dict[str, Any]:
        (length,) = frames.LENGTH.unpack(await self._reader.readexactly(frames.LENGTH.size))
        return frames.decode(await self._reader.readexactly(length))

    def kill(self) -> None:
        """Ends the running action: SIGTERM, the grace, SIGKILL."""
        if not self._abandoned:
            self._writer.write(frames.encode(KILL))

    def abandon(self) -> None:
        """Ends the supervisor, and with SIGKILL what it runs; `ask` fails when that is done."""
        if not self._abandoned and not self._writer.is_closing():
            self._abandoned = True
            self._writer.write_eof()

    def hang_up(self) -> None:
        """Closes the connection to a supervisor that runs nothing, which ends it."""
        self._writer.close()


async def _outlast(answer: asyncio.Task[dict[str, Any]], supervisor: _Supervisor) -> dict[str, Any]:
    """Waits for the answer, through cancellation as well: first kill, then leave.

    A second cancellation does without the grace.
    """
    try:
        return await asyncio.shield(answer)
    except asyncio.CancelledError:
        supervisor.kill()
        while not answer.done():
            try:
                await asyncio.wait([answer])
            except asyncio.CancelledError:
                supervisor.abandon()
        answer.exception()
        raise


def _frame(
    request: RunRequest, argv_prefix: Sequence[str], account: Account | None
) -> dict[str, Any]:
    limits = request.limits
    return {
        "argv": [*argv_prefix, *request.argv],
        "env": dict(request.environment),
        "cwd": str(request.root / request.working_directory),
        "stdout": str(request.stdout),
        "stderr": str(request.stderr),
        "timeout": limits.timeout,
        "grace": limits.kill_grace,
        "max_stdio": limits.max_stdio_bytes,
        "max_memory": limits.max_memory_bytes,
        "max_processes": limits.max_processes,
        "account": None
        if account is None
        else {"user": account.user, "group": account.group, "extra_groups": account.groups},
    }


def _outcome(answer: dict[str, Any]) -> RunOutcome:
    if "refused" in answer:
        if answer["refused"] == "invalid":
            raise InvalidArgument(answer["message"])
        raise Unavailable(answer["message"])
    return replace(RunOutcome(**answer["outcome"]), usage=ResourceUsage(**answer["usage"]))
