"""Runs one action at a time, and leaves none of its processes behind.

A supervisor is forked by the runner and speaks with the worker over one socket: a `run` frame
comes in, perhaps a `kill`, and one `outcome` or `refused` frame goes back when nothing of the
action is left. When the socket closes, it kills what runs and ends.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from remex_core.clock import SYSTEM
from remex_core.worker.runner import frames, process_tree

if TYPE_CHECKING:
    import socket

CHECK_SECONDS: Final = 0.1
"""How often an action is looked at: whether its output is over the cap, which is then cut off,
and whether it uses more than it may."""

KILL: Final[dict[str, Any]] = {"kill": True}
"""The frame that ends the running action: SIGTERM, the grace, SIGKILL."""

READY: Final[dict[str, Any]] = {"ready": True}
"""The frame that a supervisor sends first."""

_UNKILLABLE_SECONDS: Final = 20.0
_CANNOT_EXECUTE: Final = 126
_NOT_FOUND: Final = 127
_NOT_EXECUTABLE: Final = frozenset(
    {
        errno.EACCES,
        errno.ENOEXEC,
        errno.EISDIR,
        errno.ELOOP,
        errno.EPERM,
        errno.ENAMETOOLONG,
    }
)
_SHOWN: Final = 200


def supervise(connection: socket.socket) -> None:
    """Serves run requests until the worker closes the connection.

    Raises:
        OSError: if this process cannot become a subreaper.
    """
    process_tree.become_subreaper()
    with _child_exits() as exits:
        connection.sendall(frames.encode(READY))
        while (frame := frames.receive(connection)) is not None:
            if frame == KILL:
                continue  # It crossed the outcome of the action that it was meant for.
            action = _Action(connection, exits, frame)
            answer = action.run()
            # A closed connection shows at the next receive.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(frames.encode(answer))


class _child_exits:  # noqa: N801 - used like a function
    """A file descriptor that becomes readable when a child ends."""

    def __enter__(self) -> int:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, _ignore)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self._read

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self._read)
        os.close(self._write)


def _ignore(_number: int, _frame: object) -> None:
    """Handles a signal by doing nothing: unlike SIG_IGN, that is not inherited by an action."""


class _Action:
    """One action from its start until no process of it is left."""

    def __init__(self, connection: socket.socket, exits: int, request: dict[str, Any]) -> None:
        self._connection = connection
        self._exits = exits
        self._request = request
        self._stdio: list[int] = []
        self._main = 0
        self._code: int | None = None
        self._wall = 0.0
        self._kill_at: float | None = None
        self._timed_out = False
        self._killed_by = ""
        self._checked = 0.0
        self._truncated = False
        self._user = self._system = 0.0
        self._max_rss = 0

    def run(self) -> dict[str, Any]:
        """Runs the action to its end; the answer is the frame to send."""
        try:
            self._open_stdio()
            try:
                started = SYSTEM.monotonic()
                refusal = self._start()
                if refusal is not None:
                    return refusal
                self._wait(started)
                left = self._end_leftovers()
                self._cut_stdio()
            finally:
                for descriptor in self._stdio:
                    os.close(descriptor)
        except OSError as error:
            return _refused("unavailable", f"The action could not be run: {error}.")
        if left:
            return _refused("unavailable", f"{left} of the action's processes cannot be killed.")
        return self._outcome()

    def _open_stdio(self) -> None:
        # Appending, so that a cut file goes on at its new end.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        for name in ("stdout", "stderr"):
            self._stdio.append(os.open(self._request[name], flags, 0o600))

    def _start(self) -> dict[str, Any] | None:
        request = self._request
        argv = request["argv"]
        account: dict[str, Any] = request["account"] or {}
        try:
            process = subprocess.Popen(
                argv,
                cwd=request["cwd"],
                env=request["env"],
                stdin=subprocess.DEVNULL,
                stdout=self._stdio[0],
                stderr=self._stdio[1],
                start_new_session=True,
                **account,
            )
        except OSError as error:
            return _start_failure(argv[0], request["cwd"], error)
        except ValueError as error:
            return _refused("invalid", f"The command cannot be started: {error}.")
        self._main = process.pid
        process.returncode = 0  # This process does its own reaping.
        return None

    def _wait(self, started: float) -> None:
        timeout = self._request["timeout"]
        deadline = None if timeout is None else started + timeout
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        poll.register(self._exits, select.POLLIN)
        while self._code is None:
            now = SYSTEM.monotonic()
            if deadline is not None and now >= deadline and self._kill_at is None:
                self._timed_out = True
                self._terminate(now)
            if self._kill_at is not None and now >= self._kill_at:
                process_tree.kill()
                self._kill_at = now + CHECK_SECONDS
            due = self._kill_at if self._kill_at is not None else deadline
            pause = CHECK_SECONDS if due is None else min(CHECK_SECONDS, due - now)
            ready = poll.poll(max(0.0, pause) * 1000)
            if any(descriptor == self._connection.fileno() for descriptor, _ in ready):
                self._obey()
            self._cut_stdio()
            self._check_usage()
            self._reap()
        self._wall = SYSTEM.monotonic() - started

    def _obey(self) -> None:
        if frames.receive(self._connection) is None:
            process_tree.kill()
            os._exit(self._drain())
        if self._kill_at is None:
            self._terminate(SYSTEM.monotonic())

    def _drain(self) -> int:
        """Reaps all that was killed when nobody waits for an answer any more."""
        return 1 if self._end_leftovers() else 0

    def _terminate(self, now: float) -> None:
        process_tree.terminate()
        self._kill_at = now + self._request["grace"]

    def _reap(self) -> bool:
        """Reaps what has ended; answers whether children are left."""
        with suppress(BlockingIOError):
            os.read(self._exits, 4096)
        try:
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    return True
                self._user += usage.ru_utime
                self._system += usage.ru_stime
                self._max_rss = max(self._max_rss, usage.ru_maxrss * 1024)
                if pid == self._main:
                    code = os.waitstatus_to_exitcode(status)
                    self._code = code if code >= 0 else 128 - code
        except ChildProcessError:
            return False

    def _end_leftovers(self) -> int:
        """Kills what the main process left behind; answers how many would not die."""
        give_up = SYSTEM.monotonic() + _UNKILLABLE_SECONDS
        poll = select.poll()
        poll.register(self._exits, select.POLLIN)
        while self._reap():
            if SYSTEM.monotonic() >= give_up:
                return len(process_tree.descendants())
            process_tree.kill()
            poll.poll(CHECK_SECONDS * 1000)
        return 0

    def _cut_stdio(self) -> None:
        limit = self._request["max_stdio"]
        for descriptor in self._stdio:
            if os.fstat(descriptor).st_size > limit:
                os.ftruncate(descriptor, limit)
                self._truncated = True

    def _check_usage(self) -> None:
        """Kills an action that uses more memory or processes than it may."""
        max_memory, max_processes = self._request["max_memory"], self._request["max_processes"]
        now = SYSTEM.monotonic()
        limited = max_memory is not None or max_processes is not None
        if not limited or now - self._checked < CHECK_SECONDS or self._killed_by:
            return
        self._checked = now
        found = process_tree.descendants()
        if max_processes is not None and len(found) > max_processes:
            self._killed_by = f"{max_processes} processes"
        elif max_memory is not None and process_tree.private_bytes(found) > max_memory:
            self._killed_by = f"{max_memory} bytes of memory"
        if self._killed_by:
            process_tree.kill()

    def _outcome(self) -> dict[str, Any]:
        return {
            "outcome": {
                "exit_code": self._code,
                "timed_out": self._timed_out,
                "killed_by": self._killed_by,
                "wall_seconds": self._wall,
                "stdio_truncated": self._truncated,
            },
            "usage": {
                "user_seconds": self._user,
                "system_seconds": self._system,
                "max_rss_bytes": self._max_rss,
            },
        }


def _refused(kind: str, message: str) -> dict[str, Any]:
    return {"refused": kind, "message": message}


def _start_failure(program: str, cwd: str, error: OSError) -> dict[str, Any]:
    """What to answer when the command did not start (ACT-05, ACT-08, ACT-18)."""
    if error.errno == errno.E2BIG:
        return _refused(
            "invalid",
            "The command's arguments and environment are longer than the operating system takes.",
        )
    if error.filename == cwd and program != cwd:
        innocent = error.errno not in {errno.ENOENT, errno.ENOTDIR}
        return _refused(
            "unavailable" if innocent else "invalid",
            f"The working directory cannot be entered: {error.strerror}.",
        )
    shown, why = program[:_SHOWN], str(error.strerror)
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        code, why = _not_there(program, cwd)
    elif error.errno in _NOT_EXECUTABLE:
        code = _CANNOT_EXECUTE
    else:
        return _refused("unavailable", f"{shown} could not be started: {error.strerror}.")
    return {
        "outcome": {"exit_code": code, "spawn_error": f"{shown} cannot be executed: {why}"},
        "usage": {},
    }


def _not_there(program: str, cwd: str) -> tuple[int, str]:
    """Tells a program that is not there from one whose interpreter is not."""
    if "/" not in program:
        return _NOT_FOUND, "no such program on the command's PATH"
    if os.path.exists(os.path.join(cwd, program)):  # noqa: PTH110, PTH118 - strings are at hand
        return _CANNOT_EXECUTE, "it exists, but its interpreter or loader does not"
    return _NOT_FOUND, "no such file in the working directory's tree or on the worker"
