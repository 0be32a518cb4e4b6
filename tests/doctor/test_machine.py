"""The doctor's checks of the machine."""

from __future__ import annotations

import resource
import shutil
import socket
from typing import TYPE_CHECKING

import pytest

from remex_core.doctor import machine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("hard", "status"),
    [(65536, "ok"), (resource.RLIM_INFINITY, "ok"), (1024, "warn"), (64, "fail")],
)
def test_open_files(monkeypatch: pytest.MonkeyPatch, hard: int, status: str) -> None:
    """The hard limit counts, because serve raises the soft one itself."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (16, hard))
    finding = machine.open_files()
    assert status == finding.status
    assert (status == "ok") == (finding.remedy == "")


@pytest.mark.parametrize(("free", "status"), [(100, "ok"), (2, "warn"), (0.1, "fail")])
def test_disk_space_is_that_of_the_nearest_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: float, status: str
) -> None:
    """The data directory need not exist; the disk it would be on is looked at."""
    asked = []

    def disk_usage(path: Path) -> object:
        asked.append(path)
        return type("Usage", (), {"free": int(free * machine.GIB)})

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    assert status == machine.disk_space(tmp_path / "not" / "there").status
    assert [tmp_path] == asked


def test_a_port_that_is_taken_is_named_with_its_holder() -> None:
    """The finding says that something listens there and how to go on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        taken = machine.port("listen", address)
    assert ("port:listen", "fail") == (taken.check, taken.status)
    assert address in taken.message
    assert taken.remedy
    assert "ok" == machine.port("listen", address).status


def test_scratch_is_on_the_disk_of_a_directory_to_be_and_leaves_nothing(tmp_path: Path) -> None:
    """What the doctor tries, it tries where the data will be, and removes it."""
    with machine.scratch(tmp_path / "data") as place:
        assert tmp_path == place.parent
        (place / "left").write_text("over")
    assert [] == list(tmp_path.iterdir())
