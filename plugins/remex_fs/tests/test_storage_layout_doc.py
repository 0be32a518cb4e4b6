"""`docs/storage-layout.md` is a contract: what it names is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from remex_core.plugin import Key
from remex_fs.keeper import HEARTBEAT, LAG_NS
from remex_fs.layout import LAYOUT_LINE, Layout, encoded
from remex_fs.presence import REMEMBERED_NS
from remex_fs.seal import EXECUTABLE_MODE, PLAIN_MODE, TOUCH_AFTER_NS, occupied, seal_ns

MINUTE_NS = 60 * 10**9


@pytest.fixture(scope="module")
def text() -> str:
    """The page, with its line breaks undone."""
    path = Path(__file__).parents[3] / "docs/storage-layout.md"
    return re.sub(r"\s+", " ", path.read_text(encoding="utf-8"))


def test_paths(text: str) -> None:
    """The paths of the listing are those of the keys that they stand for."""
    hash_ = "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7"
    layout = Layout(Path("/"))
    layout = Layout(Path("R"))
    key = Key("", "sha256", hash_, 5)
    result = Key("ac:main", "sha256", hash_, 142)
    for path in (
        layout.version_file,
        layout.blob(key),
        layout.executable(key),
        layout.blob(result),
        layout.lock_file,
        f"{layout.quarantine}/",
        f"{layout.work}/",
        f"{layout.tmp}/HOST-PID-RANDOM/",
    ):
        assert f" {path.removeprefix('R/')} " in text


def test_version_line(text: str) -> None:
    """The content of the version file is quoted."""
    assert f"exactly the line `{LAYOUT_LINE.strip()}` and a newline" in text


def test_spaces(text: str) -> None:
    """The examples of encoded spaces are right."""
    examples = re.findall(r"`(ac:\w+)` becomes `([^`]+)`", text)
    assert 2 == len(examples)
    assert [name for _, name in examples] == [encoded(space) for space, _ in examples]


def test_seal_and_modes(text: str) -> None:
    """The rule of the seal and the modes are what files get."""
    assert "`2000-01-01T00:00:00Z` plus `size mod 86400` seconds" in text
    assert (946684800 + 7) * 10**9 == seal_ns(86400 * 3 + 7)
    assert f"mode {PLAIN_MODE:04o}, executable twins {EXECUTABLE_MODE:04o}" in text


def test_times(text: str) -> None:
    """Every duration that others must keep to is the code's."""
    assert f"**if it is older than {TOUCH_AFTER_NS // MINUTE_NS} minutes**" in text
    assert f"remember for up to {REMEMBERED_NS // MINUTE_NS} minutes" in text
    assert f"up to {LAG_NS // MINUTE_NS} minutes later than its access time" in text
    assert f"younger than {10 + LAG_NS // MINUTE_NS} minutes goes" in text
    assert f"at most some {HEARTBEAT:.0f} seconds ago" in text


def test_counting(text: str) -> None:
    """The unit in which files are counted is named."""
    assert "whole blocks of 4 KiB" in text
    assert [0, 4096, 4096, 8192] == [occupied(size) for size in (0, 1, 4096, 4097)]
