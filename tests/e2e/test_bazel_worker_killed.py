"""A worker that dies in the middle of a build does not fail the build."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from e2e_support.bazel import Bazel, needs_bazel, remote_execution
from e2e_support.gates_workspace import PASSED, write_gates_workspace
from remex_core.testing.processes import separate_roles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e_support.gates_workspace import Gates
    from remex_core.testing.processes import Cluster, ServeProcess

pytestmark = [pytest.mark.e2e, needs_bazel, pytest.mark.timeout(300, method="signal")]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """One cas, one scheduler, and the workers w1 and w2."""
    with separate_roles(tmp_path / "remex", workers=("w1", "w2"), slots=2) as cluster:
        yield cluster


def test_actions_of_a_killed_worker_run_elsewhere(cluster: Cluster, tmp_path: Path) -> None:
    """After SIGKILL of w1, what ran there runs again on w2; what ran on w2 is not run again."""
    gates = write_gates_workspace(tmp_path / "gates", gates=4)
    killed, survivor = cluster.processes["w1"], cluster.processes["w2"]
    flags = remote_execution(cluster.endpoint)
    with Bazel(gates.root, tmp_path / "bazel", flags) as bazel:
        with bazel.started("build", "//...") as running:
            before = _all_started(gates)
            killed.kill()
            gates.open()
            built = running.wait().expect(0)
        assert dict.fromkeys(gates.names, f"{PASSED}\n") == gates.results()
    lost = {name for name in gates.names if _ran_on(killed, before[name][0])}
    assert lost
    assert lost != set(gates.names)
    after = gates.started()
    assert {name: 2 if name in lost else 1 for name in gates.names} == {
        name: len(places) for name, places in after.items()
    }
    assert all(_ran_on(survivor, places[-1]) for places in after.values())
    assert {"remote": len(gates.names)} == built.runners
    assert {"w2": len(gates.names)} == built.workers


def _all_started(gates: Gates) -> dict[str, list[Path]]:
    deadline = time.monotonic() + 60
    while set(started := gates.started()) != set(gates.names):
        assert time.monotonic() < deadline, f"after 60 s only {started} had started"
        time.sleep(0.05)
    return started


def _ran_on(worker: ServeProcess, place: Path) -> bool:
    return place.is_relative_to(worker.data_dir.resolve())
