"""`remex plugins`: what is in use, and why the rest is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from plugins_support.distributions import Distributions, store_plugin

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Distributions of every fate."""
    installed = Distributions(tmp_path)
    installed.add("fine", store_plugin("fine", "finer"), version="2.1")
    installed.add("no-import", "import no_such_module")
    installed.add("too-new", "", requires=["remex-core>=99"])
    installed.add("unwanted", store_plugin("unwanted"))
    installed.add("zz-late", store_plugin("fine"))
    (tmp_path / "one_file.py").write_text(store_plugin("of_a_file"))
    return tmp_path


def _plugins(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "remex_core", "plugins", *arguments],
        cwd=site,
        env={
            **os.environ,
            "PYTHONPATH": str(site),
            "REMEX_DISABLE_PLUGINS": "unwanted",
            "COLUMNS": "200",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_fate_has_its_reason(site: Path) -> None:
    """As JSON: name, origin, version, status, reason, and what it brings."""
    listed = _plugins(site, "--json", "--plugin", "one_file.py")
    assert 0 == listed.returncode
    report = json.loads(listed.stdout)
    assert "remex.plugins.v1" == report["schema"]
    found: dict[str, dict[str, Any]] = {each["name"]: each for each in report["plugins"]}
    assert {
        "name": "fine",
        "origin": "fine",
        "version": "2.1",
        "status": "active",
        "reason": "",
        "provides": ["store fine", "store finer"],
    } == found["fine"]
    expected = {
        "no-import": ("broken", "cannot be imported: ModuleNotFoundError"),
        "too-new": ("incompatible", "needs remex-core>=99, and this is "),
        "unwanted": ("disabled", "is named by REMEX_DISABLE_PLUGINS"),
        "zz-late": ("shadowed", "brings the store fine, which fine (fine 2.1) has already"),
        "one_file": ("active", ""),
    }
    for name, (status, reason) in expected.items():
        assert status == found[name]["status"]
        assert found[name]["reason"].startswith(reason)


def test_the_table_says_the_same(site: Path) -> None:
    """For people: one row each, with what it brings or why it is not in use."""
    listed = _plugins(site)
    assert 0 == listed.returncode
    rows = [line for line in listed.stdout.splitlines() if line.startswith("│")]
    (fine,) = (row for row in rows if " fine " in row and "2.1" in row and "active" in row)
    assert "store: fine, finer" in fine
    (broken,) = (row for row in rows if "no-import" in row)
    assert "It cannot be imported: ModuleNotFoundError: No module named 'no_such_module'." in broken


def test_a_broken_file_is_listed(site: Path) -> None:
    """To ask what is wrong with a plugin is no reason to fail."""
    (site / "broken.py").write_text("raise RuntimeError('why not')")
    listed = _plugins(site, "--json", "--plugin", "broken.py")
    assert 0 == listed.returncode
    (broken,) = (each for each in json.loads(listed.stdout)["plugins"] if each["name"] == "broken")
    assert "cannot be imported: RuntimeError: why not" == broken["reason"]
