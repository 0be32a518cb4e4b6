"""The executor contract as a test suite: subclass it, give one fixture, test every promise.

A plugin's test module is::

    class TestMyExecutor(ExecutorContract):
        @pytest.fixture
        async def executor(self, tmp_path):
            ...
            yield MyExecutor(...)

It needs `asyncio_mode = "auto"` of pytest-asyncio, and real processes: the commands are small
shell scripts. Whether processes are left is seen from a fifo that they hold open, and not from
how long something takes.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final

import pytest

from remex_core.errors import InvalidArgument
from remex_core.worker.executor import Limits, RunRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from remex_core.worker.executor import Executor, RunOutcome

_serial = itertools.count(1)

# Waits until the process that was started beside it holds the fifo open.
_WAIT_UNTIL_UP: Final = "while [ ! -e up ]; do sleep 0.01; done"
_HOLD: Final = "exec 9>alive; : > up; while :; do sleep 1; done"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one command runs, laid out as a worker does it."""

    directory: Path

    def request(self, *argv: str, limits: Limits | None = None, **environment: str) -> RunRequest:
        """A request to run `argv` here."""
        return RunRequest(
            id=f"test-{next(_serial)}",
            argv=argv,
            environment=environment,
            root=self.directory / "root",
            working_directory="",
            stdout=self.directory / "stdout",
            stderr=self.directory / "stderr",
            tmp=self.directory / "tmp",
            limits=limits or Limits(),
        )

    def script(self, text: str, limits: Limits | None = None, **environment: str) -> RunRequest:
        """A request to run a shell script here."""
        return self.request("/bin/sh", "-c", text, limits=limits, **environment)

    @property
    def root(self) -> Path:
        """The input root."""
        return self.directory / "root"

    @property
    def printed(self) -> str:
        """What the command wrote to stdout."""
        return (self.directory / "stdout").read_text()

    @property
    def complaint(self) -> str:
        """What the command wrote to stderr."""
        return (self.directory / "stderr").read_text()


class Witness:
    """Sees whether any process still holds the fifo `alive` of a place open."""

    def __init__(self, root: Path) -> None:
        os.mkfifo(root / "alive")
        (root / "alive").chmod(0o666)
        self._descriptor = os.open(root / "alive", os.O_RDONLY | os.O_NONBLOCK)
        self._up = root / "up"

    def close(self) -> None:
        """Looks no more."""
        os.close(self._descriptor)

    async def process_is_up(self) -> None:
        """Returns when a process holds the fifo open."""
        while not self._up.exists():  # noqa: ASYNC110 - a file of another process
            await asyncio.sleep(0.005)

    def nothing_is_left(self) -> bool:
        """Whether a process was there, and none is now."""
        assert self._up.exists(), "the process that was to be killed never started"
        try:
            return os.read(self._descriptor, 1) == b""
        except BlockingIOError:
            return False


