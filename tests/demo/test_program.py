"""The demo's program builds by its own steps, with nothing but what each step names."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from remex_core.demo.program import Program, Step, in_c, in_python, program

if TYPE_CHECKING:
    from pathlib import Path


def _run(step: Step, place: Path, built: Path) -> None:
    place.mkdir()
    for name, content in step.sources.items():
        (place / name).write_bytes(content)
    for name in step.needs:
        shutil.copy(built / name, place)
    subprocess.run(step.argv, cwd=place, check=True, timeout=60)
    shutil.copy(place / step.output, built)


def _build_and_run(program: Program, directory: Path) -> str:
    built = directory / "built"
    built.mkdir()
    for number, step in enumerate(program.steps):
        _run(step, directory / str(number), built)
    made = [*program.runner, str(built / program.link.output)]
    return subprocess.run(made, check=True, capture_output=True, text=True, timeout=60).stdout


def test_python_builds_from_what_each_step_names(tmp_path: Path) -> None:
    """Every step finds its inputs in a directory of its own, and the program prints its sum."""
    made = in_python(sys.executable)
    assert made.prints == _build_and_run(made, tmp_path)


@pytest.mark.skipif(shutil.which("cc") is None, reason="cc is not installed: apt-get install gcc")
def test_c_builds_from_what_each_step_names(tmp_path: Path) -> None:
    """Every step finds its inputs in a directory of its own, and the program prints its sum."""
    made = in_c(shutil.which("cc") or "")
    assert made.prints == _build_and_run(made, tmp_path)


def test_a_build_has_60_different_actions() -> None:
    """No two steps of either language are the same action."""
    for made in (in_c("/usr/bin/cc"), in_python("/usr/bin/python3")):
        assert 60 == len({step.output for step in made.steps})


def test_python_is_built_where_there_is_no_compiler(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A machine without a C compiler gets the same demo in Python."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "Python" == program().language
