"""Work directories: one for each life of a worker, removed when it is over."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from remex_core.worker.work_directory import WorkDirectory, remove_dead, remove_tree
from worker_support.unprivileged import unprivileged

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Where the workers of a machine make their directories."""
    return tmp_path / "work"


def test_places_of_an_action(base: Path) -> None:
    """ENV-04, ENV-05: each action has a fresh root and a fresh TMPDIR outside of it."""
    work = WorkDirectory(base, "one")
    first, second = work.new_action(), work.new_action()
    assert first.path != second.path
    assert list(first.root.iterdir()) == list(first.tmp.iterdir()) == []
    assert not first.tmp.is_relative_to(first.root)
    assert not first.stdout.exists()
    work.close()


def test_nothing_is_left(base: Path) -> None:
    """A worker that ends leaves nothing behind, whatever is in its directories."""
    work = WorkDirectory(base, "one")
    (work.new_action().root / "file").write_text("x")
    work.close()
    assert list(base.iterdir()) == []


def test_the_living_are_left_alone(base: Path) -> None:
    """A starting worker does not touch the directory of one that lives."""
    work = WorkDirectory(base, "alive")
    kept = work.new_action().path
    assert remove_dead(base) == 0
    assert kept.is_dir()
    work.close()


def die(work: WorkDirectory) -> None:
    """Gives the lock up as a process does that is killed: without removing anything."""
    os.close(work._lock[1])


def test_the_dead_are_removed(base: Path) -> None:
    """A starting worker removes what dead ones left, and what they were about to remove."""
    dead, alive = WorkDirectory(base, "dead"), WorkDirectory(base, "dead-but-not-quite")
    (dead.new_action().root / "file").write_text("x")
    (base / "life-dead~0" / "sub").mkdir(parents=True)
    die(dead)
    assert remove_dead(base) == 1
    assert {alive.path.name, f"{alive.path.name}.lock"} == {path.name for path in base.iterdir()}
    alive.close()


def test_strangers_are_left_alone(base: Path) -> None:
    """What no worker made is not removed."""
    base.mkdir()
    (base / "notes.txt").write_text("mine")
    assert remove_dead(base) == 0
    assert (base / "notes.txt").exists()


def test_the_lock_of_a_removed_life_is_worth_nothing(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock file that is removed between being opened and being locked is made again."""
    base.mkdir()
    flock = fcntl.flock
    calls: list[int] = []

    def removed_before(descriptor: int, operation: int) -> None:
        if not calls:
            (base / "life-one.lock").unlink()
        calls.append(operation)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removed_before)
    work = WorkDirectory(base, "one")
    assert len(calls) == 2
    assert (base / "life-one.lock").exists()
    work.close()


class TestRemoveTree:
    """Removing a tree."""

    def test_everything(self, tmp_path: Path) -> None:
        """ENV-05: files, directories and links go; what links lead to stays."""
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "kept").write_text("x")
        top = tmp_path / "top"
        (top / "a" / "b").mkdir(parents=True)
        (top / "a" / "file").write_text("x")
        (top / "link").symlink_to(outside)
        (top / "a" / "dangling").symlink_to("nowhere")
        os.mkfifo(top / "a" / "b" / "fifo")
        remove_tree(top)
        assert [outside] == list(tmp_path.iterdir())
        assert (outside / "kept").exists()

    def test_without_permissions(self) -> None:
        """ENV-05: directories of mode 000, full ones too, do not stop their owner."""
        with unprivileged() as directory:
            top = directory / "top"
            (top / "closed" / "inner").mkdir(parents=True)
            (top / "closed" / "inner" / "file").write_text("x")
            (top / "closed" / "inner").chmod(0)
            (top / "closed").chmod(0)
            (top / "read-only").mkdir()
            (top / "read-only" / "file").write_text("x")
            (top / "read-only").chmod(0o555)
            top.chmod(0)
            remove_tree(top)
            assert list(directory.iterdir()) == []

    def test_deep(self, tmp_path: Path) -> None:
        """ENV-05: a tree deeper than any path can name is removed."""
        top = tmp_path / "top"
        top.mkdir()
        directory = os.open(top, os.O_RDONLY)
        for _ in range(2500):
            os.mkdir("deeper", dir_fd=directory)
            below = os.open("deeper", os.O_RDONLY, dir_fd=directory)
            os.close(directory)
            directory = below
        os.close(directory)
        remove_tree(top)
        assert list(tmp_path.iterdir()) == []
