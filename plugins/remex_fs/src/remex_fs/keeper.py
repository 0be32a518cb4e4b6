"""The one process per directory that removes: it counts, evicts, and clears what others left.

Elected by a lock on a file, so that a dead keeper is replaced by itself. Everybody else only adds,
touches, and moves aside what must go. `Keeper` does the work when told; `KeeperThread` tells it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from remex_fs.census import Census, take_census
from remex_fs.presence import REMEMBERED_NS
from remex_fs.room import tell
from remex_fs.scratch import remove_dead
from remex_fs.seal import TOUCH_AFTER_NS, occupied

if TYPE_CHECKING:
    from collections.abc import Callable

    from remex_core.plugin import Clock
    from remex_fs.census import Resident
    from remex_fs.directory import BlobDirectory
    from remex_fs.room import Room
    from remex_fs.spec import Protect

logger = logging.getLogger(__name__)

HEARTBEAT: Final = 10.0
"""Seconds between two rounds of a keeper that nobody wakes."""

_NS: Final = 1_000_000_000

LAG_NS: Final = TOUCH_AFTER_NS + REMEMBERED_NS
"""How much later than its access time says a file may have been used: young access times are
left alone, and a process may answer from memory."""

_RECOUNT_AFTER: Final = 900.0
_RECOUNT_TIMES: Final = 10
"""Other processes write too, and only a walk shows what. The next one begins this many seconds
after the last, or this many times what that one took, whichever is later."""


class Keeper:
    """Keeps one directory within its bounds; its methods block and belong to one thread.

    Args:
        low: the bytes at which an eviction stops.
        stopping: set to make a walk or an eviction end early.
    """

    def __init__(
        self,
        directory: BlobDirectory,
        room: Room,
        clock: Clock,
        protect: Protect,
        low: int,
        stopping: threading.Event,
    ) -> None:
        self._directory = directory
        self._layout = directory.layout
        self._room = room
        self._clock = clock
        self._low = low
        self._hard_ns = int(protect.hard * _NS) + LAG_NS
        self._soft_ns = int(protect.soft * _NS) + LAG_NS
        self._stopping = stopping
        self._lock = -1
        self._is_awaited = False
        self._next_count = clock.monotonic()
        self._census: Census | None = None

    # ---- election

    def elect(self) -> bool:
        """Whether this process is the directory's keeper, now or already."""
        if self._lock >= 0:
            os.utime(self._lock)  # the heartbeat, for people and other implementations
            return True
        lock = os.open(self._layout.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        os.truncate(lock, 0)
        os.write(lock, f"{socket.gethostname()} {os.getpid()}\n".encode())
        self._lock = lock
        return True

    def resign(self) -> None:
        """Lets another process be the keeper."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # ---- one round

    def tend(self, *, is_awaited: bool = False) -> None:
        """One round: clears what others left, counts if that is due, evicts if that is needed.

        `is_awaited` says that somebody waits for it, so that it hurries.
        """
        self._is_awaited = is_awaited
        remove_dead(self._layout)
        self.clear_quarantine()
        if self._room.limit is None:
            return
        if self._census is None or self._clock.monotonic() > self._next_count:
            self._count()
        if self._room.wanted > self._room.high:
            self._evict()

    def clear_quarantine(self) -> None:
        """Deletes what was moved aside, by whomever."""
        with os.scandir(self._layout.quarantine) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                    continue
                with suppress(FileNotFoundError):
                    size = entry.stat(follow_symlinks=False).st_size
                    os.unlink(entry.path)
                    self._room.add(-occupied(size))

    # ---- counting

    def _count(self) -> None:
        began = self._clock.monotonic()
        before = self._room.stored
        census = take_census(self._layout, self._directory.now_ns(), self._pacing())
        # What was added meanwhile is counted on top, and perhaps twice until the next count.
        self._room.correct(census.total - before)
        self._census = census
        now = self._clock.monotonic()
        self._next_count = now + max(_RECOUNT_AFTER, _RECOUNT_TIMES * (now - began))
        logger.debug("%s holds %d files in %d bytes", self._layout.root, census.files, census.total)

    def _pacing(self) -> Callable[[], None]:
        """A pause after each directory, so that a walk takes a quarter of one CPU and disk."""
        monotonic = self._clock.monotonic
        last = monotonic()

        def pause() -> None:
            nonlocal last
            if not (self._is_awaited or self._room.awaited):
                self._stopping.wait(min(3 * (monotonic() - last), 1.0))
            if self._stopping.is_set():
                raise Stopped
            last = monotonic()

        return pause

    def _age_ns(self, then_ns: int) -> int:
        return self._directory.now_ns() - then_ns

    # ---- evicting

    def _evict(self) -> None:
        room = self._room
        removed = 0
        while room.wanted > self._low and not self._stopping.is_set():
            resident = self._oldest()
            if resident is None:
                break
            protect_ns = self._hard_ns if room.wanted > room.high else self._soft_ns
            if _within(self._age_ns(resident.used_ns), protect_ns):
                break
            self._remembered().pop()
            removed += self._remove(resident)
        if removed:
            logger.info("%s: evicted %d files", self._layout.root, removed)

    def _oldest(self) -> Resident | None:
        """The file that was used longest ago, as far as anybody knows."""
        if not self._remembered() and self._may_know_more():
            self._count()
        remembered = self._remembered()
        return remembered[-1] if remembered else None

    def _remembered(self) -> list[Resident]:
        return [] if self._census is None else self._census.oldest

    def _may_know_more(self) -> bool:
        census = self._census
        # All that came or was touched after a complete walk is protected for that long.
        return (
            census is None or not census.complete or self._age_ns(census.started_ns) > self._hard_ns
        )

    def _remove(self, resident: Resident) -> bool:
        """Removes a file unless it was used since the walk; whether it did."""
        aside = self._directory.aside_name()
        try:
            if _used_ns(resident.path) != resident.used_ns:
                return False
            os.rename(resident.path, aside)
        except FileNotFoundError:
            return False
        # A touch that came between the look and the rename was answered "present".
        if _used_ns(aside) != resident.used_ns:
            with suppress(FileExistsError):
                os.link(aside, resident.path)
            os.unlink(aside)
            return False
        os.unlink(aside)
        self._room.add(-resident.occupies)
        return True


class Stopped(Exception):
    """The keeper was asked to stop in the middle of a walk."""


class KeeperThread(threading.Thread):
    """Lets a keeper work whenever it is woken, and every few seconds anyway."""

    def __init__(self, keeper: Keeper, room: Room, stopping: threading.Event) -> None:
        super().__init__(name="remex-fs-keeper", daemon=True)
        self._keeper = keeper
        self._room = room
        self._stopping = stopping

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._round()
                self._room.wake.wait(HEARTBEAT)
        finally:
            self._keeper.resign()
            tell(self._room.take_waiting())

    def _round(self) -> None:
        self._room.wake.clear()
        waiting = self._room.take_waiting()
        try:
            if self._keeper.elect():
                self._keeper.tend(is_awaited=bool(waiting))
        except Stopped:
            pass
        except OSError as error:
            logger.warning("the keeper of a filesystem store failed and tries again: %s", error)
        except Exception:  # a keeper that died would let the disk fill up
            logger.exception("the keeper of a filesystem store failed and tries again")
        finally:
            tell(waiting)

    def stop(self) -> None:
        """Returns when the thread has ended."""
        self._stopping.set()
        self._room.wake.set()
        self.join()


def _within(age_ns: int, protect_ns: int) -> bool:
    # An access time far in the future is that of a clock that was wrong, and protects nothing.
    return -LAG_NS <= age_ns <= protect_ns


def _used_ns(path: str) -> int:
    return os.stat(path).st_atime_ns
