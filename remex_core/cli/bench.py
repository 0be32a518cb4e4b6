"""`remex bench`: what remex costs on this machine."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from remex_core.errors import InvalidArgument

if TYPE_CHECKING:
    from remex_core.bench.figure import Figure

SCHEMA: Final = "remex.bench.v1"
_WIDTH: Final = 120

app = typer.Typer()


@app.command()
def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="help, bytestream, find-missing, materialise, actions; none for all."),
    ] = None,
    size: Annotated[str, typer.Option(help="The size of the blob that is streamed.")] = "1GiB",
    rounds: Annotated[int, typer.Option(min=1, help="How often; the median counts.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="Try it: little of everything.")] = False,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="Whose disk is measured; a temporary directory by default."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable figures.")] = False,
) -> None:
    """Measure what remex costs here, each figure beside the least that could do the same.

    Exits with 1 if a figure is outside its bound. Takes several minutes and 5 GiB of memory.
    """
    from remex_core.bench.suite import MEASURES, Effort
    from remex_core.plugins.units import parse_size

    unknown = [name for name in names or () if name not in MEASURES]
    if unknown:
        raise InvalidArgument(
            f"There is no measurement called {unknown[0]!r}.",
            hint=f"There are {', '.join(MEASURES)}.",
        )
    if quick:
        effort = Effort(blob_bytes=16 * 1024**2, calls=80, files=500, actions=40, rounds=1)
    else:
        effort = Effort(blob_bytes=parse_size(size), rounds=rounds)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="remex-bench-", dir=directory) as place:
        for name, measure in MEASURES.items():
            if not names or name in names:
                typer.echo(f"measuring {name} …", err=True)
                figures += asyncio.run(measure(Path(place) / name, effort))
    if as_json:
        print(json.dumps({"schema": SCHEMA, "figures": list(map(_data, figures))}, indent=2))
    else:
        _print_table(figures)
    if not all(figure.holds for figure in figures):
        raise typer.Exit(1)


def _data(figure: Figure) -> dict[str, object]:
    return {
        "name": figure.name,
        "value": figure.value,
        "unit": figure.unit,
        "baseline": figure.baseline,
        "bound": figure.bound,
        "holds": figure.holds,
    }


def _print_table(figures: list[Figure]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "remex", "bare", "ratio", "wanted", "")
    for column in table.columns:
        column.no_wrap = True
    for figure in figures:
        bare = "" if figure.baseline is None else _shown(figure.baseline, figure.unit)
        ratio = "" if figure.baseline is None else f"{figure.compared:.0%}"
        verdict = "" if not figure.bound else "holds" if figure.holds else "FAILS"
        table.add_row(
            figure.name, _shown(figure.value, figure.unit), bare, ratio, figure.bound, verdict
        )
    Console(width=_WIDTH).print(table)


def _shown(value: float, unit: str) -> str:
    return f"{value:,.1f} {unit}" if value < 100 else f"{value:,.0f} {unit}"
