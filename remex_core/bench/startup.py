"""How long the command line takes to answer."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from remex_core.bench.figure import Figure, in_turns
from remex_core.clock import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Sequence


async def help_time(rounds: int) -> Sequence[Figure]:
    """`remex --help`, from the start of the process to its end."""
    await _timed("--help")  # reads the files from disk once
    (seconds,) = await in_turns(rounds, lambda: _timed("--help"))
    return (Figure("remex --help", seconds * 1000, "ms", at_most=250),)


async def _timed(*arguments: str) -> float:
    started = SYSTEM.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "remex_core", *arguments), stdout=asyncio.subprocess.DEVNULL
    )
    await process.wait()
    return SYSTEM.monotonic() - started
