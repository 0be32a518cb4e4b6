"""The smallest plugin: as the README prints it, as one file, and as a distribution."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from remex_core.clock import SYSTEM
from remex_core.plugins.descriptors import StoreNode
from remex_core.plugins.registry import load_registry
from remex_core.store.build import StoreChecker, StoreTrees
from remex_core.store.contract import Content
from remex_core.testing.stores import StoreContract

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from remex_core.store.contract import Store
    from remex_core.wire.transport import Channel

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "examples" / "plugin"
SOURCE = (PLUGIN / "my_store.py").read_text()
PROJECT = (PLUGIN / "pyproject.toml").read_text()


def _lines(text: str) -> int:
    return sum(bool(line.strip()) for line in text.splitlines())


def test_it_is_small() -> None:
    """At most 25 lines of Python, and 12 of TOML to make a distribution of it."""
    assert _lines(SOURCE) <= 25
    assert _lines(PROJECT) <= 12


def test_the_readme_prints_it_whole() -> None:
    """What a reader copies is what is tested here."""
    readme = (ROOT / "README.md").read_text()
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    printed = [text for language, text in blocks if language in {"python", "toml"}]
    assert [SOURCE, PROJECT] == printed


async def _nowhere(address: str) -> Channel:
    raise NotImplementedError(address)


class TestAsOneFile(StoreContract):
    """Loaded by its path, built from a configuration, and put to every test of the contract."""

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncGenerator[Store]:
        """The store `dbm`, as a configuration names it."""
        registry = load_registry([PLUGIN / "my_store.py"], {})
        checker = StoreChecker(registry.stores, {"main": StoreNode(kind="dbm")})
        async with StoreTrees(checker, SYSTEM, tmp_path, _nowhere) as trees:
            yield await trees.store("main", self.content)


class TestAsOneFileForResults(TestAsOneFile):
    """It can hold action results as well."""

    content = Content.AC


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory with the plugin as pip would install it, going by its pyproject.toml."""
    site = tmp_path / "site-packages"
    project = tomllib.loads(PROJECT)["project"]
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    shutil.copy(PLUGIN / "my_store.py", site)
    metadata = [
        "Metadata-Version: 2.1",
        f"Name: {project['name']}",
        f"Version: {project['version']}",
    ]
    metadata += [f"Requires-Dist: {each}" for each in project["dependencies"]]
    (info / "METADATA").write_text("\n".join(metadata))
    points = project["entry-points"]
    lines = [
        line
        for group, named in points.items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in named.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return site


def test_as_a_distribution(installed: Path) -> None:
    """Installed, it is found, fits this core, and its kind can be configured."""
    (installed / "remex.yaml").write_text("version: 1\nstores: { cas: dbm, ac: dbm }\n")

    def remex(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "remex_core", *arguments],
            cwd=installed,
            env={**os.environ, "PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout

    listed = json.loads(remex("plugins", "--json"))["plugins"]
    (found,) = (each for each in listed if each["name"] == "dbm")
    expected = ("my-store", "0.1", "active", ["store dbm"])
    assert expected == (found["origin"], found["version"], found["status"], found["provides"])
    assert "ok\n" == remex("config", "check")
