"""Runs every check, with a server of its own where no running one was named."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from remex_core.doctor.context import run_check
from remex_core.doctor.machine import scratch
from remex_core.errors import RemexError
from remex_core.plugins.descriptors import Finding
from remex_core.testing.processes import all_in_one

if TYPE_CHECKING:
    from collections.abc import Iterator

    from remex_core.doctor.context import Context


def examine(context: Context) -> Iterator[Finding]:
    """What every registered check finds, as it is found.

    Where no server was named, one with every role is started for the checks that need one, and
    ended with the last finding.
    """
    with ExitStack() as ends:
        if not context.named:
            try:
                place = ends.enter_context(scratch(context.data_dir))
                url = ends.enter_context(all_in_one(place)).endpoint
            except (OSError, RemexError) as error:
                yield _not_started(error)
            else:
                context = replace(context, scheduler=url)
        for check in context.plugins.health_checks.values():
            yield from asyncio.run(run_check(check, context))


def _not_started(error: OSError | RemexError) -> Finding:
    if isinstance(error, OSError):
        message = f"No server could be started for a trial: {error}."
        return Finding("server", "fail", message, "Name a writable directory with --data-dir.")
    return Finding("server", "fail", error.message, error.hint)
