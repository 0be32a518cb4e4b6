"""Processes are started ready, ended well, and what is wrong with one is told with its log."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from remex_core.errors import Unavailable
from remex_core.testing.processes import free_address, lone_cas, running, start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from remex_core.testing.processes import ServeProcess

pytestmark = pytest.mark.e2e


def test_a_process_is_ready_until_it_is_stopped(tmp_path: Path) -> None:
    """It has drained when the block is left; its log stays, its state does not."""
    with lone_cas(tmp_path) as cluster:
        cas = cluster.processes["cas"]
        assert cas.process.poll() is None
        assert cluster.address in cas.printed()
        assert cas.data_dir.is_dir()
    assert 0 == cas.process.returncode
    assert cas.log.is_file()
    assert not cas.data_dir.exists()


def test_a_process_that_cannot_start_is_told_with_its_log(tmp_path: Path) -> None:
    """The error carries what the process said, so that nobody has to look for it."""
    process = start("cas", tmp_path, "--role", "cas", "--listen", "nowhere")
    with pytest.raises(Unavailable, match="before it was ready") as failed, running(process):
        pass
    assert "'nowhere' is not an address" in failed.value.hint


def test_a_process_that_ends_by_itself_is_told(tmp_path: Path) -> None:
    """Only who kills one on purpose may find it ended."""
    with _cas(tmp_path) as cas:
        cas.kill()
    assert -signal.SIGKILL == cas.process.returncode
    with pytest.raises(Unavailable, match="ended by itself"), _cas(tmp_path) as cas:
        _terminate(cas)


def test_a_traceback_in_the_log_is_told(tmp_path: Path) -> None:
    """A process that wrote one has not ended well, whatever its exit code."""
    with pytest.raises(Unavailable, match="wrote a traceback"), _cas(tmp_path) as cas:
        cas.log.write_text("Traceback (most recent call last):\n")


@contextmanager
def _cas(directory: Path) -> Iterator[ServeProcess]:
    process = start("cas", directory, "--role", "cas", "--listen", free_address())
    with running(process):
        yield process


def _terminate(cas: ServeProcess) -> None:
    cas.process.send_signal(signal.SIGTERM)
    cas.process.wait(30)
