"""The life of the runner: what it is, how it dies, and what dies with it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from remex_core.errors import Unavailable
from remex_core.testing.executors import ExecutorContract, Place, Witness
from remex_core.worker.executor import Limits
from remex_core.worker.runner import process_tree
from remex_core.worker.runner.client import RunnerProcess
from worker_support.executors import RealExecutor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from remex_core.worker.executor import Executor, RunOutcome

HOLD = "exec 9>alive; : > up; while :; do sleep 1; done"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A fresh place with an empty input root."""
    return new_place(tmp_path / "action")


def new_place(directory: Path) -> Place:
    """A place with an empty input root."""
    place = Place(directory)
    for each in (place.directory, place.root, place.directory / "tmp"):
        each.mkdir()
    return place


@pytest.fixture
def witness(place: Place) -> Iterator[Witness]:
    """Sees what is left of the place's processes."""
    witness = Witness(place.root)
    yield witness
    witness.close()


async def gone(witness: Witness) -> None:
    """Returns when nothing is left; the test's own time limit is the bound."""
    while not witness.nothing_is_left():
        await asyncio.sleep(0.005)


def started(runner: RunnerProcess, place: Place, script: str) -> asyncio.Task[RunOutcome]:
    """A run that is going on."""
    request = place.script(script, Limits(kill_grace=600), PATH="/bin:/usr/bin")
    return asyncio.create_task(runner.run(request))


def supervisors(runner: RunnerProcess) -> list[int]:
    """The process ids of a runner's supervisors."""
    children = Path(f"/proc/{runner.pid}/task/{runner.pid}/children").read_text()
    return [int(pid) for pid in children.split()]


class TestContract(ExecutorContract):
    """The runner keeps by itself what executors promise, but for the PATH."""

    adds_environment = frozenset({"TMPDIR"})

    @pytest.fixture
    async def executor(self, runner: RunnerProcess) -> Executor:
        return RealExecutor(runner)

    async def test_path_is_supplied(self, executor: Executor, place: Place) -> None:
        """ACT-04: without any PATH, what the system says is searched."""
        outcome = await executor.run(place.request("sh", "-c", "true"))
        assert outcome.exit_code == 0


def test_it_is_light() -> None:
    """The runner loads no gRPC, protobuf, pydantic or asyncio: it stays small and forks fast."""
    code = (
        "import sys, remex_core.worker.runner.__main__\n"
        "print(*sorted(name.split('.')[0] for name in sys.modules))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    heavy = {"grpc", "google", "pydantic", "asyncio", "blake3", "typing_extensions"}
    assert not heavy & set(printed.split())


def test_starts_without_an_event_loop() -> None:
    """A runner is started before anything else is, and closed when the loop runs."""
    runner = RunnerProcess()
    assert Path(f"/proc/{runner.pid}").exists()
    asyncio.run(runner.close())
    assert not Path(f"/proc/{runner.pid}").exists()


async def test_supervisors_are_used_again(runner: RunnerProcess, tmp_path: Path) -> None:
    """One action after the other goes through one supervisor; two at once need two."""
    places = [new_place(tmp_path / str(number)) for number in range(5)]
    for place in places[:3]:
        await runner.run(place.request("/bin/true"))
    assert len(supervisors(runner)) == 1
    await asyncio.gather(*(runner.run(place.request("/bin/true")) for place in places[3:]))
    assert len(supervisors(runner)) == 2


async def test_signals_are_for_the_worker(runner: RunnerProcess, place: Place) -> None:
    """Ctrl-C and a service manager's SIGTERM do not end the runner: its worker drains first."""
    await runner.run(place.request("/bin/true"))
    for pid in (runner.pid, *supervisors(runner)):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
    (place.directory / "stdout").unlink()
    (place.directory / "stderr").unlink()
    assert (await runner.run(place.script("exit 4"))).exit_code == 4


async def test_actions_see_default_signals(runner: RunnerProcess, place: Place) -> None:
    """What the runner does about signals is not handed down to actions."""
    await runner.run(place.script("grep -E '^Sig(Ign|Blk)' /proc/self/status", PATH="/bin"))
    assert {line.split()[1] for line in place.printed.splitlines()} == {"0" * 16}


async def test_actions_hold_no_descriptors(runner: RunnerProcess, place: Place) -> None:
    """An action has its three streams and nothing of the runner's."""
    await runner.run(place.request("/bin/ls", "/proc/self/fd"))
    assert place.printed.split() == ["0", "1", "2", "3"]  # The last is the listing itself.


async def test_no_core_files(runner: RunnerProcess, place: Place) -> None:
    """A crashing action does not leave its memory among its outputs."""
    await runner.run(place.script("ulimit -c"))
    assert place.printed.strip() == "0"


async def test_close_kills(runner: RunnerProcess, place: Place, witness: Witness) -> None:
    """Closing ends what runs without grace, and its caller hears that the runner is gone."""
    running = started(runner, place, f"trap '' TERM; {HOLD}")
    await witness.process_is_up()
    await runner.close()
    assert witness.nothing_is_left()
    with pytest.raises(Unavailable):
        await running


async def test_closed(runner: RunnerProcess, place: Place) -> None:
    """A closed runner runs nothing."""
    await runner.close()
    with pytest.raises(Unavailable, match="closed"):
        await runner.run(place.request("/bin/true"))


async def test_worker_that_is_killed(place: Place, witness: Witness) -> None:
    """A worker that is killed takes its runner and its actions with it."""
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from remex_core.testing.executors import Place\n"
        "from remex_core.worker.runner.client import RunnerProcess\n"
        "place, script = Place(Path(sys.argv[1])), sys.argv[2]\n"
        "asyncio.run(RunnerProcess().run(place.script(script, PATH='/bin:/usr/bin')))\n"
    )
    script = f"trap '' TERM HUP; setsid sh -c '{HOLD}' & wait"
    command = [sys.executable, "-c", code, str(place.directory), script]
    worker = await asyncio.create_subprocess_exec(*command)
    await witness.process_is_up()
    worker.kill()
    await worker.wait()
    await gone(witness)


