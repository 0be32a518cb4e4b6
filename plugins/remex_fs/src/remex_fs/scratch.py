"""Where a process writes what is not complete yet: a directory of its own below `tmp/`.

A lock says whether its owner lives, so that whatever a killed process left behind can be removed
at once, and nothing that is being written ever is.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from remex_fs.layout import Layout

LOCK_SUFFIX: Final = ".lock"


class Scratch:
    """One process's directory of unfinished files, held until `close`."""

    def __init__(self, layout: Layout) -> None:
        name = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"
        self.directory = f"{layout.tmp}/{name}"
        # The lock exists before the directory: a directory without a held lock is a dead one's.
        self._lock = os.open(self.directory + LOCK_SUFFIX, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            Path(self.directory).mkdir()
        except BaseException:
            os.close(self._lock)
            raise
        self._numbers = itertools.count()

    def name(self) -> str:
        """A path that no other unfinished file has."""
        return f"{self.directory}/{next(self._numbers):x}"

    def close(self) -> None:
        """Removes the directory with all that is in it; once is enough."""
        if self._lock < 0:
            return
        shutil.rmtree(self.directory, ignore_errors=True)
        Path(self.directory + LOCK_SUFFIX).unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = -1


def remove_dead(layout: Layout) -> None:
    """Removes the directories of processes that have ended without `Scratch.close`."""
    with os.scandir(layout.tmp) as entries:
        directories = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    for directory in directories:
        try:
            lock = os.open(directory + LOCK_SUFFIX, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # its owner is closing it just now, or it is none of ours
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(directory, ignore_errors=True)
            Path(directory + LOCK_SUFFIX).unlink(missing_ok=True)
        finally:
            os.close(lock)
