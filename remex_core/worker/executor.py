"""The executor contract: run one command in one prepared directory, and say what became of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Limits:
    """What one action may use.

    `timeout` is in seconds of the process's own run (EXE-28), None for no bound;
    `kill_grace` is how long after SIGTERM the SIGKILL comes (ENV-02); `max_stdio_bytes` caps
    each of stdout and stderr (ENV-06). `max_memory_bytes` and `max_processes` are for the whole
    process tree, None for no bound; one that goes over them is killed.
    """

    timeout: float | None = None
    kill_grace: float = 3.0
    max_stdio_bytes: int = 64 * 1024 * 1024
    max_memory_bytes: int | None = None
    max_processes: int | None = None


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One command to run.

    `root` is the input root, `working_directory` relative to it ("" for the root itself).
    `argv[0]` follows the rules of ACT-04. `environment` is complete: nothing of the worker's own
    leaks into the process (ACT-07). `stdout` and `stderr` are files that do not exist yet;
    `tmp` an empty directory that becomes TMPDIR (ENV-04). `properties` are the action's platform
    properties, name to values.
    """

    id: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    root: Path
    working_directory: str
    stdout: Path
    stderr: Path
    tmp: Path
    limits: Limits = field(default_factory=Limits)
    properties: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """What the whole process tree used: seconds and bytes."""

    user_seconds: float = 0.0
    system_seconds: float = 0.0
    max_rss_bytes: int = 0


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended.

    `exit_code` is the process's own, or 128 + n when signal n ended it (ENV-01), or 126 / 127
    when it could not be started (ACT-05), in which case `spawn_error` says why. `timed_out`
    tells that the time limit ended it. `killed_by` names another limit that did, such as
    "100 processes".
    `wall_seconds` counts from start to exit of the main process. `stdio_truncated` tells that
    output went over its cap.
    """

    exit_code: int
    timed_out: bool = False
    killed_by: str = ""
    spawn_error: str = ""
    wall_seconds: float = 0.0
    usage: ResourceUsage = field(default_factory=ResourceUsage)
    stdio_truncated: bool = False


class Executor(ABC):
    """Runs commands; several at a time.

    After `run` has returned or was cancelled, no process of that command is left (ENV-02,
    ENV-03).
    """

    @abstractmethod
    async def offers(self) -> Mapping[str, Sequence[str]]:
        """Platform properties that this executor adds to its worker's, name to values.

        Raises:
            FailedPrecondition: if it cannot work on this machine, saying what to do.
        """

    @abstractmethod
    async def run(self, request: RunRequest) -> RunOutcome:
        """Runs the command to its end. Cancelling kills the whole process tree first.

        Raises:
            InvalidArgument: if the command can never be started, as when its arguments are too
                long for the operating system (ACT-18).
            Unavailable: if this worker's machinery failed; the action is innocent.
        """

    @abstractmethod
    async def close(self) -> None:
        """Ends what still runs and releases what the executor holds."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whose rights a command gets: numeric ids."""

    user: int
    group: int
    groups: tuple[int, ...] = ()


class Runner(ABC):
    """The small single-threaded process that starts actions for the worker.

    Forking from a large threaded process costs fifty times as much, so nothing else forks.
    """

    @abstractmethod
    async def run(
        self,
        request: RunRequest,
        argv_prefix: Sequence[str] = (),
        account: Account | None = None,
    ) -> RunOutcome:
        """Runs the request's command to its end, and leaves none of its processes behind.

        `argv_prefix` stands before the command where a wrapper starts it. `account` is None for
        the worker's own; another one needs a runner that is root. Cancelling kills the whole
        process tree first.

        Raises:
            InvalidArgument: if the command can never be started (ACT-08, ACT-18).
            Unavailable: if the runner failed; the action is innocent.
        """