class ExecutorContract:
    """What every executor promises.

    `adds_environment` names the variables that it sets beside a command's own.
    """

    adds_environment: ClassVar[frozenset[str]] = frozenset({"PATH", "TMPDIR"})

    @pytest.fixture
    async def executor(self) -> Executor:
        """The executor under test; a subclass gives it."""
        raise NotImplementedError

    @pytest.fixture
    def work_root(self, tmp_path: Path) -> Path:
        """Where places are made; a subclass may move it to where its executor can reach it."""
        return tmp_path

    @pytest.fixture
    def place(self, work_root: Path) -> Place:
        """A fresh place with an empty input root."""
        place = Place(work_root / f"action-{next(_serial)}")
        for directory in (place.directory, place.root, place.directory / "tmp"):
            directory.mkdir()
        return place

    @pytest.fixture
    def witness(self, place: Place) -> Iterator[Witness]:
        """Sees what is left of the place's processes."""
        witness = Witness(place.root)
        yield witness
        witness.close()

    async def test_exit_code(self, executor: Executor, place: Place) -> None:
        """EXE-22: the outcome has the process's own exit code."""
        outcome = await executor.run(place.script("exit 7"))
        assert outcome.exit_code == 7
        assert not outcome.timed_out
        assert not outcome.spawn_error

    async def test_signal(self, executor: Executor, place: Place) -> None:
        """ENV-01: a process that signal n ended has the exit code 128 + n."""
        outcome = await executor.run(place.script("kill -KILL $$"))
        assert outcome.exit_code == 128 + 9

    async def test_streams(self, executor: Executor, place: Place) -> None:
        """OUT-23: stdout and stderr are kept apart, in the files that the request names."""
        await executor.run(place.script("echo out; echo err >&2"))
        assert place.printed == "out\n"
        assert place.complaint == "err\n"

    async def test_stdin_is_empty(self, executor: Executor, place: Place) -> None:
        """ENV-04: reading from stdin finds the end at once."""
        outcome = await executor.run(place.script("cat; echo end"))
        assert outcome.exit_code == 0
        assert place.printed == "end\n"

    async def test_umask(self, executor: Executor, place: Place) -> None:
        """ENV-04: files are made with the modes that umask 022 gives."""
        await executor.run(place.script("umask"))
        assert place.printed.strip() in {"022", "0022"}

    async def test_environment(
        self, executor: Executor, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """ACT-07: a process sees the command's variables and none of the worker's own."""
        monkeypatch.setenv("REMEX_TEST_SECRET", "of the worker")
        await executor.run(place.request("/usr/bin/env", GREETING="hello"))
        found = dict(line.split("=", 1) for line in place.printed.splitlines())
        assert found["GREETING"] == "hello"
        assert found.keys() == self.adds_environment | {"GREETING"}

    async def test_own_variables_win(self, executor: Executor, place: Place) -> None:
        """ACT-07: a command's own PATH and TMPDIR are not replaced."""
        request = place.request("/usr/bin/env", PATH="/mine", TMPDIR="/also/mine")
        await executor.run(request)
        assert {"PATH=/mine", "TMPDIR=/also/mine"} <= set(place.printed.splitlines())

    async def test_path_is_supplied(self, executor: Executor, place: Place) -> None:
        """ACT-04: a bare program name is found although the command brings no PATH."""
        outcome = await executor.run(place.request("sh", "-c", "true"))
        assert outcome.exit_code == 0

    async def test_tmpdir(self, executor: Executor, place: Place) -> None:
        """ENV-04: TMPDIR is an empty directory outside of the input root, and can be written."""
        await executor.run(place.script('ls -A "$TMPDIR"; : > "$TMPDIR/made"; ls -A .'))
        assert place.printed == ""
        assert [path.name for path in (place.directory / "tmp").iterdir()] == ["made"]

    async def test_working_directory(self, executor: Executor, place: Place) -> None:
        """ACT-08: the process starts in the working directory."""
        (place.root / "sub").mkdir()
        await executor.run(replace(place.script("ls -A .."), working_directory="sub"))
        assert place.printed == "sub\n"

    async def test_missing_working_directory(self, executor: Executor, place: Place) -> None:
        """ACT-08: a working directory that does not exist is the request's fault."""
        with pytest.raises(InvalidArgument, match="working directory"):
            await executor.run(replace(place.script("true"), working_directory="absent"))

    async def test_program_beside_the_working_directory(
        self, executor: Executor, place: Place
    ) -> None:
        """ACT-04: a program with a slash in its name is relative to the working directory."""
        (place.root / "sub").mkdir()
        _write_program(place.root / "tool", "echo tool")
        await executor.run(replace(place.request("../tool"), working_directory="sub"))
        assert place.printed == "tool\n"

    async def test_relative_path_entries(self, executor: Executor, place: Place) -> None:
        """ACT-04: relative entries of the command's PATH start at the working directory."""
        (place.root / "sub" / "bin").mkdir(parents=True)
        _write_program(place.root / "sub" / "bin" / "tool", "echo tool")
        request = place.request("tool", PATH="bin:/bin:/usr/bin")
        await executor.run(replace(request, working_directory="sub"))
        assert place.printed == "tool\n"

    @pytest.mark.parametrize("program", ["no-such-program", "./no-such-program", "/no/such"])
    async def test_missing_program(self, executor: Executor, place: Place, program: str) -> None:
        """ACT-05: a program that is not there gives 127, and the outcome says why."""
        outcome = await executor.run(place.request(program))
        assert outcome.exit_code == 127
        assert program in outcome.spawn_error

    async def test_program_that_cannot_be_executed(self, executor: Executor, place: Place) -> None:
        """ACT-05: a directory, a plain file and a script without a program for it give 126."""
        (place.root / "directory").mkdir()
        (place.root / "plain").write_text("text\n")
        _write_program(place.root / "orphan", "", interpreter="/no/such/interpreter")
        for name in ("directory", "plain", "orphan"):
            for stream in ("stdout", "stderr"):
                (place.directory / stream).unlink(missing_ok=True)
            outcome = await executor.run(place.request(f"./{name}"))
            assert (name, 126) == (name, outcome.exit_code)
            assert name in outcome.spawn_error

    async def test_program_with_an_impossible_name(self, executor: Executor, place: Place) -> None:
        """ACT-05: a name that no file can have gives 126, and no endless explanation."""
        outcome = await executor.run(place.request("/" + "x" * 5000))
        assert outcome.exit_code == 126
        assert "/xxx" in outcome.spawn_error
        assert 500 > len(outcome.spawn_error)

    async def test_too_long_arguments(self, executor: Executor, place: Place) -> None:
        """ACT-18: arguments beyond what the operating system takes are the request's fault."""
        with pytest.raises(InvalidArgument):
            await executor.run(place.request("/bin/true", *["x" * 100_000] * 50))

    async def test_many_arguments(self, executor: Executor, place: Place) -> None:
        """Arguments that the operating system takes arrive, by the megabyte."""
        await executor.run(place.request("/bin/sh", "-c", "echo $#", "sh", *["x" * 50_000] * 20))
        assert place.printed == "20\n"

    async def test_timeout(self, executor: Executor, place: Place) -> None:
        """EXE-23: what ran too long is ended, and what it printed so far is kept."""
        request = place.script("echo begun; sleep 600", Limits(timeout=0.3))
        outcome = await executor.run(request)
        assert outcome.timed_out
        assert outcome.exit_code == 128 + 15
        assert place.printed == "begun\n"

    async def test_timeout_lets_a_process_clean_up(self, executor: Executor, place: Place) -> None:
        """ENV-02: SIGTERM comes first, and a process that ends by it in time does so its way."""
        script = "trap 'echo cleaned; exit 5' TERM; : > up; while :; do sleep 0.01; done"
        outcome = await executor.run(place.script(script, Limits(timeout=0.3, kill_grace=60)))
        assert outcome.timed_out
        assert outcome.exit_code == 5
        assert place.printed == "cleaned\n"

    async def test_timeout_of_the_stubborn(
        self, executor: Executor, place: Place, witness: Witness
    ) -> None:
        """ENV-02: a whole tree that ignores SIGTERM is killed when the grace is over."""
        script = f"trap '' TERM; ({_HOLD}) & {_WAIT_UNTIL_UP}; while :; do sleep 1; done"
        outcome = await executor.run(place.script(script, Limits(timeout=0.5, kill_grace=0.1)))
        assert outcome.timed_out
        assert outcome.exit_code == 128 + 9
        assert witness.nothing_is_left()

    @pytest.mark.parametrize(
        "start",
        [
            pytest.param("({hold}) &", id="background"),
            pytest.param("trap '' TERM HUP; ({hold}) &", id="ignoring-signals"),
            pytest.param("setsid sh -c '{hold}' &", id="own-session"),
            pytest.param("(setsid sh -c '({hold}) &' &)", id="double-fork"),
            pytest.param("(cd / && env -i setsid sh -c '{absolute}' &)", id="daemon"),
        ],
    )
    async def test_leftovers(
        self, executor: Executor, place: Place, witness: Witness, start: str
    ) -> None:
        """ENV-03: what a main process leaves behind is gone when the run has ended."""
        absolute = f"cd {place.root} && {_HOLD}"
        script = f"{start.format(hold=_HOLD, absolute=absolute)}\n{_WAIT_UNTIL_UP}; exit 3"
        outcome = await executor.run(place.script(script))
        assert outcome.exit_code == 3
        assert witness.nothing_is_left()

    async def test_output_streams_held_open(self, executor: Executor, place: Place) -> None:
        """ENV-03: a daemon that keeps stdout open does not keep the run from ending."""
        outcome = await executor.run(place.script("setsid sleep 600 & echo done"))
        assert outcome.exit_code == 0
        assert place.printed == "done\n"

    async def test_cancel(self, executor: Executor, place: Place, witness: Witness) -> None:
        """ENV-02: cancelling kills the whole tree before it returns."""
        script = f"trap '' TERM; setsid sh -c '{_HOLD}' & while :; do sleep 1; done"
        request = place.script(script, Limits(kill_grace=0.1))
        running = asyncio.create_task(executor.run(request))
        await witness.process_is_up()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert witness.nothing_is_left()

    async def test_cancel_twice(self, executor: Executor, place: Place, witness: Witness) -> None:
        """A second cancellation does without the grace, and leaves nothing either."""
        request = place.script(f"trap '' TERM; {_HOLD}", Limits(kill_grace=600))
        running = asyncio.create_task(executor.run(request))
        await witness.process_is_up()
        running.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert witness.nothing_is_left()

    async def test_stdio_cap(self, executor: Executor, place: Place) -> None:
        """ENV-06: output beyond the cap is cut off, and the outcome says so."""
        script = "i=0; while [ $i -lt 3000 ]; do echo 0123456789; i=$((i+1)); done; exit 4"
        outcome = await executor.run(place.script(script, Limits(max_stdio_bytes=1000)))
        assert outcome.stdio_truncated
        assert outcome.exit_code == 4
        assert place.printed == ("0123456789\n" * 100)[:1000]

    async def test_output_below_the_cap(self, executor: Executor, place: Place) -> None:
        """ENV-06: output up to the cap is kept whole."""
        outcome = await executor.run(place.script("printf 12345", Limits(max_stdio_bytes=5)))
        assert not outcome.stdio_truncated
        assert place.printed == "12345"

    async def test_memory_limit(self, executor: Executor, place: Place) -> None:
        """A tree that uses more memory than it may is killed, and the outcome says by what."""
        script = "x=0123456789; while :; do x=$x$x; done"
        limits = Limits(max_memory_bytes=64 * 1024 * 1024)
        outcome = await executor.run(place.script(f"({script}) & wait; sleep 600", limits))
        assert str(64 * 1024 * 1024) in outcome.killed_by
        assert outcome.exit_code == 128 + 9
        assert not outcome.timed_out

    async def test_process_limit(self, executor: Executor, place: Place, witness: Witness) -> None:
        """A tree of more processes than it may have is killed whole."""
        more = "for i in 1 2 3 4 5 6; do sleep 600 & done; wait"
        script = f"(setsid sh -c '{_HOLD}' &); {_WAIT_UNTIL_UP}; {more}"
        outcome = await executor.run(place.script(script, Limits(max_processes=5)))
        assert "5 processes" in outcome.killed_by
        assert outcome.exit_code == 128 + 9
        assert witness.nothing_is_left()

    async def test_within_limits(self, executor: Executor, place: Place) -> None:
        """What stays within its limits does not feel them."""
        limits = Limits(max_memory_bytes=2**30, max_processes=50, timeout=600)
        outcome = await executor.run(place.script("sleep 0.15; exit 3", limits))
        assert outcome.exit_code == 3
        assert not outcome.killed_by

    async def test_several_at_once(self, executor: Executor, work_root: Path) -> None:
        """Runs do not wait for each other: two that need each other both end."""
        places = [Place(work_root / name) for name in ("left", "right")]
        for place in places:
            for directory in (place.directory, place.root, place.directory / "tmp"):
                directory.mkdir()
        outcomes = await asyncio.gather(
            *(executor.run(place.script(_meet(place, places))) for place in places)
        )
        assert [outcome.exit_code for outcome in outcomes] == [0, 0]

    async def test_one_after_the_other(self, executor: Executor, work_root: Path) -> None:
        """An executor that has run, failed to start and timed out goes on working."""
        outcomes: list[RunOutcome] = []
        for number in range(6):
            place = Place(work_root / f"again-{number}")
            for directory in (place.directory, place.root, place.directory / "tmp"):
                directory.mkdir()
            request = (
                place.script(f"exit {number}"),
                place.request("./absent"),
                place.script("sleep 600", Limits(timeout=0.05)),
            )[number % 3]
            outcomes.append(await executor.run(request))
        assert [outcome.exit_code for outcome in outcomes] == [0, 127, 143, 3, 127, 143]

    async def test_usage(self, executor: Executor, place: Place) -> None:
        """MET-02, MET-03: an outcome says how long the process ran and what its tree used."""
        script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
        outcome = await executor.run(place.script(f"({script}); {script}"))
        assert outcome.wall_seconds > 0
        assert outcome.usage.user_seconds + outcome.usage.system_seconds > 0
        assert outcome.usage.max_rss_bytes > 0


def _write_program(path: Path, text: str, interpreter: str = "/bin/sh") -> None:
    path.write_text(f"#!{interpreter}\n{text}\n")
    path.chmod(0o755)


def _meet(place: Place, places: list[Place]) -> str:
    """A script that ends when the scripts of all places have begun."""
    others = " ".join(f"../../{other.directory.name}/root/here" for other in places)
    return f": > here; for f in {others}; do while [ ! -e $f ]; do sleep 0.01; done; done"
