"""The walk over all stored files: what they occupy, and which were used longest ago.

The directory is the index, so what an evictor needs is read from it. Memory is bounded: of all
files only the oldest are remembered, and when those are used up the walk is made again. What was
written or touched since a walk is newer than everything that it remembers, so taking from the
remembered ones in their order is exact LRU.
"""

from __future__ import annotations

import heapq
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from remex_fs.layout import FILE_NAME
from remex_fs.seal import occupied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from remex_fs.layout import Layout

REMEMBERED: Final = 65_536
"""How many of the oldest files one walk remembers; about 16 MB."""


class Resident(NamedTuple):
    """One stored file, as the walk saw it: last use in ns, bytes on disk, path."""

    used_ns: int
    occupies: int
    path: str


@dataclass(slots=True)
class Census:
    """The outcome of one walk.

    `oldest` are files by last use, the oldest last so that they can be popped; `complete` says
    whether these are all files there were.
    """

    started_ns: int
    total: int = 0
    files: int = 0
    oldest: list[Resident] = field(default_factory=list)
    complete: bool = True


def take_census(
    layout: Layout, started_ns: int, pause: Callable[[], None], remembered: int = REMEMBERED
) -> Census:
    """Walks all stored files; calls `pause` after each directory. Ignores stray files."""
    census = Census(started_ns)

    def counted() -> Iterator[Resident]:
        for resident in _residents(layout, pause):
            census.files += 1
            census.total += resident.occupies
            yield resident

    census.oldest = heapq.nsmallest(remembered, counted())
    census.oldest.reverse()
    census.complete = census.files <= remembered
    return census


def _residents(layout: Layout, pause: Callable[[], None]) -> Iterator[Resident]:
    functions = _directories(layout.cas)
    for space in _directories(layout.spaces):
        functions += _directories(space)
    for function in functions:
        for shard in _directories(function):
            yield from _files(shard)
            pause()


def _files(shard: str) -> Iterator[Resident]:
    try:
        with os.scandir(shard) as entries:
            for entry in entries:
                if FILE_NAME.fullmatch(entry.name) is None:
                    continue
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # discarded since it was listed
                yield Resident(found.st_atime_ns, occupied(found.st_size), entry.path)
    except FileNotFoundError:
        return


def _directories(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
