"""The measurements by name, in the order in which they run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from remex_core.bench.actions import actions
from remex_core.bench.bytestream import streams
from remex_core.bench.find_missing import find_missing
from remex_core.bench.materialise import materialise
from remex_core.bench.startup import help_time

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from remex_core.bench.figure import Figure


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done for each figure: large enough to mean something, or small enough to try.

    `blob_bytes` are streamed, `calls` made, `files` linked and `actions` run, each `rounds` times.
    """

    blob_bytes: int = 1024**3
    calls: int = 800
    files: int = 10_000
    actions: int = 1000
    rounds: int = 3


MEASURES: Mapping[str, Callable[[Path, Effort], Coroutine[Any, Any, Sequence[Figure]]]] = {
    "help": lambda _, effort: help_time(3 * effort.rounds),
    "bytestream": lambda path, effort: streams(path, size=effort.blob_bytes, rounds=effort.rounds),
    "find-missing": lambda path, effort: find_missing(
        path, calls=effort.calls, rounds=effort.rounds
    ),
    "materialise": lambda path, effort: materialise(path, files=effort.files, rounds=effort.rounds),
    "actions": lambda path, effort: actions(path, count=effort.actions, rounds=effort.rounds),
}
