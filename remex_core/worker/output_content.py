"""Reading what an action left on disk, one entry at a time, without following a symlink.

Everything is opened by its name in an open directory. Outputs that their own user may not read
are made readable first (OUT-21).
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from remex_core.digest import Key
from remex_core.errors import FailedPrecondition, InvalidArgument

if TYPE_CHECKING:
    from remex_core.digest import DigestFunction

_PIECE: Final = 1024 * 1024
_ENTER: Final = 0o500
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A fifo that took a file's place must not block the worker (OUT-19).
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that holds a blob; `own` if it is the worker's alone, so that a store may take it."""

    path: str
    own: bool


class ContentReader:
    """Opens directories and hashes files; `files` says where the bytes of each digest are.

    Args:
        root: the input root, which every `path` of the methods is relative to.
        function: what hashes.
        max_file_bytes: the largest file that is taken (OUT-22).
    """

    def __init__(self, root: str, function: DigestFunction, max_file_bytes: int) -> None:
        self.root = root
        self.function = function
        self.files: dict[Key, SourceFile] = {}
        self._max_file_bytes = max_file_bytes
        self._user = os.geteuid()

    def open_root(self) -> int:
        """The input root, opened; the caller closes it."""
        return os.open(self.root, _DIRECTORY)

    def enter(self, parent: int, name: str) -> int:
        """A directory, opened so that its entries can be looked at; the caller closes it."""
        try:
            descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
        except PermissionError:
            _grant(parent, name, _ENTER)
            return os.open(name, _DIRECTORY, dir_fd=parent)
        # It may be opened with less than what looking at its entries needs.
        status = os.fstat(descriptor)
        if status.st_mode & _ENTER != _ENTER and status.st_uid == self._user:
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode) | _ENTER)
        return descriptor

    def hash_file(self, parent: int, name: str, path: str, status: os.stat_result) -> Key:
        """The key of a regular file's content.

        Raises:
            FailedPrecondition: if it is too large, or may not be read.
        """
        if status.st_size > self._max_file_bytes:
            raise FailedPrecondition(
                f"The output {shown(path)} has {status.st_size} bytes; this worker takes at most "
                f"{self._max_file_bytes} in one file."
            )
        try:
            descriptor = os.open(name, _FILE, dir_fd=parent)
        except PermissionError:
            _grant(parent, name, stat.S_IRUSR)
            descriptor = os.open(name, _FILE, dir_fd=parent)
        return self._take(descriptor, f"{self.root}/{path}", status)

    def hash_stream(self, path: str) -> Key | None:
        """The key of an output stream's file; None if it was never made."""
        try:
            descriptor = os.open(path, _FILE)
        except FileNotFoundError:
            return None
        return self._take(descriptor, path, os.fstat(descriptor))

    def _take(self, descriptor: int, path: str, status: os.stat_result) -> Key:
        """Hashes an open file, closes it, and remembers where its bytes are."""
        hasher = self.function.new()
        size = 0
        try:
            # Small files in one read, without the cost of a large buffer.
            piece_bytes = min(_PIECE, status.st_size + 1)
            while piece := os.read(descriptor, piece_bytes):
                hasher.update(piece)
                size += len(piece)
        finally:
            os.close(descriptor)
        key = Key("", self.function.name, hasher.hexdigest(), size)
        if size:
            own = status.st_nlink == 1 and status.st_uid == self._user
            self.files.setdefault(key, SourceFile(path, own))
        return key


def read_link(parent: int, name: str, path: str) -> str:
    """A symlink's target, verbatim.

    Raises:
        InvalidArgument: if the protocol cannot express it (OUT-24).
    """
    target = os.readlink(name, dir_fd=parent)
    try:
        target.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            f"The target of the symlink {shown(path)} is not UTF-8: {shown(target)}."
        ) from error
    return target


def is_executable(status: os.stat_result) -> bool:
    """Whether anybody may execute the file (OUT-06)."""
    return bool(status.st_mode & 0o111)


def special_file(path: str) -> InvalidArgument:
    """The error for what is neither a file nor a directory nor a symlink (OUT-19)."""
    return InvalidArgument(
        f"The output {shown(path)} is neither a file nor a directory nor a symlink."
    )


def shown(path: str) -> str:
    """A path for a message, with bytes that are not UTF-8 escaped (OUT-24)."""
    return f"'{os.fsencode(path[:300]).decode(errors='backslashreplace')}'"


def _grant(parent: int, name: str, bits: int) -> None:
    """Adds permissions to an output.

    Raises:
        FailedPrecondition: if it is another user's.
    """
    try:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
        os.chmod(name, stat.S_IMODE(mode) | bits, dir_fd=parent)
    except PermissionError as error:
        raise FailedPrecondition(
            f"The output {shown(name)} cannot be read by the worker: {error.strerror}."
        ) from error
