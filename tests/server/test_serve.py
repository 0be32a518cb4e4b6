"""`remex serve` as a user meets it when something is wrong: one paragraph, never a traceback."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def _serve(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "remex_core", "serve", *flags],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_port_in_use(tmp_path: Path) -> None:
    """A port that is taken is named, with what to do about it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = _serve(
            *("--role", "cas", "--listen", address),
            *("--http-listen", "127.0.0.1:0", "--data-dir", str(tmp_path)),
        )
    assert 1 == done.returncode
    assert address in done.stderr
    assert "Traceback" not in done.stderr


def test_unknown_role() -> None:
    """A role that does not exist is a configuration error."""
    done = _serve("--role", "cache")
    assert 3 == done.returncode
    assert "There is no role 'cache'" in done.stderr


def test_worker_alone_without_addresses() -> None:
    """A worker that was told of no cas says which flag it needs."""
    done = _serve("--role", "worker")
    assert 3 == done.returncode
    assert "--cas grpc://" in done.stderr


def test_wrong_configuration_names_every_fault(tmp_path: Path) -> None:
    """All faults of a file come at once, each with its line."""
    config = tmp_path / "remex.yaml"
    config.write_text("version: 1\nstore: {}\nscheduler: {max_attempt: 3}\n")
    done = _serve("-c", str(config), "--data-dir", str(tmp_path))
    assert 3 == done.returncode
    assert f"{config}:2:1" in done.stderr
    assert "did you mean" in done.stderr.lower()
    assert f"{config}:3:" in done.stderr


def test_data_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """A data directory below a file is refused with the flag that names another."""
    (tmp_path / "file").write_text("")
    done = _serve("--role", "cas", "--data-dir", str(tmp_path / "file" / "data"))
    assert 3 == done.returncode
    assert "--data-dir" in done.stderr


def test_broken_plugin_file_is_named(tmp_path: Path) -> None:
    """A kind of a one-file plugin that cannot be imported is refused with the reason."""
    plugin = tmp_path / "broken.py"
    plugin.write_text("import there_is_no_such_module\n")
    config = tmp_path / "remex.yaml"
    config.write_text("version: 1\nstores: {cas: {broken: {}}, ac: {noop: {}}}\n")
    done = _serve("-c", str(config), "--plugin", str(plugin), "--data-dir", str(tmp_path))
    assert done.returncode in {3, 4}
    assert "there_is_no_such_module" in done.stderr
    assert "Traceback" not in done.stderr
