"""The `remex` command: finds the subcommand, imports only that, and turns errors into exit codes.

Exit codes: 0 ok, 1 negative answer, 2 usage, 3 configuration, 4 plugin, 5 unreachable,
6 not found, 70 bug.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from remex_core import __version__
from remex_core.errors import RemexError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.metadata import EntryPoint

COMMAND_GROUP = "remex.commands.v1"
_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Subcommand:
    """Where a subcommand lives (`module:attribute`), and its line in the help."""

    target: str
    summary: str

    def load(self, name: str) -> Any:
        """Imports the command."""
        module, _, attribute = self.target.partition(":")
        command = get_command(getattr(import_module(module), attribute))
        command.name = name
        return command


BUILT_IN: Mapping[str, Subcommand] = {
    "serve": Subcommand("remex_core.cli.serve:app", "Serve the cache, the scheduler and a worker."),
    "demo": Subcommand("remex_core.cli.demo:app", "Build 60 things with 3 workers, twice."),
    "doctor": Subcommand("remex_core.cli.doctor:app", "Find what would keep a build from working."),
    "bench": Subcommand("remex_core.cli.bench:app", "Measure what remex costs on this machine."),
    "cas": Subcommand("remex_core.cli.cas:app", "Put, get and look up blobs."),
    "config": Subcommand("remex_core.cli.config:app", "Write, check and show configurations."),
    "plugins": Subcommand("remex_core.cli.plugins:app", "Show which plugins are active, and why."),
}


def _subcommands() -> dict[str, Subcommand]:
    """The built-in subcommands and those of plugins, which cannot replace a built-in one."""
    found = {
        point.name: Subcommand(point.value, f"From the plugin {_origin(point)}.")
        for point in entry_points(group=COMMAND_GROUP)
    }
    return found | dict(BUILT_IN)


def _origin(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value


class LazyGroup(TyperGroup):
    """A group that imports a subcommand when it is called, not when it is listed."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_subcommands())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Enough of the subcommand for the help."""
        found = _subcommands().get(cmd_name)
        return None if found is None else TyperCommand(cmd_name, help=found.summary)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The subcommand itself; unknown names get the base class's did-you-mean."""
        found = _subcommands().get(args[0])
        if found is None:
            return super().resolve_command(ctx, args)
        return args[0], found.load(args[0]), args[1:]


app = typer.Typer(
    name="remex",
    cls=LazyGroup,
    help="Remote cache and remote execution for builds.",
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"remex {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Remote cache and remote execution for builds."""


def main() -> NoReturn:
    """Runs the command line and exits."""
    # grpcio reads it when it is imported, and otherwise writes its own notes among our lines.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    command = get_command(app)
    try:
        command.main(prog_name="remex")
    except RemexError as error:
        print(f"remex: {error.message}", file=sys.stderr)
        if error.hint:
            print(error.hint, file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    sys.exit(0)
