"""A value on its way into the store: an unfinished file that becomes visible all at once."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from remex_fs.seal import PLAIN_MODE, seal_ns

if TYPE_CHECKING:
    from collections.abc import Sequence

_IOV_MAX: Final = 512


class Draft:
    """One unfinished file; every method blocks. Ends with `commit` or `abandon`.

    Raises OSError as it comes.
    """

    __slots__ = ("_fd", "_path", "size")

    def __init__(self, path: str, mode: int = PLAIN_MODE) -> None:
        self._path = path
        self.size = 0
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)

    def append(self, pieces: Sequence[bytes]) -> None:
        """Writes the pieces at the end, joining none of them."""
        for start in range(0, len(pieces), _IOV_MAX):
            group = pieces[start : start + _IOV_MAX]
            length = sum(map(len, group))
            written = os.writev(self._fd, group)
            self.size += written
            if written < length:
                self._append_rest(group, written)

    def _append_rest(self, group: Sequence[bytes], written: int) -> None:
        # Rare: a signal, or the last free blocks; the next write then says what is wrong.
        rest = memoryview(b"".join(group))[written:]
        while rest:
            written = os.write(self._fd, rest)
            self.size += written
            rest = rest[written:]

    def copy_from(self, source: int) -> None:
        """Appends all of the open file `source`, sharing its blocks where the filesystem can."""
        self.size += copy_bytes(source, self._fd)

    def flush(self) -> None:
        """Returns when the bytes would survive a power cut."""
        os.fsync(self._fd)

    def seal(self, mode: int, now_ns: int) -> None:
        """Gives the file the mode and the times of a stored one; nothing is written after."""
        os.fchmod(self._fd, mode)  # the umask may have taken some bits
        os.utime(self._fd, ns=(now_ns, seal_ns(self.size)))

    def commit(self, path: str) -> None:
        """Makes the sealed file appear at `path`, in the place of what is there."""
        os.rename(self._path, path)
        self._close()

    def abandon(self) -> None:
        """Leaves nothing behind; harmless after `commit`."""
        if self._fd >= 0:
            self._close()
            with suppress(FileNotFoundError):
                os.unlink(self._path)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        os.close(fd)


_COPY_PIECE: Final = 64 * 1024 * 1024


def copy_bytes(source: int, target: int) -> int:
    """Appends what is left of `source` to `target`; the number of bytes copied.

    Reflinks where the filesystem can, else copies inside the kernel, else through this process.
    """
    total = 0
    in_kernel = getattr(os, "copy_file_range", None)
    while in_kernel is not None:
        try:
            copied = in_kernel(source, target, _COPY_PIECE)
        except OSError:
            break  # another filesystem, or one that cannot; the plain way tells real faults
        if copied == 0:
            break
        total += copied
    while piece := os.read(source, 1024 * 1024):
        view = memoryview(piece)
        while view:
            written = os.write(target, view)
            total += written
            view = view[written:]
    return total
