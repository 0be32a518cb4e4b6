"""Runs a real Bazel as a user would, and tells what it did with each action."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from e2e_support.execution_log import read_spawns
from e2e_support.grpc_log import read_executions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from e2e_support.execution_log import Spawn
    from remex_core.proto import reapi

needs_bazel = pytest.mark.skipif(
    shutil.which("bazel") is None,
    reason="bazel is not installed: apt-get install bazel-bootstrap g++",
)

LOCAL = ("--spawn_strategy=local",)
_READABLE = ("--color=no", "--curses=no", "--noshow_progress", "--verbose_failures")
_PATH = "/usr/local/bin:/usr/bin:/bin"


def remote_execution(endpoint: str) -> tuple[str, ...]:
    """The flags with which every action runs at `endpoint`, or fails."""
    return (
        f"--remote_executor={endpoint}",
        "--spawn_strategy=remote",
        "--genrule_strategy=remote",
        "--strategy=TestRunner=remote",
        "--remote_local_fallback=false",
        "--jobs=16",
    )


def remote_cache(endpoint: str) -> tuple[str, ...]:
    """The flags with which every action runs here, and its result is shared by `endpoint`."""
    return (f"--remote_cache={endpoint}", *LOCAL)


@dataclass(frozen=True, slots=True)
class Invocation:
    """One Bazel command that has ended."""

    command: Sequence[str]
    exit_code: int
    output: str = field(repr=False)
    """Standard output and error, as they came."""
    spawns: Sequence[Spawn] = field(repr=False)
    """Every action that Bazel executed, or took from a cache; its internal actions are not here."""
    executions: Sequence[reapi.ExecuteResponse] = field(repr=False)
    """Every response that a remote executor gave."""

    @property
    def runners(self) -> Counter[str]:
        """How many actions came by which way, such as `remote` or `remote cache hit`."""
        return Counter(spawn.runner for spawn in self.spawns)

    @property
    def workers(self) -> Counter[str]:
        """How many actions each worker ran, by the name in the result's metadata."""
        return Counter(execution.result.execution_metadata.worker for execution in self.executions)

    def expect(self, exit_code: int) -> Invocation:
        """Return this invocation if it ended so; else raise AssertionError with its output."""
        if self.exit_code != exit_code:
            raise AssertionError(
                f"{' '.join(self.command)}\nended with {self.exit_code}, not {exit_code}:\n"
                f"{self.output}"
            )
        return self


@dataclass(frozen=True, slots=True)
class RunningBazel:
    """A Bazel command that may still run."""

    command: Sequence[str]
    process: subprocess.Popen[bytes]
    records: Path

    def wait(self, seconds: float = 240) -> Invocation:
        """Return how the command ended; raise `subprocess.TimeoutExpired` if it did not."""
        exit_code = self.process.wait(seconds)
        return Invocation(
            command=self.command,
            exit_code=exit_code,
            output=(self.records / "output").read_text(errors="replace"),
            spawns=read_spawns(self.records / "execution.json"),
            executions=read_executions(self.records / "grpc"),
        )


class Bazel:
    """One Bazel server, of its own, for one workspace; close it to end that server.

    The user's rc file and environment have no say; the system's rc file has, because Debian's
    Bazel does not start without it. What Bazel builds is removed on close, the records of each
    command stay in `state` beside it.
    """

    def __init__(self, workspace: Path, state: Path, flags: Sequence[str] = ()) -> None:
        """Run in `workspace`, keep everything in `state`, pass `flags` to builds and tests."""
        self._workspace = workspace
        self._state = state
        self._flags = flags
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextmanager
    def started(self, command: str, *arguments: str) -> Iterator[RunningBazel]:
        """A command in the background, which is interrupted if it still runs on leaving."""
        records = self._state / f"{next(self._numbers)}-{command}"
        records.mkdir(parents=True)
        flags: list[str] = []
        if command in {"build", "test"}:
            flags += [
                *_READABLE,
                f"--execution_log_json_file={records / 'execution.json'}",
                f"--experimental_remote_grpc_log={records / 'grpc'}",
                *self._flags,
            ]
        full = [*self._startup(), command, *flags, *arguments]
        with (
            (records / "output").open("wb") as output,
            subprocess.Popen(
                full,
                cwd=self._workspace,
                env={"HOME": str(self._state), "PATH": _PATH, "LANG": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            try:
                yield RunningBazel(full, process, records)
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
                    _wait_or_kill(process)

    def run(self, command: str, *arguments: str) -> Invocation:
        """Run one command to its end, whatever that is."""
        with self.started(command, *arguments) as running:
            return running.wait()

    def close(self) -> None:
        """End the Bazel server and remove what it built."""
        self.run("shutdown").expect(0)
        root = self._output_user_root
        for directory, _, _ in os.walk(root):
            Path(directory).chmod(0o755)
        shutil.rmtree(root)

    @property
    def _output_user_root(self) -> Path:
        return self._state / "root"

    def _startup(self) -> list[str]:
        return [
            "bazel",
            "--nohome_rc",
            f"--output_user_root={self._output_user_root}",
            f"--host_jvm_args=-Djava.io.tmpdir={self._state}",  # it forgets files there
            "--max_idle_secs=60",
        ]


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