async def test_runner_that_is_killed(runner: RunnerProcess, tmp_path: Path) -> None:
    """A runner that died is started again; actions that have a supervisor go on."""
    places = [new_place(tmp_path / str(number)) for number in range(3)]
    witness = Witness(places[0].root)
    running = started(runner, places[0], "exec 9>alive; : > up; read line < go; exit 6")
    os.mkfifo(places[0].root / "go")
    await witness.process_is_up()
    before = runner.pid
    os.kill(before, signal.SIGKILL)
    assert (await runner.run(places[1].script("exit 5"))).exit_code == 5
    assert runner.pid != before
    (places[0].root / "go").write_text("go\n")
    assert (await running).exit_code == 6
    witness.close()


async def test_supervisor_that_is_killed(
    runner: RunnerProcess, place: Place, witness: Witness, tmp_path: Path
) -> None:
    """An action whose supervisor died is not to blame, is killed, and the next one runs."""
    running = started(runner, place, f"setsid sh -c '{HOLD}' & wait")
    await witness.process_is_up()
    (supervisor,) = supervisors(runner)
    os.kill(supervisor, signal.SIGKILL)
    with pytest.raises(Unavailable, match="died"):
        await running
    await gone(witness)
    other = new_place(tmp_path / "other")
    assert (await runner.run(other.script("exit 5"))).exit_code == 5


async def test_a_kill_that_comes_too_late(runner: RunnerProcess, tmp_path: Path) -> None:
    """A kill that crosses the outcome of its action does not touch the next one."""
    places = [new_place(tmp_path / str(number)) for number in range(2)]
    await runner.run(places[0].request("/bin/true"))
    runner._idle[0].kill()
    assert (await runner.run(places[1].script("exit 5"))).exit_code == 5


async def test_output_files_that_exist(runner: RunnerProcess, place: Place) -> None:
    """A run that cannot open its output files fails as the worker's fault."""
    (place.directory / "stdout").write_text("")
    with pytest.raises(Unavailable, match="File exists"):
        await runner.run(place.request("/bin/true"))
    (place.directory / "stdout").unlink()
    assert (await runner.run(place.script("exit 5"))).exit_code == 5


async def test_wrapper(runner: RunnerProcess, place: Place) -> None:
    """A prefix of the command line starts the command."""
    outcome = await runner.run(place.request("/bin/sh", "-c", "exit 3"), ("/usr/bin/env", "A=1"))
    assert outcome.exit_code == 3


def test_descendants() -> None:
    """All generations below this process are found, but for those that are spared."""
    script = "sleep 600 & sh -c 'sleep 600 & echo; wait' & wait"
    shell = subprocess.Popen(
        ["/bin/sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True
    )
    assert shell.stdout is not None
    with shell, shell.stdout:
        try:
            shell.stdout.readline()
            below = children(shell.pid)
            tree = {shell.pid} | below | {each for child in below for each in children(child)}
            assert len(tree) == 4
            assert tree <= set(process_tree.descendants())
            assert not tree & set(process_tree.descendants(spare=[shell.pid]))
        finally:
            os.killpg(shell.pid, signal.SIGKILL)


def children(pid: int) -> set[int]:
    """The children of a process."""
    return {int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
