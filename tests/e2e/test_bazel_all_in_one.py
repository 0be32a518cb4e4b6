"""`remex serve` alone is a complete server for Bazel, with no file written by hand."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from e2e_support.bazel import Bazel, needs_bazel
from e2e_support.cpp_workspace import write_cpp_workspace
from remex_core.testing.processes import all_in_one

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from remex_core.testing.processes import Cluster

pytestmark = [pytest.mark.e2e, needs_bazel, pytest.mark.timeout(180, method="signal")]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Every role in one process, with an empty cache."""
    with all_in_one(tmp_path / "remex") as cluster:
        yield cluster


def test_one_flag_is_enough(cluster: Cluster, tmp_path: Path) -> None:
    """`bazel build --remote_executor=ADDRESS //...` runs every action remotely."""
    workspace = write_cpp_workspace(tmp_path, libraries=3, parts=1, tests=1)
    with Bazel(workspace.root, tmp_path / "bazel") as bazel:
        built = bazel.run("build", f"--remote_executor={cluster.endpoint}", "//...").expect(0)
        printed = subprocess.run(
            [workspace.binary], check=True, capture_output=True, text=True, timeout=30
        ).stdout
    assert {"remote"} == set(built.runners)
    assert workspace.printed == printed


def test_the_printed_bazelrc_lines_are_enough(cluster: Cluster, tmp_path: Path) -> None:
    """The lines that `remex serve` prints when ready make a bare `bazel build` remote."""
    lines = [line.strip() for line in cluster.processes["remex"].printed().splitlines()]
    pasted = [line for line in lines if line.startswith("build --")]
    assert pasted
    workspace = write_cpp_workspace(tmp_path, libraries=1, parts=1, tests=1)
    (workspace.root / ".bazelrc").write_text("\n".join([*pasted, ""]))
    with Bazel(workspace.root, tmp_path / "bazel") as bazel:
        built = bazel.run("build", "//...").expect(0)
    assert {"remote"} == set(built.runners)
