"""Adding to the store's directory, as blocking operations: put, adopt, and executable twins.

A value is written to an unfinished file, sealed, and renamed into its place. No file that is
complete is thrown away where that can be avoided: ext4 becomes slow at making files for minutes
after many were removed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from remex_core.plugin import BlobNotFound, RemexError
from remex_fs.draft import Draft
from remex_fs.failures import Reporting
from remex_fs.seal import EXECUTABLE_MODE, PLAIN_MODE, check_size, occupied, seal_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from remex_core.plugin import Key
    from remex_fs.directory import BlobDirectory
    from remex_fs.scratch import Scratch

_GROUP: Final = 64
"""How many unfinished files of a batch are open at a time."""

_ADOPT: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class Writer:
    """Adds values to one directory.

    Args:
        added: told, from whatever thread, how many bytes of disk a change took or freed.
        durable: whether a value is visible only when it would survive a power cut.
    """

    def __init__(
        self,
        directory: BlobDirectory,
        scratch: Scratch,
        added: Callable[[int], None],
        *,
        durable: bool,
    ) -> None:
        self._directory = directory
        self._layout = directory.layout
        self._scratch = scratch
        self._added = added
        self._durable = durable
        self._writing = Reporting("writing", directory.layout.root)

    # ---- streams

    def begin(self) -> Draft:
        """A new unfinished file; ends with `finish` or `Draft.abandon`."""
        with self._writing:
            return Draft(self._scratch.name())

    def extend(self, draft: Draft, pieces: Sequence[bytes]) -> None:
        """Appends to an unfinished file."""
        with self._writing:
            draft.append(pieces)

    def finish(self, draft: Draft, pieces: Sequence[bytes], key: Key) -> None:
        """Appends the last pieces to an unfinished file and makes it the value of `key`."""
        with self._writing:
            draft.append(pieces)
            self._commit([(draft, key)])

    # ---- values in memory

    def put(self, key: Key, pieces: Sequence[bytes]) -> None:
        """Stores a value, unless an equal one is here.

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

    def put_all(self, items: Sequence[tuple[Key, bytes]], errors: dict[Key, RemexError]) -> None:
        """Stores values of distinct keys, and what went wrong with each in `errors`."""
        for start in range(0, len(items), _GROUP):
            self._put_group(items[start : start + _GROUP], errors)

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
        draft = Draft(self._scratch.name())
        try:
            draft.append(pieces)
        except BaseException:
            draft.abandon()
            raise
        return draft

    def _holds(self, key: Key, pieces: Sequence[bytes]) -> bool:
        """Whether writing would change nothing; touches what is here."""
        if key.is_cas:
            return self._directory.has(key)
        try:
            fd, size = self._directory.open(key)
        except BlobNotFound:
            return False
        try:
            return size == sum(map(len, pieces)) and os.pread(fd, size, 0) == b"".join(pieces)
        finally:
            os.close(fd)

    def _commit(self, drafts: Sequence[tuple[Draft, Key]]) -> None:
        """Makes complete drafts the values of their keys; raises OSError as it comes."""
        now_ns = self._directory.now_ns()
        for draft, _ in drafts:
            draft.seal(PLAIN_MODE, now_ns)
            if self._durable:
                draft.flush()
        changed: set[str] = set()
        for draft, key in drafts:
            path = self._layout.blob(key)
            freed = 0 if key.is_cas else _size_of(path)
            changed |= _in_place(draft.commit, path)
            self._added(occupied(draft.size) - freed)
        if self._durable:
            _flush_directories(changed)

    # ---- files that exist already

    def adopt(self, key: Key, path: str) -> bool:
        """Takes the finished file at `path` over by renaming it; whether that was possible.

        Raises:
            DigestMismatch: if a CAS value has another size than its key.
        """
        with self._writing:
            fd = os.open(path, _ADOPT)
            try:
                found = os.fstat(fd)
                check_size(key, found.st_size)
                # Who owns the inode, or has another name for it, could change it under its seal.
                if found.st_uid != os.geteuid() or found.st_nlink != 1:
                    return False
                return self._take_over(key, path, fd, found.st_size)
            finally:
                os.close(fd)

    def _take_over(self, key: Key, path: str, fd: int, size: int) -> bool:
        target = self._layout.blob(key)
        freed = 0 if key.is_cas else _size_of(target)
        os.fchmod(fd, PLAIN_MODE)
        os.utime(fd, ns=(self._directory.now_ns(), seal_ns(size)))
        if self._durable:
            os.fsync(fd)
        try:
            changed = _in_place(lambda place: os.rename(path, place), target)
        except OSError:
            return False  # another mount; if it is a real fault, the copy will tell
        if self._durable:
            _flush_directories(changed)
        self._added(occupied(size) - freed)
        return True

    def copy_in(self, key: Key, path: str) -> None:
        """Stores a copy of the finished file at `path`."""
        with self._writing:
            source = os.open(path, _ADOPT)
            try:
                draft = Draft(self._scratch.name())
                try:
                    draft.copy_from(source)
                    check_size(key, draft.size)
                    self._commit([(draft, key)])
                finally:
                    draft.abandon()
            finally:
                os.close(source)

    def make_twin(self, key: Key, now_ns: int) -> None:
        """Gives the value an executable twin.

        Raises:
            BlobNotFound: if the value is not here.
        """
        source, _ = self._directory.open(key)
        try:
            with self._writing:
                draft = Draft(self._scratch.name(), EXECUTABLE_MODE)
                try:
                    draft.copy_from(source)
                    draft.seal(EXECUTABLE_MODE, now_ns)
                    draft.commit(self._layout.executable(key))
                finally:
                    draft.abandon()
        finally:
            os.close(source)
        self._added(occupied(draft.size))


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
