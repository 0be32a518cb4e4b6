"""Distributions with plugins, as pip would leave them on the import path."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

STORE = """
from remex_core.plugin import Spec, StoreType, hookimpl

class Options(Spec):
    size: int = 0

async def build(spec, ctx):
    raise NotImplementedError

@hookimpl
def remex_stores():
    return [StoreType(kind, Options, build, "a store of the tests") for kind in {kinds!r}]
"""


def store_plugin(*kinds: str) -> str:
    """The source of a plugin that registers these kinds of store."""
    return STORE.replace("{kinds!r}", repr(kinds))


@dataclass(frozen=True, slots=True)
class Distributions:
    """A directory on the import path, where distributions can be put."""

    path: Path

    def add(
        self,
        name: str,
        source: str,
        *,
        entry_points: str | None = None,
        version: str = "1.0",
        requires: Sequence[str] = (),
        metadata: str | None = None,
    ) -> str:
        """Installs a module of that name with an entry point of that name; answers the module's."""
        module = f"plugin_module_{name}".replace("-", "_")
        (self.path / f"{module}.py").write_text(source)
        info = self.path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {each}" for each in requires]
        (info / "METADATA").write_text("\n".join(lines) if metadata is None else metadata)
        points = entry_points or f"{name} = {module}"
        (info / "entry_points.txt").write_text(f"[remex.plugins.v1]\n{points}\n")
        importlib.invalidate_caches()
        return module
