"""`remex config`: what it prints where, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = """
from pydantic import SecretStr
from remex_core.plugin import Spec, StoreType, hookimpl

class VaultSpec(Spec):
    token: SecretStr

async def build(spec, ctx):
    raise NotImplementedError

@hookimpl
def remex_stores():
    return [StoreType("vault", VaultSpec, build, "a store with a secret")]
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The directory where commands run, with a plugin and a configuration that needs it."""
    (tmp_path / "vault.py").write_text(PLUGIN)
    (tmp_path / "good.yaml").write_text(
        'version: 1\nstores: { cas: { vault: { token: "${TOKEN:-sesame}" } }, ac: noop }\n'
    )
    (tmp_path / "bad.yaml").write_text("version: 1\nworker:\n  slots: 0\nlisten: { htp: x }\n")
    return tmp_path


def _config(work: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "remex_core", "config", *arguments],
        cwd=work,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_init_writes_is_valid(work: Path) -> None:
    """init prints the file's name; the file passes the check, and says where values will lie."""
    written = _config(work, "init", "--data-dir", "/some where/$x \"#'")
    assert (0, "remex.yaml\n") == (written.returncode, written.stdout)
    assert "remex serve -c remex.yaml" in written.stderr
    checked = _config(work, "check")
    assert (0, "ok\n", "") == (checked.returncode, checked.stdout, checked.stderr)
    shown = json.loads(_config(work, "show", "--json").stdout)
    assert "/some where/$x \"#'/cas" == shown["config"]["stores"]["cas"]["filesystem"]["path"]


def test_what_init_writes_are_the_defaults(work: Path) -> None:
    """But for the stores, the file that one starts from changes nothing."""
    (work / "least.yaml").write_text("version: 1\n")
    _config(work, "init")
    least, initial = (
        json.loads(_config(work, "show", file, "--json").stdout)["config"]
        for file in ("least.yaml", "remex.yaml")
    )
    assert {"cas", "ac"} == set(initial.pop("stores"))
    del least["stores"]
    assert {
        "public": "127.0.0.1:8980",
        "worker_api": "127.0.0.1:8981",
        "http": "127.0.0.1:8982",
    } == (initial.pop("listen"))
    del least["listen"]
    assert least == initial


def test_init_overwrites_only_when_told_to(work: Path) -> None:
    """A file that is there stays as it is, and the command ends with 3."""
    refused = _config(work, "init", "good.yaml")
    assert (3, "") == (refused.returncode, refused.stdout)
    assert "remex: good.yaml exists already.\nName another file" in refused.stderr
    assert "vault" in (work / "good.yaml").read_text()
    assert 0 == _config(work, "init", "good.yaml", "--force").returncode
    assert "vault" not in (work / "good.yaml").read_text()


def test_check_prints_every_fault(work: Path) -> None:
    """Faults are the data of this command: they go to stdout, their number to stderr."""
    checked = _config(work, "check", "bad.yaml")
    assert 3 == checked.returncode
    assert (
        "bad.yaml:3:3: worker.slots: Input should be greater than or equal to 1, not 0.\n"
        "bad.yaml:4:11: listen.htp: There is no option 'htp' here. Did you mean 'http'?\n"
        == checked.stdout
    )
    assert "2 faults in bad.yaml\n" == checked.stderr


def test_check_as_json(work: Path) -> None:
    """The same for programs, with place, path, message and hint apart."""
    checked = _config(work, "check", "bad.yaml", "--json")
    assert 3 == checked.returncode
    report = json.loads(checked.stdout)
    assert ("remex.config.check.v1", False, 2) == (
        report["schema"],
        report["ok"],
        len(report["faults"]),
    )
    expected = {
        "file": "bad.yaml",
        "line": 4,
        "column": 11,
        "path": "listen.htp",
        "message": "There is no option 'htp' here.",
        "hint": "Did you mean 'http'?",
    }
    assert expected == report["faults"][1]


def test_one_file_plugins_are_known(work: Path) -> None:
    """A kind that a file brings is unknown without it."""
    assert "'vault'" in _config(work, "check", "good.yaml").stdout
    assert "ok\n" == _config(work, "check", "good.yaml", "--plugin", "vault.py").stdout


def test_a_broken_one_file_plugin_is_an_error(work: Path) -> None:
    """It ends with 4 and the plugin's own reason."""
    (work / "broken.py").write_text("import no_such_module")
    checked = _config(work, "check", "good.yaml", "--plugin", "broken.py")
    assert 4 == checked.returncode
    assert "remex: The plugin broken.py cannot be imported: ModuleNotFoundError" in checked.stderr


def test_secrets_are_never_printed(work: Path) -> None:
    """Neither a default nor what the environment holds; in no format."""
    for command in (["show"], ["show", "--json"], ["graph"], ["graph", "--json"]):
        printed = _config(work, *command, "good.yaml", "--plugin", "vault.py", TOKEN="hush")
        assert 0 == printed.returncode
        assert "***" in printed.stdout
        assert not {"hush", "sesame"} & set(printed.stdout.replace('"', " ").split())


def test_graph_draws_the_stores(work: Path) -> None:
    """One tree for each store."""
    drawn = _config(work, "graph", "good.yaml", "--plugin", "vault.py")
    assert "cas: vault token=***\nac: noop\n" == drawn.stdout


def test_a_configuration_with_faults_cannot_be_shown(work: Path) -> None:
    """The faults are then an error, on stderr."""
    shown = _config(work, "show", "bad.yaml")
    assert (3, "") == (shown.returncode, shown.stdout)
    assert shown.stderr.startswith("remex: bad.yaml:3:3: worker.slots: ")


def test_the_schema_has_the_options_of_plugins(work: Path) -> None:
    """Installed ones and those of a file."""
    printed = _config(work, "schema", "--plugin", "vault.py")
    kinds = json.loads(printed.stdout)["$defs"]["store"]["anyOf"][0]["properties"]
    assert {"vault", "filesystem", "memory"} <= set(kinds)
    assert "token" in kinds["vault"]["properties"]


@pytest.mark.parametrize("command", ["check", "show", "graph"])
def test_a_file_that_is_not_there(work: Path, command: str) -> None:
    """Two lines: what happened, and what to do next; never a traceback."""
    ended = _config(work, command, "absent.yaml")
    assert (3, "") == (ended.returncode, ended.stdout)
    assert 2 == len(ended.stderr.splitlines())
    assert "remex: The configuration absent.yaml cannot be read: No such file" in ended.stderr
