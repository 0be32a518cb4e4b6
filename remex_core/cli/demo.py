"""`remex demo`: a whole remex on this machine, and a build that runs twice on it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from remex_core.client import RemoteClient
    from remex_core.demo.build import Done
    from remex_core.demo.outcome import Outcome
    from remex_core.demo.program import Program

app = typer.Typer()

_WORKERS: Final = ("worker-1", "worker-2", "worker-3")


@app.command()
def demo() -> None:
    """Start a cas, a scheduler and 3 workers, and build 60 things with them, twice.

    Exits with 0 only if every action of the first build ran on a worker and every one of the
    second came from the cache. Leaves nothing behind.
    """
    from rich.console import Console

    # Ends by unwinding, so that the processes are ended too.
    signal.signal(signal.SIGTERM, _terminated)
    notes = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="remex-demo-") as directory:
        outcome = _run(Path(directory), notes)
    _print_table(outcome)
    for fault in outcome.faults:
        notes.print(fault)
    if outcome.faults:
        raise typer.Exit(1)


def _terminated(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


def _run(directory: Path, notes: Console) -> Outcome:
    from remex_core.demo.program import program
    from remex_core.testing.processes import separate_roles

    starting = "starting a cas, a scheduler and 3 workers, each a process of its own"
    with (
        notes.status(starting) as status,
        separate_roles(directory, workers=_WORKERS) as cluster,
    ):
        status.stop()
        running = ", ".join(f"{name} ({each.pid})" for name, each in cluster.processes.items())
        notes.print(f"running, each a process of its own: {running}")
        return asyncio.run(_build_twice(cluster.endpoint, program(), directory, notes))


async def _build_twice(url: str, program: Program, directory: Path, notes: Console) -> Outcome:
    from remex_core.client import connect
    from remex_core.demo.outcome import Outcome

    notes.print(f"building a {program.language} program of {len(program.steps)} actions at {url}")
    async with connect(url) as client:
        first = await _build("first build", client, program, notes)
        second = await _build("second build", client, program, notes)
        linked = second[-1]
        path = directory / linked.output
        await client.download_to(linked.made, path, executable=True)
    command = [*program.runner, str(path)]
    ran = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, timeout=60
    )
    return Outcome(first, second, program_ran=ran.stdout == program.prints)


async def _build(title: str, client: RemoteClient, program: Program, notes: Console) -> list[Done]:
    """One build, with a bar that moves where somebody watches, and else a line at its end."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from remex_core.clock import SYSTEM
    from remex_core.demo.build import Build

    total = len(program.steps)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    started = SYSTEM.monotonic()
    with Progress(*columns, console=notes, disable=not notes.is_terminal) as progress:
        steps = progress.add_task(title, total=total)
        ran = {name: progress.add_task(f"  by {name}", total=total) for name in _WORKERS}

        def ended(done: Done) -> None:
            progress.advance(steps)
            if not done.cached:
                progress.advance(ran[done.worker])

        builds = await Build(client, program, ended).run()
    cached = sum(done.cached for done in builds)
    notes.print(
        f"{title}: {total - cached} actions run, {cached} from the cache, "
        f"in {SYSTEM.monotonic() - started:.1f} s"
    )
    return builds


def _print_table(outcome: Outcome) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("worker", "action", "first build", "second build")
    pairs = zip(outcome.first, outcome.second, strict=True)
    for first, second in sorted(pairs, key=lambda pair: pair[0].worker):
        again = "from the cache" if second.cached else f"ran again on {second.worker}"
        table.add_row(first.worker, first.output, f"{first.seconds * 1000:.0f} ms", again)
    console = Console(highlight=False)
    console.print(table)
    for worker, count in outcome.by_worker.items():
        spent = sum(done.seconds for done in outcome.first if done.worker == worker)
        console.print(f"{worker} ran {count} actions in {spent:.1f} s of their own time")
