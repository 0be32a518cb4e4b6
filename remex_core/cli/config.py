"""`remex config init | check | show | graph | schema`: configurations, before anything runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from remex_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from remex_core.config.faults import PlacedFault
    from remex_core.config.model import Config
    from remex_core.plugins.registry import Registry

CHECK_SCHEMA: Final = "remex.config.check.v1"
SHOW_SCHEMA: Final = "remex.config.show.v1"
GRAPH_SCHEMA: Final = "remex.config.graph.v1"

app = typer.Typer(
    help="Write, check and show configurations.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The configuration.")]
Plugin = Annotated[list[Path] | None, typer.Option(help="A one-file plugin; may be repeated.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
DEFAULT_FILE: Final = Path("remex.yaml")


@app.command()
def init(
    file: File = DEFAULT_FILE,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where the stores are to lie; by default as for serve.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file.")] = False,
) -> None:
    """Write a configuration with comments, to start from."""
    from importlib.resources import files

    from remex_core.server.flags import Flags, data_directory

    template = files("remex_core.config").joinpath("template.yaml").read_text(encoding="utf-8")
    directory = str(data_directory(Flags(data_dir=data_dir)))
    # It lands between double quotes, where YAML escapes as JSON does, and `$$` is a plain $.
    text = template.replace("DATA_DIR", json.dumps(directory.replace("$", "$$"))[1:-1])
    try:
        with file.open("w" if force else "x", encoding="utf-8") as written:
            written.write(text)
    except FileExistsError as error:
        raise ConfigError(
            f"{file} exists already.", hint="Name another file, or overwrite it with --force."
        ) from error
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror or error}.") from error
    print(file)
    print(f"Serve with it: remex serve -c {file}", file=sys.stderr)


@app.command()
def check(file: File = DEFAULT_FILE, plugin: Plugin = None, as_json: Json = False) -> None:
    """Say everything that is wrong with a configuration; exits with 3 if anything is."""
    from remex_core.config.faults import InvalidConfig

    faults: Sequence[PlacedFault] = ()
    try:
        _load(file, plugin)
    except InvalidConfig as error:
        faults = error.faults
    if as_json:
        listed = [_fault(each) for each in faults]
        print(json.dumps({"schema": CHECK_SCHEMA, "ok": not faults, "faults": listed}, indent=2))
    else:
        for each in faults:
            print(each)
        if not faults:
            print("ok")
    if faults:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        print(f"{count} in {file}", file=sys.stderr)
        raise typer.Exit(ConfigError.exit_code)


@app.command()
def show(file: File = DEFAULT_FILE, plugin: Plugin = None, as_json: Json = False) -> None:
    """Print a configuration as it is used: with every default, and without secrets."""
    from remex_core.config.show import shown, to_yaml

    data = shown(*_load(file, plugin))
    if as_json:
        print(json.dumps({"schema": SHOW_SCHEMA, "config": data}, indent=2))
    else:
        print(to_yaml(data), end="")


@app.command()
def graph(file: File = DEFAULT_FILE, plugin: Plugin = None, as_json: Json = False) -> None:
    """Draw the stores of a configuration as trees."""
    from remex_core.config.graph import trees

    found = trees(*_load(file, plugin))
    if as_json:
        stores = {name: tree.data() for name, tree in found.items()}
        print(json.dumps({"schema": GRAPH_SCHEMA, "stores": stores}, indent=2))
    else:
        for name, tree in found.items():
            print(*tree.lines(name), sep="\n")


@app.command()
def schema(plugin: Plugin = None) -> None:
    """Print the JSON Schema of configurations, with the options of the installed plugins."""
    from remex_core.config.schema import json_schema
    from remex_core.plugins.registry import load_registry

    print(json.dumps(json_schema(load_registry(plugin or ())), indent=2))


def _load(file: Path, plugin: list[Path] | None) -> tuple[Config, Registry]:
    from remex_core.config.load import load_file
    from remex_core.plugins.registry import load_registry

    registry = load_registry(plugin or ())
    return load_file(file, registry), registry


def _fault(placed: PlacedFault) -> dict[str, Any]:
    position = placed.position
    return {
        "file": placed.file,
        "line": position.line if position is not None else None,
        "column": position.column if position is not None else None,
        "path": ".".join(placed.fault.path),
        "message": placed.fault.message,
        "hint": placed.fault.hint,
    }
