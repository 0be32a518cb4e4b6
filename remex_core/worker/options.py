"""What a worker is told about itself, and what it learns of its scheduler."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from remex_core.worker.executor import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from remex_core.worker.properties import QueryCommand


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Who the worker is and how much it does at once.

    Args:
        name: unique among the workers of a scheduler.
        incarnation: names this process's life; a fresh random string.
        work_root: where it makes its work directories; see `work_root_of`.
        slots: how many actions run at once.
        prefetch: how many further ones have their inputs fetched meanwhile.
        properties: platform properties, name to values or to the command that prints them.
        instances: the instance names it serves; none means all.
        join_token: what admits it to the scheduler.
        limits: what an action may use; its timeout comes with each lease.
        scheduler: the scheduler's address, for messages.
        max_input_entries: how many paths one input tree may have (DIR-11).
        max_output_file_bytes: how large one output file may be (OUT-22).
    """

    name: str
    incarnation: str
    work_root: Path
    slots: int = 1
    prefetch: int = 1
    properties: Mapping[str, Sequence[str] | QueryCommand] = field(default_factory=dict)
    instances: Sequence[str] = ()
    join_token: str = ""
    limits: Limits = field(default_factory=Limits)
    scheduler: str = "the scheduler"
    max_input_entries: int = 1_000_000
    max_output_file_bytes: int = 64 * 1024**3


@dataclass(slots=True)
class Terms:
    """What the scheduler said last; the session writes it, the pipeline reads it.

    `offset` is what to add to this machine's clock to get the scheduler's, in seconds.
    """

    offset: float = 0.0
    max_inline_result_bytes: int = 1024 * 1024
