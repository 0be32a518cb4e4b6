"""The life of one `remex serve`: settings, start, ready, drain, end."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from remex_core.errors import ConfigError
from remex_core.plugins.registry import load_registry
from remex_core.server.banner import banner
from remex_core.server.lifecycle import raise_file_limit, stop_signals
from remex_core.server.node import Node
from remex_core.server.settings import resolve
from remex_core.telemetry import logging, tracing

if TYPE_CHECKING:
    from pathlib import Path

    from remex_core.server.flags import Flags
    from remex_core.worker.executor import Runner


async def run(flags: Flags, runner: Runner | None) -> None:
    """Serves until told to stop.

    Raises:
        RemexError: if it cannot start, or a role of it cannot go on.
    """
    plugins = load_registry(flags.plugins)
    settings = resolve(flags, plugins)
    wanted = os.environ.get(logging.VARIABLE) or settings.config.telemetry.log
    logging.configure({logging.VARIABLE: wanted})
    end_tracing = tracing.configure()
    try:
        await _serve(Node(settings, plugins, runner, tracing.tracer() if end_tracing else None))
    finally:
        if end_tracing is not None:
            end_tracing()


async def _serve(node: Node) -> None:
    raise_file_limit()
    _make(node.settings.data_dir)
    with stop_signals() as (drain, abort):
        async with node:
            await node.start()
            sys.stderr.write(banner(node.settings, node.addresses) + "\n")
            sys.stderr.flush()
            await _first(drain, node.failed)
            if node.failure is not None:
                raise node.failure
            draining = asyncio.create_task(node.drain())
            aborted = asyncio.create_task(abort.wait())
            await asyncio.wait({draining, aborted}, return_when=asyncio.FIRST_COMPLETED)
            for task in (draining, aborted):
                task.cancel()
            await asyncio.gather(draining, aborted, return_exceptions=True)


def _make(data_dir: Path) -> None:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The data directory {data_dir} cannot be made: {error.strerror}.",
            hint="Name another one with --data-dir.",
        ) from error


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
