"""`remex plugins`: what is installed, what of it is in use, and why the rest is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from remex_core.plugins.loader import Plugin

SCHEMA: Final = "remex.plugins.v1"

app = typer.Typer(rich_markup_mode=None)


@app.command()
def plugins(
    plugin: Annotated[
        list[Path] | None, typer.Option(help="A one-file plugin; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Show which plugins are in use and what they bring, and why the others are not.

    REMEX_PLUGINS names the installed plugins that may be used, REMEX_DISABLE_PLUGINS those that
    may not: lists of names, with commas between.
    """
    from remex_core.plugins.loader import find_plugins
    from remex_core.plugins.registry import register

    found = register(find_plugins(plugin or ())).plugins
    if as_json:
        print(json.dumps({"schema": SCHEMA, "plugins": [_data(each) for each in found]}, indent=2))
    else:
        _print_table(found)


def _data(plugin: Plugin) -> dict[str, object]:
    return {
        "name": plugin.name,
        "origin": plugin.origin,
        "version": plugin.version,
        "status": plugin.status.value,
        "reason": plugin.reason,
        "provides": list(plugin.provides),
    }


def _print_table(plugins: list[Plugin]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("plugin", "from", "status", "brings, or why not in use")
    for each in plugins:
        origin = f"{each.origin} {each.version}".rstrip()
        what = _kinds(each) if each.is_usable else f"It {each.reason}."
        table.add_row(*map(Text, (each.name, origin, each.status.value, what)))
    Console(highlight=False).print(table)


def _kinds(plugin: Plugin) -> str:
    """What it brings, by family: `store: memory, noop; transport: inproc`."""
    families: dict[str, list[str]] = {}
    for kind in plugin.provides:
        family, _, name = kind.rpartition(" ")
        families.setdefault(family, []).append(name)
    return "; ".join(f"{family}: {', '.join(names)}" for family, names in families.items())
