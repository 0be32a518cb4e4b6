"""Every kind of output comes back from a remote action as the action left it."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from e2e_support.bazel import Bazel, needs_bazel, remote_execution
from e2e_support.cas import read_tree
from e2e_support.outputs_workspace import (
    BIG_BYTES,
    MANY,
    TREE,
    TREE_WITHOUT_FILES,
    snapshot,
    write_outputs_workspace,
)
from remex_core.testing.processes import all_in_one

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e_support.bazel import Invocation
    from remex_core.proto import reapi
    from remex_core.testing.processes import Cluster

pytestmark = [pytest.mark.e2e, needs_bazel, pytest.mark.timeout(180, method="signal")]


@dataclass(frozen=True, slots=True)
class Outputs:
    """A remote build of every target, and where Bazel put what came back."""

    bazel: Bazel
    built: Invocation
    bin: Path

    def result_with(self, output: str) -> reapi.ActionResult:
        """Return what the server answered for the action with this output, by its last name."""
        for execution in self.built.executions:
            result = execution.result
            paths = [file.path for file in result.output_files]
            paths += [directory.path for directory in result.output_directories]
            if output in map(_name, paths):
                return result
        raise AssertionError(f"no action result has an output {output}")


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Every role in one process."""
    with all_in_one(tmp_path_factory.mktemp("remex")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def outputs(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outputs]:
    """All targets built, every action remotely."""
    directory = tmp_path_factory.mktemp("outputs")
    root = write_outputs_workspace(directory)
    with Bazel(root, directory / "bazel", remote_execution(cluster.endpoint)) as bazel:
        built = bazel.run("build", "//...").expect(0)
        assert {"remote"} == set(built.runners)
        yield Outputs(bazel, built, root / "bazel-bin")


def test_a_tree_directory_comes_back(outputs: Outputs) -> None:
    """OUT-07, OUT-10: files, an empty file and a symlink of a tree directory, byte for byte.

    Bazel 4 makes no directory that it puts nothing in; the next test finds those in the Tree.
    """
    expected = {name: entry for name, entry in TREE.items() if name not in TREE_WITHOUT_FILES}
    assert expected == snapshot(outputs.bin / "tree")


def test_the_tree_says_what_is_executable_and_what_is_empty(
    outputs: Outputs, cluster: Cluster
) -> None:
    """OUT-06, OUT-07: the Tree that the server keeps has each mode and each empty directory."""
    (directory,) = outputs.result_with("tree").output_directories
    expected = {
        name: name == "run.sh" if isinstance(entry, bytes) else entry
        for name, entry in TREE.items()
    }
    assert expected == read_tree(cluster.address, directory.tree_digest)


def test_an_empty_tree_directory_comes_back(outputs: Outputs) -> None:
    """OUT-13: a declared directory exists before the action, and may stay empty."""
    assert not snapshot(outputs.bin / "empty_tree")
    assert (outputs.bin / "empty_tree").is_dir()
    (directory,) = outputs.result_with("empty_tree").output_directories
    assert directory.tree_digest.size_bytes == len(b"\n\0")


def test_a_symlink_comes_back_as_a_symlink(outputs: Outputs) -> None:
    """OUT-10: the link has its target verbatim, and leads to the file beside it."""
    link = outputs.bin / "link.txt"
    assert str(link.readlink()) == "target.txt"
    assert link.read_text() == "linked\n"


def test_modes_come_back(outputs: Outputs) -> None:
    """OUT-06: the result marks the executable, and only it; Bazel itself marks every output so."""
    expected = {"program.sh": True, "data.txt": False}
    files = outputs.result_with("program.sh").output_files
    assert expected == {_name(file.path): file.is_executable for file in files}
    ran = subprocess.run(
        [outputs.bin / "program.sh"], check=True, capture_output=True, text=True, timeout=30
    )
    assert ran.stdout == "executed\n"


def test_two_thousand_outputs_of_one_action_come_back(outputs: Outputs) -> None:
    """None of many declared outputs is lost or mistaken for another."""
    expected = {f"{number}.txt": f"output {number}\n".encode() for number in range(MANY)}
    assert expected == snapshot(outputs.bin / "many")


def test_a_200_mb_output_comes_back(outputs: Outputs) -> None:
    """A large output has the size and the hash that the action itself took of it."""
    big = outputs.bin / "big.bin"
    assert big.stat().st_size == BIG_BYTES
    with big.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    assert (outputs.bin / "big.sha256").read_text().split()[0] == digest


def test_cached_results_bring_the_same(outputs: Outputs) -> None:
    """After `bazel clean`, the action cache leads to the same outputs."""
    before = snapshot(outputs.bin)
    outputs.bazel.run("clean").expect(0)
    again = outputs.bazel.run("build", "//...").expect(0)
    assert {"remote cache hit"} == set(again.runners)
    assert before == snapshot(outputs.bin)
