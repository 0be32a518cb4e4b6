"""`remex demo` shows what it promises, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.e2e


def _command() -> list[str]:
    return [sys.executable, "-m", "remex_core", "demo"]


def _environment(temporary: Path) -> Mapping[str, str]:
    return {**os.environ, "TMPDIR": str(temporary)}


def _processes_below(place: Path) -> list[str]:
    """The command lines that name a file below `place`."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(place) in command:
            found.append(command)
    return found


def test_the_second_build_is_all_cache_hits(tmp_path: Path) -> None:
    """60 actions run on the three workers, and the second build runs none."""
    done = subprocess.run(
        _command(),
        env=_environment(tmp_path),
        check=False,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert 0 == done.returncode, done.stderr
    assert "first build: 60 actions run, 0 from the cache" in done.stderr
    assert "second build: 0 actions run, 60 from the cache" in done.stderr
    assert 60 == done.stdout.count("from the cache")
    for worker in ("worker-1", "worker-2", "worker-3"):
        assert f"{worker} ran" in done.stdout
    assert [] == list(tmp_path.iterdir())
    assert [] == _processes_below(tmp_path)


def test_ending_the_demo_ends_its_processes(tmp_path: Path) -> None:
    """SIGTERM in the middle ends every process and removes every file."""
    with subprocess.Popen(
        _command(),
        env=_environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as demo:
        while not _processes_below(tmp_path):
            assert demo.poll() is None
            sleep(0.01)
        demo.send_signal(signal.SIGTERM)
        assert 128 + signal.SIGTERM == demo.wait(60)
    assert [] == list(tmp_path.iterdir())
    assert [] == _processes_below(tmp_path)
