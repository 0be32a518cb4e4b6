"""`remex bench` measures what it is asked for; what it finds depends on the machine."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from remex_core.bench.suite import MEASURES

pytestmark = pytest.mark.e2e


def _bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "remex_core", "bench", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=110,
    )


def test_every_measurement_can_be_tried() -> None:
    """Each one gives figures, and the exit code says whether all are within their bounds."""
    done = _bench("--quick", "--json")
    report = json.loads(done.stdout)
    assert "remex.bench.v1" == report["schema"]
    figures = report["figures"]
    assert all(figure["value"] > 0 for figure in figures)
    assert (0 if all(figure["holds"] for figure in figures) else 1) == done.returncode
    assert [f"measuring {name} …" for name in MEASURES] == done.stderr.splitlines()


def test_an_unknown_measurement_is_refused() -> None:
    """The error names those that exist."""
    done = _bench("speed")
    assert 1 == done.returncode
    assert "There is no measurement called 'speed'." in done.stderr
    assert "find-missing" in done.stderr
