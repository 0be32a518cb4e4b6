"""Bazel builds and tests C++ through one cas, one scheduler and two workers, each a process."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from e2e_support.bazel import Bazel, needs_bazel, remote_execution
from e2e_support.cpp_workspace import FAILING_TEST, FAILING_TEST_OUTPUT, write_cpp_workspace
from remex_core.testing.processes import separate_roles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e_support.bazel import Invocation
    from e2e_support.cpp_workspace import CppWorkspace
    from remex_core.testing.processes import Cluster

pytestmark = [pytest.mark.e2e, needs_bazel, pytest.mark.timeout(300, method="signal")]


@dataclass(frozen=True, slots=True)
class Builds:
    """The same workspace built and tested twice, with `bazel clean` in between."""

    workspace: CppWorkspace
    bazel: Bazel
    first: Invocation
    second: Invocation


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cas, one scheduler, and the workers w1 and w2."""
    with separate_roles(tmp_path_factory.mktemp("roles"), workers=("w1", "w2")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def builds(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builds]:
    """Both builds of everything that is not manual, by which all tests have passed."""
    directory = tmp_path_factory.mktemp("cpp")
    workspace = write_cpp_workspace(directory)
    flags = remote_execution(cluster.endpoint)
    with Bazel(workspace.root, directory / "bazel", flags) as bazel:
        first = bazel.run("test", "//...").expect(0)
        bazel.run("clean").expect(0)
        second = bazel.run("test", "//...").expect(0)
        yield Builds(workspace, bazel, first, second)


def test_every_action_of_a_first_build_runs_remotely(builds: Builds) -> None:
    """A workspace of more than 100 sources builds and tests with no action run by the client."""
    assert builds.workspace.sources >= 100
    assert {"remote"} == set(builds.first.runners)
    assert len(builds.first.spawns) == len(builds.first.executions)


def test_both_workers_share_the_work(builds: Builds) -> None:
    """MET-01: every result names its worker, and each of the two workers ran some."""
    assert {"w1", "w2"} == set(builds.first.workers)


def test_after_clean_every_action_is_a_cache_hit(builds: Builds) -> None:
    """The second build takes every action of the first from the cache and executes none."""
    assert {"remote cache hit": len(builds.first.spawns)} == builds.second.runners
    assert not builds.second.executions


def test_the_binary_runs(builds: Builds) -> None:
    """The program that came from the cache prints what its sources say."""
    printed = subprocess.run(
        [builds.workspace.binary], check=True, capture_output=True, text=True, timeout=30
    ).stdout
    assert builds.workspace.printed == printed


def test_a_failing_test_is_a_failed_test(cluster: Cluster, builds: Builds) -> None:
    """A test that fails is reported so by Bazel (exit code 3), with what it printed."""
    failed = builds.bazel.run("test", "--test_output=errors", FAILING_TEST).expect(3)
    assert f"FAIL: {FAILING_TEST}" in failed.output
    assert FAILING_TEST_OUTPUT in failed.output
    assert "TestRunner" in {s.mnemonic for s in failed.spawns if s.runner == "remote"}
