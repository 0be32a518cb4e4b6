"""Distributions and files with plugins, which are gone after the test."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from plugins_support.distributions import Distributions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def distributions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distributions]:
    """What is installed beside the real distributions, and found before them."""
    before = set(sys.modules)
    path = tmp_path / "site-packages"
    path.mkdir()
    monkeypatch.syspath_prepend(str(path))
    yield Distributions(path)
    for name in set(sys.modules) - before:
        if name.startswith("plugin_module_"):
            del sys.modules[name]
