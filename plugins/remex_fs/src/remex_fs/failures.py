"""What the operating system's refusals mean to whoever uses the store."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from remex_core.plugin import StoreFull, StoreUnavailable

if TYPE_CHECKING:
    from types import TracebackType

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Reporting:
    """A `with` block whose OSErrors leave it as StoreFull or StoreUnavailable.

    A class, not a generator: it stands on paths where a generator would cost as much as the
    system call inside. One object may be entered many times, by several threads.
    """

    __slots__ = ("_doing", "_root")

    def __init__(self, doing: str, root: str) -> None:
        self._doing = doing
        self._root = root

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not isinstance(error, OSError):
            return
        if error.errno in _NO_ROOM:
            raise StoreFull(
                f"The disk of the filesystem store at {self._root} has no room left while "
                f"{self._doing}: {error.strerror}.",
                hint="Free space on that volume, or give the store a max_bytes that it can keep.",
                retry_after=5.0,
            ) from error
        raise StoreUnavailable(
            f"The filesystem store at {self._root} fails while {self._doing}: {error}.",
            hint="Look at that volume and at the kernel's log on the store's machine.",
        ) from error
