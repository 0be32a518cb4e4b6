"""`remex doctor`: findings for people and for programs, and its exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from remex_core.testing.processes import all_in_one, free_address, lone_cas

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.e2e


def _doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "remex_core", "doctor", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=110,
    )


def _report(done: subprocess.CompletedProcess[str]) -> dict[str, list[str]]:
    """The statuses of the findings of each check."""
    report: dict[str, Any] = json.loads(done.stdout)
    assert "remex.doctor.v1" == report["schema"]
    assert (done.returncode == 0) == report["ok"]
    statuses: dict[str, list[str]] = {}
    for finding in report["findings"]:
        assert {"check", "status", "message", "remedy"} == set(finding)
        statuses.setdefault(finding["check"], []).append(finding["status"])
    return statuses


def test_a_running_remex_is_asked_for_a_blob_and_an_action(tmp_path: Path) -> None:
    """With a server named, everything that can be tried with it is tried, and passes."""
    with all_in_one(tmp_path) as cluster:
        done = _doctor("--scheduler", cluster.endpoint, "--json")
    statuses = _report(done)
    assert 0 == done.returncode
    for check in ("reapi", "refusals", "blobs", "action"):
        assert ["ok"] == statuses[check]
    assert ["skip"] == statuses["ports"]


def test_without_a_server_one_is_tried(tmp_path: Path) -> None:
    """The trial server runs an action, and nothing of it stays."""
    done = _doctor("--data-dir", str(tmp_path / "data"))
    assert "ok    action: An action ran on" in done.stdout
    assert "ok    hard-link:" in done.stdout
    assert [] == list(tmp_path.iterdir())


def test_a_cache_is_not_asked_for_actions(tmp_path: Path) -> None:
    """A lone cas passes; that it runs no actions is no fault."""
    with lone_cas(tmp_path) as cluster:
        done = _doctor("--cas", cluster.endpoint, "--json")
    statuses = _report(done)
    assert 0 == done.returncode
    assert ["ok"] == statuses["blobs"]
    assert ["skip"] == statuses["action"]


def test_the_port_for_workers_is_told_from_that_for_clients(tmp_path: Path) -> None:
    """Whoever names the worker API's port is told so, and not that it is broken."""
    worker_api = free_address()
    with all_in_one(tmp_path, "--worker-listen", worker_api):
        done = _doctor("--scheduler", f"grpc://{worker_api}")
    assert "is a port for workers" in done.stdout
    assert 0 == done.returncode


def test_nobody_there_is_a_failure() -> None:
    """An address where nobody answers fails, with the address, and exits with 1."""
    address = free_address()
    done = _doctor("--cas", f"grpc://{address}")
    assert 1 == done.returncode
    assert "fail  server: " in done.stdout
    assert address in done.stdout


def test_a_wrong_configuration_is_a_failure(tmp_path: Path) -> None:
    """Each fault is a finding of its own."""
    config = tmp_path / "remex.yaml"
    config.write_text("version: 1\nstorse: {}\nlisten: { pubic: x }\n")
    done = _doctor("-c", str(config), "--cas", f"grpc://{free_address()}", "--json")
    assert 1 == done.returncode
    assert ["fail", "fail"] == _report(done)["config"]


def test_a_plugins_check_is_run_too(tmp_path: Path) -> None:
    """Whatever a plugin registers is among the findings."""
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from remex_core.plugin import Finding, HealthCheck, hookimpl\n"
        "async def look(context):\n"
        "    return [Finding('licence', 'warn', 'It ends soon.', 'Renew it.')]\n"
        "@hookimpl\n"
        "def remex_health_checks():\n"
        "    return [HealthCheck('licence', 'Whether the licence is valid.', look)]\n"
    )
    done = _doctor("--plugin", str(plugin), "--cas", f"grpc://{free_address()}")
    assert "warn  licence: It ends soon.\n      Renew it.\n" in done.stdout
