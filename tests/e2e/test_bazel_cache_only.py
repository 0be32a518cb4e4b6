"""A cas alone shares the results of builds that run on the client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e_support.bazel import Bazel, needs_bazel, remote_cache
from e2e_support.cpp_workspace import write_cpp_workspace
from remex_core.testing.processes import lone_cas

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from remex_core.testing.processes import Cluster

pytestmark = [pytest.mark.e2e, needs_bazel, pytest.mark.timeout(180, method="signal")]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """The cas role alone."""
    with lone_cas(tmp_path / "remex") as cluster:
        yield cluster


def test_a_second_build_takes_all_from_the_cache(cluster: Cluster, tmp_path: Path) -> None:
    """What one build ran locally and uploaded, the next gets as cache hits."""
    workspace = write_cpp_workspace(tmp_path, libraries=3, parts=1, tests=1)
    with Bazel(workspace.root, tmp_path / "bazel", remote_cache(cluster.endpoint)) as bazel:
        first = bazel.run("test", "//...").expect(0)
        bazel.run("clean").expect(0)
        second = bazel.run("test", "//...").expect(0)
    assert {"local": len(first.spawns)} == first.runners
    assert {"remote cache hit": len(first.spawns)} == second.runners
