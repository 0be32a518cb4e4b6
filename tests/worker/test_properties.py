"""The platform properties that a worker offers."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import pytest

from remex_core.errors import ConfigError
from remex_core.worker import properties
from remex_core.worker.properties import QueryCommand, detect, resolve

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("machine", "isa"), [("x86_64", "x86-64"), ("aarch64", "arm-a64"), ("riscv64", "riscv64")]
)
def test_detected(monkeypatch: pytest.MonkeyPatch, machine: str, isa: str) -> None:
    """ACT-13: operating system and instruction set are offered by the lexicon's names."""
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    assert detect() == {"OSFamily": ["linux"], "ISA": [isa]}


async def test_precedence() -> None:
    """What the site says wins over what the executor offers, and that over what is detected."""
    given = {"ISA": ["x86-64", "x86-avx2"], "Pool": ["big"]}
    offered = {"Pool": ["docker"], "OSFamily": ["debian"]}
    assert await resolve(given, offered) == {
        "OSFamily": ["debian"],
        "ISA": ["x86-64", "x86-avx2"],
        "Pool": ["big"],
    }


async def test_query() -> None:
    """Each line that a command prints is a value; blank ones are none."""
    command = QueryCommand("printf 'one\\n\\n  two \\n'; true")
    assert (await resolve({"names": command}, {}))["names"] == ["one", "two"]


async def test_query_is_asked_each_time(tmp_path: Path) -> None:
    """A command is run again whenever the properties are wanted."""
    command = QueryCommand(f"echo x >> {tmp_path}/runs; wc -l < {tmp_path}/runs")
    assert (await resolve({"runs": command}, {}))["runs"] == ["1"]
    assert (await resolve({"runs": command}, {}))["runs"] == ["2"]


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("echo no >&2; exit 3", "ended with 3: no"),
        ("exit 4", "ended with 4: without saying why"),
        ("no-such-command-of-remex", "ended with 127"),
        ("true", "printed nothing"),
    ],
)
async def test_failing_query(command: str, why: str) -> None:
    """A command that fails or prints nothing is an error with its name and what to do."""
    with pytest.raises(ConfigError, match=why) as raised:
        await resolve({"Toolchain": QueryCommand(command)}, {})
    assert "Toolchain" in raised.value.message
    assert raised.value.hint


async def test_query_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that does not end is ended."""
    monkeypatch.setattr(properties, "_QUERY_SECONDS", 0.1)
    with pytest.raises(ConfigError, match="did not end"):
        await resolve({"Toolchain": QueryCommand("sleep 600")}, {})
