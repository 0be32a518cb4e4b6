"""What makes a file a stored value: its seal, its recency and what it counts as on disk.

The seal is a modification time that follows from the size. Whoever writes to the file, through
whatever hard link, moves the modification time; a power cut that loses bytes changes the size:
either breaks the seal, and one look tells.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from remex_core.plugin import DigestMismatch

if TYPE_CHECKING:
    from remex_core.plugin import Key

_SECOND: Final = 1_000_000_000
_EPOCH: Final = 946_684_800
"""2000-01-01T00:00:00Z in seconds: whole seconds are what every filesystem can keep."""

_DAY: Final = 86_400

TOUCH_AFTER_NS: Final = 600 * _SECOND
"""An access time younger than this is left as it is."""

PLAIN_MODE: Final = 0o444
EXECUTABLE_MODE: Final = 0o555


def seal_ns(size: int) -> int:
    """The modification time of a stored file of `size` bytes: a second of 2000-01-01."""
    return (_EPOCH + size % _DAY) * _SECOND


def is_sealed(found: os.stat_result) -> bool:
    """Whether the file was left alone since it was stored."""
    return found.st_mtime_ns == (_EPOCH + found.st_size % _DAY) * _SECOND


def is_whole(found: os.stat_result, key: Key) -> bool:
    """Whether the file is the stored value of `key`; the size of a CAS value is in its key."""
    return is_sealed(found) and (bool(key.space) or found.st_size == key.size)


def touch(file: str | int, size: int, now_ns: int) -> bool:
    """Marks a sealed file of `size` bytes as used now; False if it is gone.

    Raises OSError as it comes.
    """
    try:
        os.utime(file, ns=(now_ns, seal_ns(size)))
    except FileNotFoundError:
        return False
    except PermissionError:
        pass  # another user's file: only its owner can make it live longer
    return True


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
