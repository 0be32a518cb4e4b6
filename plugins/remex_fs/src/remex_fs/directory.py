"""The store's directory as blocking operations: look, read, put, discard, adopt.

No asyncio here: the store decides which of these run inline and which in a thread. A file is a
value if its seal is whole: the modification time that every stored file has and, for CAS
content, the size of its key. What is not is set aside and counts as missing.
"""

from __future__ import annotations

import itertools
import logging
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from remex_core.plugin import BlobNotFound, DigestMismatch, RemexError, ResourceExhausted
from remex_fs.draft import Draft
from remex_fs.failures import Reporting
from remex_fs.layout import (
    EXECUTABLE_MODE,
    EXECUTABLE_SUFFIX,
    PLAIN_MODE,
    SEAL_NS,
    TOUCH_AFTER_NS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from remex_core.plugin import Clock, Key
    from remex_fs.layout import Layout
    from remex_fs.scratch import Scratch

logger = logging.getLogger(__name__)

_READ: Final = os.O_RDONLY | os.O_CLOEXEC
_READ_UNTOUCHED: Final = _READ | getattr(os, "O_NOATIME", 0)
"""A read that leaves the access time to us; only a file's owner may ask for it."""

_GROUP: Final = 64
"""How many unfinished files of a batch are open at a time."""


class BlobDirectory:
    """Values in files below one layout.

    Args:
        added: told, from whatever thread, how many bytes of disk a change took or freed.
        durable: whether a commit returns only when it would survive a power cut.
    """

    def __init__(
        self,
        layout: Layout,
        scratch: Scratch,
        clock: Clock,
        added: Callable[[int], None],
        *,
        durable: bool,
    ) -> None:
        self.layout = layout
        self._scratch = scratch
        self._clock = clock
        self._added = added
        self._durable = durable
        self._aside = itertools.count()
        self._reading = Reporting("reading", layout.root)
        self._writing = Reporting("writing", layout.root)

    def now_ns(self) -> int:
        """The time that touches are marked with."""
        return int(self._clock.now() * 1_000_000_000)

    # ---- looking and touching

    def missing(self, keys: Iterable[Key]) -> list[Key]:
        """Those of `keys` that are not here; touches the others."""
        now_ns = self.now_ns()
        blob, is_present = self.layout.blob, self._is_present
        with self._reading:
            return [key for key in keys if not is_present(blob(key), key, now_ns)]

    def is_present(self, key: Key) -> bool:
        """Whether the value is here; touches it."""
        with self._reading:
            return self._is_present(self.layout.blob(key), key, self.now_ns())

    def _is_present(self, path: str, key: Key, now_ns: int) -> bool:
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return False
        if not _is_whole(found, key):
            self.set_aside(path, key, found)
            return False
        if now_ns - found.st_atime_ns > TOUCH_AFTER_NS:
            return _touch(path, now_ns)
        return True

    # ---- reading

    def open(self, key: Key) -> tuple[int, int]:
        """An open file of the value and its size in bytes; touches it. The caller closes it.

        Raises:
            BlobNotFound: if the value is not here.
        """
        with self._reading:
            return self._open(key, self.now_ns())

    def _open(self, key: Key, now_ns: int) -> tuple[int, int]:
        path = self.layout.blob(key)
        try:
            fd = os.open(path, _READ_UNTOUCHED)
        except FileNotFoundError:
            raise BlobNotFound(key) from None
        except PermissionError:
            fd = os.open(path, _READ)  # another user's file
        try:
            found = os.fstat(fd)
            if not _is_whole(found, key):
                self.set_aside(path, key, found)
                raise BlobNotFound(key)
            if now_ns - found.st_atime_ns > TOUCH_AFTER_NS:
                _touch(fd, now_ns)
        except BaseException:
            os.close(fd)
            raise
        return fd, found.st_size

    def read_whole(self, key: Key, max_bytes: int) -> bytes:
        """All of a value that is small enough.

        Raises:
            BlobNotFound: if the value is not here.
            ResourceExhausted: if it is larger than `max_bytes`.
        """
        with self._reading:
            fd, size = self._open(key, self.now_ns())
            try:
                if size > max_bytes:
                    raise ResourceExhausted(
                        f"{key} has {size} bytes; at most {max_bytes} are allowed here."
                    )
                return os.pread(fd, size, 0)
            finally:
                os.close(fd)

    def read_piece(self, fd: int, offset: int, size: int) -> bytes:
        """Up to `size` bytes of an open value."""
        with self._reading:
            return os.pread(fd, size, offset)

    # ---- writing

    def begin(self, mode: int = PLAIN_MODE) -> Draft:
        """A new unfinished file on the store's mount."""
        with self._writing:
            return Draft(self._scratch.name(), mode)

    def extend(self, draft: Draft, pieces: Sequence[bytes]) -> None:
        """Appends to an unfinished file."""
        with self._writing:
            draft.append(pieces)

    def finish(self, draft: Draft, pieces: Sequence[bytes], key: Key) -> None:
        """Appends the last pieces to an unfinished file and makes it the value of `key`."""
        with self._writing:
            draft.append(pieces)
            self._commit([(draft, key)])

    def put(self, key: Key, pieces: Sequence[bytes]) -> None:
        """Stores a value that is in memory, unless it is here already.

        Raises:
            DigestMismatch: if the pieces of a CAS value do not have the size of its key.
        """
        with self._writing:
            draft = self._filled(key, pieces)
            if draft is None:
                return
            try:
                self._commit([(draft, key)])
            finally:
                draft.abandon()

    def put_all(self, items: Sequence[tuple[Key, bytes]]) -> dict[Key, RemexError]:
        """Stores many small values; the errors by key. What is durable is flushed in groups."""
        errors: dict[Key, RemexError] = {}
        unique = list(dict(items).items())
        for start in range(0, len(unique), _GROUP):
            self._put_group(unique[start : start + _GROUP], errors)
        return errors

    def _put_group(self, items: Sequence[tuple[Key, bytes]], errors: dict[Key, RemexError]) -> None:
        drafts: list[tuple[Draft, Key]] = []
        try:
            for key, data in items:
                try:
                    with self._writing:
                        draft = self._filled(key, (data,))
                except RemexError as error:
                    errors[key] = error
                else:
                    if draft is not None:
                        drafts.append((draft, key))
            try:
                with self._writing:
                    self._commit(drafts)
            except RemexError as error:
                errors.update((key, error) for _, key in drafts)
        finally:
            for draft, _ in drafts:
                draft.abandon()

    def _filled(self, key: Key, pieces: Sequence[bytes]) -> Draft | None:
        """A draft with these bytes, or None where an equal value is here already."""
        check_size(key, sum(map(len, pieces)))
        if self._holds(key, pieces):
            return None
        draft = self.begin()
        try:
            draft.append(pieces)
        except BaseException:
            draft.abandon()
            raise
        return draft

    def _holds(self, key: Key, pieces: Sequence[bytes]) -> bool:
        """Whether writing would change nothing: an equal value is here, touched by this look."""
        if key.is_cas:
            return self._is_present(self.layout.blob(key), key, self.now_ns())
        # Replacing a file by its equal would free an inode, which makes ext4 slow for minutes.
        try:
            fd, size = self._open(key, self.now_ns())
        except BlobNotFound:
            return False
        try:
            return size == sum(map(len, pieces)) and os.pread(fd, size, 0) == b"".join(pieces)
        finally:
            os.close(fd)

    def _commit(self, drafts: Sequence[tuple[Draft, Key]]) -> None:
        """Makes complete drafts the values of their keys; raises OSError as it comes."""
        now_ns = self.now_ns()
        for draft, _ in drafts:
            draft.seal(PLAIN_MODE, now_ns)
            if self._durable:
                draft.flush()
        changed: set[str] = set()
        for draft, key in drafts:
            path = self.layout.blob(key)
            freed = 0 if key.is_cas else _size_of(path)
            changed |= _in_place(draft.commit, path)
            self._added(occupied(draft.size) - freed)
        if self._durable:
            _flush_directories(changed)

    def adopt(self, key: Key, path: str) -> None:
        """Takes the finished file at `path` over, by renaming it where that is safe."""
        with self._writing:
            if self._is_present(self.layout.blob(key), key, self.now_ns()):
                return
            fd = os.open(path, _READ | os.O_NOFOLLOW)
            try:
                found = os.fstat(fd)
                check_size(key, found.st_size)
                if not self._take_over(key, path, fd, found):
                    self._copy_in(key, fd)
            finally:
                os.close(fd)

    def _take_over(self, key: Key, path: str, fd: int, found: os.stat_result) -> bool:
        # Whoever owns the inode or has another name for it could change it under its seal.
        if found.st_uid != os.geteuid() or found.st_nlink != 1:
            return False
        target = self.layout.blob(key)
        os.fchmod(fd, PLAIN_MODE)
        os.utime(fd, ns=(self.now_ns(), SEAL_NS))
        if self._durable:
            os.fsync(fd)
        try:
            changed = _in_place(lambda to: os.rename(path, to), target)
        except OSError:
            return False  # another mount; if it is a real fault, the copy will tell
        if self._durable:
            _flush_directories(changed)
        self._added(occupied(found.st_size))
        return True

    def _copy_in(self, key: Key, source: int) -> None:
        draft = self.begin()
        try:
            draft.copy_from(source)
            check_size(key, draft.size)
            self._commit([(draft, key)])
        finally:
            draft.abandon()

    # ---- files to link to

    def linkable(self, key: Key, now_ns: int, *, executable: bool) -> str | None:
        """The file to link for this value and mode, or None if the value is not here.

        Touches the value. The executable twin is made when it is first asked for. Raises OSError
        as it comes.
        """
        path = self.layout.blob(key)
        if not self._is_present(path, key, now_ns):
            return None
        if not executable:
            return path
        twin = path + EXECUTABLE_SUFFIX
        if self._is_present(twin, key, now_ns) or self._make_twin(path, twin, now_ns):
            return twin
        return None

    def _make_twin(self, path: str, twin: str, now_ns: int) -> bool:
        try:
            source = os.open(path, _READ)
        except FileNotFoundError:
            return False
        try:
            draft = self.begin(EXECUTABLE_MODE)
            try:
                draft.copy_from(source)
                draft.seal(EXECUTABLE_MODE, now_ns)
                draft.commit(twin)  # beside the value, so its directory is there
            finally:
                draft.abandon()
        finally:
            os.close(source)
        self._added(occupied(draft.size))
        return True

    def is_tampered(self, key: Key, *, executable: bool) -> bool:
        """Whether a stored file of the value was changed; a changed mode is put right again."""
        path = self.layout.executable(key) if executable else self.layout.blob(key)
        mode = EXECUTABLE_MODE if executable else PLAIN_MODE
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return False
        if not _is_whole(found, key):
            return True
        if stat.S_IMODE(found.st_mode) != mode:
            with suppress(PermissionError):
                os.chmod(path, mode)
        return False

    # ---- removing

    def discard(self, key: Key) -> None:
        """Makes the value missing, its executable twin included."""
        path = self.layout.blob(key)
        with self._writing:
            self._move_aside(path)
            self._move_aside(path + EXECUTABLE_SUFFIX)

    def set_aside(self, path: str, key: Key, found: os.stat_result) -> None:
        """Removes a file whose seal is broken, and says so."""
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

    def aside_name(self) -> str:
        """A name in the quarantine that nothing else has."""
        owner = os.path.basename(self._scratch.directory)
        return f"{self.layout.quarantine}/{owner}-{next(self._aside):x}"


def occupied(size: int) -> int:
    """What a file of `size` bytes is counted as: whole blocks of 4 KiB."""
    return (size + 4095) & ~4095


def check_size(key: Key, size: int) -> None:
    """Raises DigestMismatch if a CAS value of `size` bytes cannot be the key's."""
    if key.is_cas and size != key.size:
        raise DigestMismatch(
            f"{key} was declared with {key.size} bytes, and {size} came.",
            hint="The file may have changed while it was being sent.",
        )


def _is_whole(found: os.stat_result, key: Key) -> bool:
    return found.st_mtime_ns == SEAL_NS and (bool(key.space) or found.st_size == key.size)


def _touch(file: str | int, now_ns: int) -> bool:
    try:
        os.utime(file, ns=(now_ns, SEAL_NS))
    except FileNotFoundError:
        return False
    except PermissionError:
        pass  # another user's file: only its owner can make it live longer
    return True


def _size_of(path: str) -> int:
    try:
        return occupied(os.stat(path).st_size)
    except FileNotFoundError:
        return 0


def _in_place(move: Callable[[str], object], path: str) -> set[str]:
    """Moves something to `path`, with its directories; those whose entries changed."""
    directory = os.path.dirname(path)
    try:
        move(path)
    except FileNotFoundError:
        os.makedirs(directory, exist_ok=True)
        move(path)
        return {directory, os.path.dirname(directory)}
    return {directory}


def _flush_directories(paths: Iterable[str]) -> None:
    for path in paths:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
