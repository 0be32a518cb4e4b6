"""The store's directory as blocking operations: look, read, remove. `writer` adds to it.

No asyncio here: the store decides what runs inline and what in a thread. A file whose seal is
broken is set aside and counts as missing.
"""

from __future__ import annotations

import itertools
import logging
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from remex_core.plugin import BlobNotFound, RemexError, ResourceExhausted
from remex_fs.failures import Reporting
from remex_fs.layout import EXECUTABLE_SUFFIX
from remex_fs.presence import Presence
from remex_fs.seal import EXECUTABLE_MODE, PLAIN_MODE, TOUCH_AFTER_NS, is_whole, touch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from remex_core.plugin import Clock, Key
    from remex_fs.layout import Layout
    from remex_fs.scratch import Scratch

logger = logging.getLogger(__name__)

_READ: Final = os.O_RDONLY | os.O_CLOEXEC
_READ_UNTOUCHED: Final = _READ | getattr(os, "O_NOATIME", 0)
"""A read that leaves the access time to us; only a file's owner may ask for it."""

_PLAIN_FILE: Final = stat.S_IFREG | PLAIN_MODE
_EXECUTABLE_FILE: Final = stat.S_IFREG | EXECUTABLE_MODE


class BlobDirectory:
    """Values in files below one layout.

    Attributes:
        presence: which values were here a moment ago.
    """

    def __init__(self, layout: Layout, scratch: Scratch, clock: Clock) -> None:
        self.layout = layout
        self.presence = Presence(layout.quarantine, clock)
        self._scratch = scratch
        self._clock = clock
        self._aside = itertools.count()
        self._reading = Reporting("reading", layout.root)
        self._removing = Reporting("removing", layout.root)

    def now_ns(self) -> int:
        """The time that touches are marked with."""
        return int(self._clock.now() * 1_000_000_000)

    # ---- looking and touching

    def unknown(self, keys: Iterable[Key]) -> tuple[list[Key], int]:
        """Those of `keys` that have to be looked at, and a token for `presence.remember`."""
        with self._reading:
            return self.presence.unknown(keys)

    def find(self, keys: Iterable[Key], missing: list[Key], present: list[Key]) -> None:
        """Sorts `keys` into the two lists; touches those that are present."""
        now_ns = self.now_ns()
        blob, is_file = self.layout.blob, self.is_file
        with self._reading:
            for key in keys:
                (present if is_file(blob(key), key, now_ns) else missing).append(key)

    def has(self, key: Key) -> bool:
        """Whether the value is here, which is not expected; touches it."""
        path = self.layout.blob(key)
        with self._reading:
            # Without the access, what is absent would cost an exception.
            return os.access(path, os.F_OK) and self.is_file(path, key, self.now_ns())

    def is_file(self, path: str, key: Key, now_ns: int) -> bool:
        """Whether the file at `path` holds the value of `key`; touches it.

        What is not as it was stored is set aside. Raises OSError as it comes.
        """
        try:
            found = os.stat(path)
        except FileNotFoundError:
            self.presence.deny(key)
            return False
        if not is_whole(found, key):
            self._set_aside(path, key, found)
            return False
        if abs(now_ns - found.st_atime_ns) > TOUCH_AFTER_NS:
            return touch(path, found.st_size, now_ns)
        return True

    def tampered(self, files: Iterable[tuple[Key, bool]]) -> frozenset[Key]:
        """The keys whose values were changed in their stored files, plain or executable.

        A changed mode is put right; a changed twin is set aside, and harms nothing else.
        """
        blob = self.layout.blob
        named = set()
        with self._reading:
            for key, executable in files:
                path = blob(key) + EXECUTABLE_SUFFIX if executable else blob(key)
                try:
                    found = os.stat(path)
                except FileNotFoundError:
                    continue
                if found.st_mode != (_EXECUTABLE_FILE if executable else _PLAIN_FILE):
                    with suppress(PermissionError):
                        os.chmod(path, EXECUTABLE_MODE if executable else PLAIN_MODE)
                if is_whole(found, key):
                    continue
                if executable:
                    self._set_aside(path, key, found)
                else:
                    named.add(key)
        return frozenset(named)

    # ---- reading

    def open(self, key: Key) -> tuple[int, int]:
        """An open file of the value and its size in bytes; touches it. The caller closes it.

        Raises:
            BlobNotFound: if the value is not here.
        """
        with self._reading:
            path = self.layout.blob(key)
            fd = self._open(path, key)
            try:
                found = os.fstat(fd)
                if not is_whole(found, key):
                    self._set_aside(path, key, found)
                    raise BlobNotFound(key)
                now_ns = self.now_ns()
                if abs(now_ns - found.st_atime_ns) > TOUCH_AFTER_NS:
                    touch(fd, found.st_size, now_ns)
            except BaseException:
                os.close(fd)
                raise
            return fd, found.st_size

    def _open(self, path: str, key: Key) -> int:
        try:
            return os.open(path, _READ_UNTOUCHED)
        except FileNotFoundError:
            self.presence.deny(key)
            raise BlobNotFound(key) from None
        except PermissionError:
            return os.open(path, _READ)  # another user's file

    def read_piece(self, fd: int, offset: int, size: int) -> bytes:
        """Up to `size` bytes of an open value."""
        with self._reading:
            return os.pread(fd, size, offset)

    def read_whole(self, key: Key, max_bytes: int) -> bytes:
        """All of a value that is small enough.

        Raises:
            BlobNotFound: if the value is not here.
            ResourceExhausted: if it is larger than `max_bytes`.
        """
        fd, size = self.open(key)
        try:
            if size > max_bytes:
                raise ResourceExhausted(
                    f"{key} has {size} bytes; at most {max_bytes} are allowed here."
                )
            return self.read_piece(fd, 0, size)
        finally:
            os.close(fd)

    def read_all(
        self, keys: Iterable[Key], max_bytes: int, values: dict[Key, bytes | RemexError]
    ) -> None:
        """Puts each key's value, or the error that reading it raised, into `values`."""
        for key in keys:
            try:
                values[key] = self.read_whole(key, max_bytes)
            except RemexError as error:
                values[key] = error

    # ---- removing

    def discard(self, keys: Sequence[Key]) -> None:
        """Makes the values missing, their executable twins included."""
        with self._removing:
            for key in keys:
                path = self.layout.blob(key)
                self._move_aside(path)
                self._move_aside(path + EXECUTABLE_SUFFIX)

    def aside_name(self) -> str:
        """A name in the quarantine that nothing else has."""
        owner = os.path.basename(self._scratch.directory)
        return f"{self.layout.quarantine}/{owner}-{next(self._aside):x}"

    def _set_aside(self, path: str, key: Key, found: os.stat_result) -> None:
        logger.error(
            "%s was changed after it was stored (size %d, modified at %d ns); it is set aside "
            "and %s counts as missing",
            path,
            found.st_size,
            found.st_mtime_ns,
            key,
        )
        self._move_aside(path)

    def _move_aside(self, path: str) -> None:
        with suppress(FileNotFoundError):
            os.rename(path, self.aside_name())
