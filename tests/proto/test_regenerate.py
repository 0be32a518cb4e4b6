"""The committed code is what protoc makes of the .proto files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from remex_core.proto import regenerate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place to generate into instead of the package."""
    monkeypatch.setattr(regenerate, "_GENERATED", tmp_path)
    return tmp_path


def test_committed_code_is_current() -> None:
    """Nobody has changed a .proto file without generating its code, nor the code by hand."""
    assert regenerate.main(["--check"]) == 0


def test_check_names_every_difference_and_changes_nothing(
    scratch: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A missing, an edited and a left-over file are each named, and stay as they are."""
    assert regenerate.main([]) == 0
    (scratch / "semver_pb2.py").unlink()
    (scratch / "health_pb2.py").write_text("edited")
    (scratch / "gone_pb2.pyi").write_text("")
    before = {path.name: path.read_bytes() for path in scratch.iterdir()}
    capfd.readouterr()

    assert regenerate.main(["--check"]) == 1

    assert capfd.readouterr().err.splitlines() == [
        "missing: remex_core/proto/_generated/semver_pb2.py",
        "left over: remex_core/proto/_generated/gone_pb2.pyi",
        "differs: remex_core/proto/_generated/health_pb2.py",
    ]
    assert before == {path.name: path.read_bytes() for path in scratch.iterdir()}


def test_regenerating_repairs_every_difference(scratch: Path) -> None:
    """After a run nothing is missing, edited or left over."""
    (scratch / "health_pb2.py").write_text("edited")
    (scratch / "gone_pb2.pyi").write_text("")

    assert regenerate.main([]) == 0

    assert regenerate.main(["--check"]) == 0
    assert not (scratch / "gone_pb2.pyi").exists()
