"""Finds plugins and loads them, one by one, so that a broken one harms nobody but itself.

A distribution's metadata is read before any of its code is imported. Every plugin ends with a
status and a reason; finding plugins never raises.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from packaging.requirements import InvalidRequirement, Requirement

from remex_core import __version__
from remex_core.plugins.hookspecs import ENTRY_POINT_GROUP

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from importlib.metadata import EntryPoint
    from pathlib import Path

CORE: Final = "remex-core"
_BUILT_IN: Final = (
    "remex_core.store.builtin",
    "remex_core.scheduler.builtin",
    "remex_core.wire.builtin",
)
_ALLOW: Final = "REMEX_PLUGINS"
_DISABLE: Final = "REMEX_DISABLE_PLUGINS"


class Status(StrEnum):
    """What became of a plugin."""

    ACTIVE = "active"
    DISABLED = "disabled"
    INCOMPATIBLE = "incompatible"
    BROKEN = "broken"
    SHADOWED = "shadowed"


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin: its name, the distribution or file it comes from, and how it fared.

    `module` is None unless the plugin is active.
    """

    name: str
    origin: str
    version: str
    status: Status
    reason: str = ""
    module: Any = None


def find_plugins(files: Sequence[Path] = ()) -> list[Plugin]:
    """Every plugin: the built-in ones, the installed ones, and the one-file ones, in this order.

    REMEX_PLUGINS names the installed ones that are allowed, REMEX_DISABLE_PLUGINS those that are
    not; both are lists of names with commas between.
    """
    built_in = [_built_in(name) for name in _BUILT_IN]
    points = sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)
    return [*built_in, *_installed(points), *(_from_file(path) for path in files)]


def _built_in(name: str) -> Plugin:
    # Not guarded: a core that cannot be imported is a bug and no plugin's fault.
    module = importlib.import_module(name)
    return Plugin(name.removeprefix("remex_core."), CORE, __version__, Status.ACTIVE, "", module)


def _installed(points: Iterable[EntryPoint]) -> list[Plugin]:
    found: dict[str, Plugin] = {}
    for point in points:
        plugin = _load(point)
        first = found.get(point.name)
        if first is not None:
            reason = f"{first.origin} has a plugin of the same name"
            plugin = Plugin(
                f"{point.name} ({plugin.origin})",
                plugin.origin,
                plugin.version,
                Status.SHADOWED,
                reason,
            )
        found[plugin.name] = plugin
    return list(found.values())


def _load(point: EntryPoint) -> Plugin:
    origin = point.dist.name if point.dist is not None else point.value
    version = point.dist.version if point.dist is not None else ""

    def ended(status: Status, reason: str = "", module: Any = None) -> Plugin:
        return Plugin(point.name, origin, version, status, reason, module)

    reason = _disabled(point.name)
    if reason:
        return ended(Status.DISABLED, reason)
    reason = _incompatible(point)
    if reason:
        return ended(Status.INCOMPATIBLE, reason)
    try:
        return ended(Status.ACTIVE, "", point.load())
    except Exception as error:  # noqa: BLE001 - whatever a plugin's import does is its own affair
        return ended(Status.BROKEN, f"{type(error).__name__}: {error}")


def _from_file(path: Path) -> Plugin:
    name = path.stem
    try:
        spec = importlib.util.spec_from_file_location(f"remex_plugin_{name}", path)
        if spec is None or spec.loader is None:
            return Plugin(name, str(path), "", Status.BROKEN, "it is no Python file")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001 - as above
        return Plugin(name, str(path), "", Status.BROKEN, f"{type(error).__name__}: {error}")
    return Plugin(name, str(path), "", Status.ACTIVE, "", module)


def _disabled(name: str) -> str:
    allowed = os.environ.get(_ALLOW)
    if allowed is not None and name not in _names(allowed):
        return f"{_ALLOW} does not name it"
    if name in _names(os.environ.get(_DISABLE, "")):
        return f"{_DISABLE} names it"
    return ""


def _names(text: str) -> set[str]:
    return {name.strip() for name in text.split(",") if name.strip()}


def _incompatible(point: EntryPoint) -> str:
    """Why the plugin's distribution does not fit this core; empty if it does."""
    for text in (point.dist.requires or ()) if point.dist is not None else ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.name.lower().replace("_", "-") != CORE or requirement.extras:
            continue
        if not requirement.specifier.contains(__version__, prereleases=True):
            return f"it needs {CORE}{requirement.specifier}; this is {__version__}"
    return ""
