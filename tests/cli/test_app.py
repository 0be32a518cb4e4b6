"""The `remex` command's frame: help without imports, unknown commands, exit codes."""

from __future__ import annotations

import subprocess
import sys

from remex_core import __version__
from remex_core.cli.app import BUILT_IN


def _remex(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "remex_core", *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_lists_every_command() -> None:
    """`remex --help` names each command with its line and exits with 0."""
    done = _remex("--help")
    assert 0 == done.returncode
    assert set(BUILT_IN) == {name for name in BUILT_IN if f"  {name} " in done.stdout}


def test_help_imports_no_command() -> None:
    """The help answers at once because it imports neither protobuf, gRPC, pydantic nor rich."""
    code = (
        "import sys\n"
        "from remex_core.cli import app\n"
        "sys.argv = ['remex', '--help']\n"
        "try:\n    app.main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'grpc', 'google.protobuf', 'pydantic', 'rich', 'ruamel', 'aiohttp'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "[]" == done.stderr.strip()


def test_every_command_can_be_loaded() -> None:
    """Each built-in command imports and has a help of its own."""
    loaded = {name: sub.load(name) for name, sub in BUILT_IN.items()}
    assert {name: name for name in BUILT_IN} == {name: c.name for name, c in loaded.items()}


def test_version() -> None:
    """`remex --version` prints the version of the core distribution."""
    assert f"remex {__version__}\n" == _remex("--version").stdout


def test_unknown_command_is_a_usage_error() -> None:
    """An unknown command exits with 2 and says so."""
    done = _remex("serv")
    assert 2 == done.returncode
    assert "No such command 'serv'" in done.stderr
