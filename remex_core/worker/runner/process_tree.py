"""Finding and ending every descendant of this process.

Sound only in a subreaper: there, descendants whose parents died are children of this process,
so the walk from parent to child reaches all of them.
"""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

_PR_SET_CHILD_SUBREAPER: Final = 36


def become_subreaper() -> None:
    """Makes orphaned descendants of this process its children.

    Raises:
        OSError: if the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def descendants(*, spare: Collection[int] = ()) -> list[int]:
    """The process ids of all descendants, parents first, but for `spare` and what is below it."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are all that is wanted
        if name.isdigit():
            with suppress(OSError, ValueError):
                children.setdefault(_parent_of(name), []).append(int(name))
    found: list[int] = []
    front = [os.getpid()]
    while front:
        below = [child for pid in front for child in children.get(pid, ()) if child not in spare]
        found += below
        front = below
    return found


def _parent_of(pid: str) -> int:
    with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123 - thousands of these
        # The second field is the program's name in parentheses and may itself hold any bytes.
        return int(stat.read().rpartition(b")")[2].split(None, 2)[1])


def private_bytes(pids: Collection[int]) -> int:
    """How much memory these processes have for themselves, in bytes."""
    pages = 0
    for pid in pids:
        with suppress(OSError), open(f"/proc/{pid}/statm", "rb") as statm:  # noqa: PTH123 - pathlib is not loaded here
            _, resident, shared, *_ = statm.read().split()
            pages += int(resident) - int(shared)
    return pages * os.sysconf("SC_PAGESIZE")


def terminate(*, spare: Collection[int] = ()) -> None:
    """Asks every descendant to end, with SIGTERM."""
    _signal(descendants(spare=spare), signal.SIGTERM)


def kill(*, spare: Collection[int] = ()) -> None:
    """Ends every descendant with SIGKILL.

    They are stopped first, until a look finds no new ones, so that none forks its way out. What
    is killed still has to be reaped.
    """
    stopped: set[int] = set()
    while found := set(descendants(spare=spare)) - stopped:
        _signal(found, signal.SIGSTOP)
        stopped |= found
    _signal(stopped, signal.SIGKILL)


def _signal(pids: Collection[int], number: signal.Signals) -> None:
    for pid in pids:
        # Gone already, or of a user that this process may not touch.
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
