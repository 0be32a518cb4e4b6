"""The executor `local` keeps the executor contract, with the worker's rights and without."""

from __future__ import annotations

import importlib.metadata
import os
import pwd
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from remex_core.clock import SYSTEM, Clock
from remex_core.errors import ConfigError, FailedPrecondition
from remex_core.testing.executors import ExecutorContract, Place
from remex_core.worker.runner.client import RunnerProcess
from remex_local_exec.plugin import LOCAL, LocalSpec, find_account

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from remex_core.plugin import Executor, Runner

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may run as another user")


@dataclass(frozen=True, slots=True)
class Context:
    """What a worker gives an executor."""

    runner: Runner
    work_root: Path
    clock: Clock = SYSTEM


@pytest.fixture
async def runner() -> AsyncIterator[RunnerProcess]:
    """A runner of the test's own."""
    runner = RunnerProcess()
    yield runner
    await runner.close()


class TestLocalExecutor(ExecutorContract):
    """With the options that a worker has by default."""

    @pytest.fixture
    async def executor(self, runner: RunnerProcess, work_root: Path) -> Executor:
        return await LOCAL.build(LocalSpec(), Context(runner, work_root))


@needs_root
class TestAnotherUser(ExecutorContract):
    """With actions that have the rights of another user."""

    @pytest.fixture
    def work_root(self) -> Iterator[Path]:
        """A directory that other users can reach; pytest's own are closed to them."""
        with tempfile.TemporaryDirectory() as name:
            work_root = Path(name)
            work_root.chmod(0o711)
            yield work_root

    @pytest.fixture
    async def executor(self, runner: RunnerProcess, work_root: Path) -> Executor:
        return await LOCAL.build(LocalSpec(user="nobody"), Context(runner, work_root))

    async def test_runs_as_that_user(self, executor: Executor, place: Place) -> None:
        """A command has the user's ids, and no group of the worker's."""
        await executor.run(place.script("id -u; id -g; id -G"))
        nobody = pwd.getpwnam("nobody")
        ids = [nobody.pw_uid, nobody.pw_gid, nobody.pw_gid]
        assert [str(number) for number in ids] == place.printed.split()

    async def test_outputs_can_be_made_and_inputs_not_changed(
        self, executor: Executor, place: Place
    ) -> None:
        """The user owns the directories, the worker the files in them."""
        (place.root / "sub").mkdir()
        (place.root / "sub" / "input").write_text("input\n")
        (place.root / "sub" / "input").chmod(0o444)
        outcome = await executor.run(place.script("echo x > sub/output && ! echo x >> sub/input"))
        assert outcome.exit_code == 0
        assert (place.root / "sub" / "input").read_text() == "input\n"

    async def test_offers_after_a_try(self, executor: Executor, work_root: Path) -> None:
        """A worker that can run actions as that user starts, and nothing of the try is left."""
        assert await executor.offers() == {}
        assert list(work_root.iterdir()) == []

    async def test_unreachable_work_root(self, runner: RunnerProcess, work_root: Path) -> None:
        """A work directory that the user cannot enter is found at the start, and explained."""
        closed = work_root / "closed"
        closed.mkdir(mode=0o700)
        executor = await LOCAL.build(LocalSpec(user="nobody"), Context(runner, closed / "work"))
        with pytest.raises(FailedPrecondition, match="Permission denied") as raised:
            await executor.offers()
        assert "enter every directory" in raised.value.hint


async def test_environment_of_the_site(runner: RunnerProcess, tmp_path: Path) -> None:
    """ACT-07: variables of the configuration reach every command, and the command's own win."""
    spec = LocalSpec(environment={"SITE": "1", "BOTH": "site"}, path="/site/bin")
    executor = await LOCAL.build(spec, Context(runner, tmp_path))
    place = Place(tmp_path / "action")
    for directory in (place.directory, place.root, place.directory / "tmp"):
        directory.mkdir()
    await executor.run(place.request("/usr/bin/env", BOTH="command"))
    assert {"SITE=1", "BOTH=command", "PATH=/site/bin"} <= set(place.printed.splitlines())


def test_unknown_user() -> None:
    """A user that does not exist is a configuration error that says what to do."""
    with pytest.raises(ConfigError, match="no such user") as raised:
        find_account("no-such-user-of-remex")
    assert "useradd" in raised.value.hint


def test_another_user_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root can run actions as somebody else, and the error says so."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ConfigError, match="root"):
        find_account("root")


def test_registered() -> None:
    """The installed distribution offers the plugin to remex."""
    (entry,) = (
        entry
        for entry in importlib.metadata.entry_points(group="remex.plugins.v1")
        if entry.name == "local-exec"
    )
    assert list(entry.load().remex_executors()) == [LOCAL]
