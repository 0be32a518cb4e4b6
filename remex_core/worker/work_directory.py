"""Where actions run: one directory for each life of a worker, and one in it for each action.

The directory of a life is locked as long as the worker lives. A starting worker removes those
whose lock it can take: their owners are dead.
"""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - a dataclass field
from typing import Final

log = logging.getLogger("remex.worker")

_LOCK_SUFFIX: Final = ".lock"
_PREFIX: Final = "life-"
_ASIDE: Final = "~"


@dataclass(frozen=True, slots=True)
class ActionDirectory:
    """The places of one action: nothing of it lies anywhere else.

    `root` (the input root) and `tmp` exist; `stdout` and `stderr` do not yet.
    """

    path: Path

    @property
    def root(self) -> Path:
        return self.path / "root"

    @property
    def tmp(self) -> Path:
        return self.path / "tmp"

    @property
    def stdout(self) -> Path:
        return self.path / "stdout"

    @property
    def stderr(self) -> Path:
        return self.path / "stderr"


class WorkDirectory:
    """The directory of one life of a worker, below `base`; blocking.

    Args:
        base: shared by the workers of a machine, on the mount of the local store.
        incarnation: names this life; a fresh one for each process.

    Raises:
        OSError: if it cannot be made.
    """

    def __init__(self, base: Path, incarnation: str) -> None:
        base.mkdir(parents=True, exist_ok=True)
        self._serial = itertools.count(1)
        self.path = base / f"{_PREFIX}{incarnation}"
        self._lock = _acquire(base / f"{_PREFIX}{incarnation}{_LOCK_SUFFIX}")
        self.path.mkdir(mode=0o711)

    def new_action(self) -> ActionDirectory:
        """A fresh directory for one action; `remove_tree` removes it."""
        directory = ActionDirectory(self.path / str(next(self._serial)))
        for path in (directory.path, directory.root, directory.tmp):
            path.mkdir()
        return directory

    def close(self) -> None:
        """Removes everything, and gives up the lock."""
        remove_tree(self.path)
        _release(self._lock)


def remove_dead(base: Path) -> int:
    """Removes what workers that no longer live have left below `base`; answers how many they were.

    What cannot be removed is logged and left for the next time.
    """
    removed = 0
    for path in sorted(base.glob(f"{_PREFIX}*{_LOCK_SUFFIX}")):
        lock = _take(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock is None:
            continue
        try:
            # Beside the directory itself there may be what an interrupted removal set aside.
            life = path.with_suffix("")
            for left in (*base.glob(f"{life.name}{_ASIDE}*"), life):
                if left.exists():
                    remove_tree(left)
            removed += 1
        except OSError as error:
            log.warning("The work directory of a dead worker cannot be removed: %s", error)
            os.close(lock[1])
        else:
            _release(lock)
    return removed


def _acquire(path: Path) -> tuple[Path, int]:
    while (lock := _take(path, fcntl.LOCK_EX)) is None:
        pass  # It was removed between opening and locking it.
    return lock


def _take(path: Path, operation: int) -> tuple[Path, int] | None:
    """Locks a lock file, made if absent; None if another holds it or has just removed it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, operation)
        if os.fstat(descriptor).st_nlink:
            return path, descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None


def _release(lock: tuple[Path, int]) -> None:
    path, descriptor = lock
    path.unlink(missing_ok=True)
    os.close(descriptor)


def remove_tree(path: Path) -> None:
    """Removes a directory with all that is in it, whatever its modes and however deep (ENV-05).

    Each subdirectory is first moved up beside `path`, so that neither the length of a path nor
    the depth of a call grows with the tree. Nothing may change the tree meanwhile.

    Raises:
        OSError: if something cannot be removed even by the owner.
    """
    top = os.fspath(path)
    serial = itertools.count()
    pending = [top]
    while pending:
        directory = pending.pop()
        _unlock(directory)
        for entry in list(os.scandir(directory)):
            if entry.is_dir(follow_symlinks=False):
                aside = f"{top}{_ASIDE}{next(serial)}"
                _unlock(entry.path)  # A directory that is moved has its `..` rewritten.
                os.rename(entry.path, aside)  # noqa: PTH104 - thousands of these
                pending.append(aside)
            else:
                os.unlink(entry.path)  # noqa: PTH108 - thousands of these
        os.rmdir(directory)  # noqa: PTH106 - thousands of these


def _unlock(directory: str) -> None:
    if os.lstat(directory).st_mode & stat.S_IRWXU != stat.S_IRWXU:
        os.chmod(directory, stat.S_IRWXU)  # noqa: PTH101 - a directory, never a symlink
