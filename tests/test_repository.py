"""What the repository promises to whoever clones it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(project.parent for project in ROOT.glob("plugins/*/pyproject.toml"))
DISTRIBUTIONS = [ROOT, *PLUGINS]
README = (ROOT / "README.md").read_text()


def _project(distribution: Path) -> dict[str, object]:
    project: dict[str, object] = tomllib.loads((distribution / "pyproject.toml").read_text())[
        "project"
    ]
    return project


def _tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a git checkout, so it is unknown which files belong to it")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def _commands() -> list[str]:
    return re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)


def test_the_readme_has_two_whole_commands() -> None:
    """One line ends in the demo, the other runs all tests; each sets everything up itself."""
    assert ["remex demo", "nox"] == [command.rpartition(".venv/bin/")[2] for command in _commands()]


def test_the_readmes_commands_need_no_newer_pip() -> None:
    """pip 23.2 knows no `--group`; nothing but an existing path or a name is installed."""
    installed = [
        argument
        for command in _commands()
        for argument in shlex.split(command.split(" && ")[1])[2:]
    ]
    assert [] == [argument for argument in installed if argument.startswith("-")]
    paths = [argument for argument in installed if argument.startswith(".")]
    assert [] == [path for path in paths if not (ROOT / path / "pyproject.toml").is_file()]


def test_ci_runs_the_readmes_command() -> None:
    """The CI script takes the command from the README, by a pattern that matches one line."""
    script = (ROOT / ".ci" / "run").read_text()
    pattern = re.search(r"grep -E '([^']+)' README\.md", script)
    assert pattern is not None
    assert _commands()[1:] == re.findall(pattern.group(1), README, re.MULTILINE)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=lambda path: path.name)
def test_each_distribution_carries_the_license(distribution: Path) -> None:
    """Every wheel ships the same Apache-2.0 text and declares it."""
    project = _project(distribution)
    assert "Apache-2.0" == project["license"]
    assert ["LICENSE"] == project["license-files"]
    assert (ROOT / "LICENSE").read_bytes() == (distribution / "LICENSE").read_bytes()


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_each_plugin_is_a_distribution_of_its_own(plugin: Path) -> None:
    """A plugin has its readme and needs this core's major version and nothing beyond it."""
    project = _project(plugin)
    assert plugin.name.replace("_", "-") == project["name"]
    assert (plugin / "README.md").is_file()
    dependencies = project["dependencies"]
    assert isinstance(dependencies, list)
    core = [each for each in dependencies if each.startswith("remex-core")]
    assert 1 == len(core)
    assert ",<" in core[0]


def test_links_between_documents_lead_somewhere() -> None:
    """Every relative link of a document names a file that is there."""
    documents = [path for path in _tracked() if path.suffix == ".md"]
    broken = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in documents
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
        if not (document.parent / target).exists()
    ]
    assert [] == broken


def test_contributing_stays_readable() -> None:
    """A newcomer reads CONTRIBUTING.md whole: at most 150 lines."""
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) <= 150


def test_nothing_names_a_home_or_a_checkout() -> None:
    """No tracked file depends on where somebody's machine keeps things."""
    place = rb"(?<![\w./*}])/(?:home/\w+|Users/\w+|root)/"
    places = re.compile(place + rb"|" + re.escape(str(ROOT).encode()) + rb"\b")
    named = [
        str(path.relative_to(ROOT))
        for path in _tracked()
        if path != Path(__file__) and places.search(path.read_bytes())
    ]
    assert [] == named


def test_a_skip_fails_where_ci_is_set(tmp_path: Path) -> None:
    """CI installs what every test needs, so a test or module that skips there is an error."""
    (tmp_path / "conftest.py").write_text((ROOT / "conftest.py").read_text())
    (tmp_path / "test_all.py").write_text(
        "import pytest\n"
        "def test_skips():\n    pytest.skip('no such tool')\n"
        "@pytest.mark.xfail\ndef test_expected():\n    assert False\n"
        "def test_passes():\n    pass\n"
    )
    (tmp_path / "test_module.py").write_text("import pytest\npytest.importorskip('nowhere')\n")
    assert "1 passed, 2 skipped, 1 xfailed" in _outcome(tmp_path, ci="")
    in_ci = _outcome(tmp_path, ci="true")
    assert "1 failed, 1 passed, 1 xfailed, 1 error" in in_ci
    assert "did not run, and CI runs everything: Skipped: no such tool" in in_ci


def _outcome(directory: Path, ci: str) -> str:
    options = ["-c", os.devnull, "--rootdir", str(directory), "--continue-on-collection-errors"]
    options += ["-p", "no:cacheprovider", "-p", "no:asyncio"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=directory,
        env={**os.environ, "CI": ci},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
