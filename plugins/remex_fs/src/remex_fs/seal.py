"""What makes a file a stored value: its seal, its recency and what it counts as on disk.

The seal is the modification time that every stored file has, together with its size. Whoever
writes to the file, through whatever hard link, moves the modification time and breaks it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from remex_core.plugin import DigestMismatch

if TYPE_CHECKING:
    from remex_core.plugin import Key

SEAL_NS: Final = 946_684_800 * 10**9
"""The modification time of every stored file: 2000-01-01T00:00:00Z."""

TOUCH_AFTER_NS: Final = 600 * 10**9
"""An access time younger than this is left as it is."""

PLAIN_MODE: Final = 0o444
EXECUTABLE_MODE: Final = 0o555


def is_whole(found: os.stat_result, key: Key) -> bool:
    """Whether a file is as it was stored."""
    return found.st_mtime_ns == SEAL_NS and (bool(key.space) or found.st_size == key.size)


def touch(file: str | int, now_ns: int) -> bool:
    """Marks a file as used now; False if it is gone. Raises OSError as it comes."""
    try:
        os.utime(file, ns=(now_ns, SEAL_NS))
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
