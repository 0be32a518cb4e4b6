"""Reads the log in which Bazel says how it executed each action."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Spawn:
    """One action that was executed, or taken from a cache."""

    mnemonic: str
    outputs: tuple[str, ...]
    runner: str
    """Which way it went: `remote`, `remote cache hit`, `local`, …"""
    exit_code: int


def read_spawns(path: Path) -> list[Spawn]:
    """Return the actions of a `--execution_log_json_file`; none if Bazel wrote no such file."""
    if not path.exists():
        return []
    text = path.read_text()
    decoder = json.JSONDecoder()
    spawns: list[Spawn] = []
    position = 0
    # The file is one object after the other, with nothing in between.
    while position < len(text):
        entry, position = decoder.raw_decode(text, position)
        spawns.append(
            Spawn(
                mnemonic=entry["mnemonic"],
                outputs=tuple(entry["listedOutputs"]),
                runner=entry["runner"],
                exit_code=entry["exitCode"],
            )
        )
    return spawns
