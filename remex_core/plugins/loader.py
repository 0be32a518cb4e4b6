"""Finds plugins and imports them one by one, so that a broken one harms nobody but itself.

A distribution's metadata is read before any of its code is imported. Every plugin ends up with a
status and a reason for it; finding plugins never raises.

A plugin's name is that of its entry point. Where nothing of a plugin could be imported, that name
is all that is known of it: an author who calls the entry point like the kind that it brings lets
remex say "that is the one which is broken".
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.metadata import distributions
from typing import TYPE_CHECKING, Any, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from remex_core import __version__
from remex_core.plugins.hookspecs import ENTRY_POINT_GROUP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from importlib.metadata import Distribution
    from pathlib import Path

CORE: Final = "remex-core"
BUILT_IN: Final = (
    "remex_core.store.builtin",
    "remex_core.scheduler.builtin",
    "remex_core.wire.builtin",
    "remex_core.doctor.builtin",
)
ALLOW: Final = "REMEX_PLUGINS"
DISABLE: Final = "REMEX_DISABLE_PLUGINS"
_NAMELESS: Final = "a distribution without a name"


class Status(StrEnum):
    """What became of a plugin.

    `active`: in use. `disabled`: the environment forbids it. `incompatible`: it needs another
    version of the core. `broken`: it cannot be imported, or its hooks fail. `shadowed`: an
    earlier plugin has a kind of the same name, so nothing of this one is used.
    """

    ACTIVE = "active"
    DISABLED = "disabled"
    INCOMPATIBLE = "incompatible"
    BROKEN = "broken"
    SHADOWED = "shadowed"


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin, and how it fared.

    Args:
        name: its entry point's name; a file's name without suffix.
        origin: the distribution that it comes from, or the path of its file.
        version: the distribution's version; empty for a file.
        status: what became of it.
        reason: why, unless it is active: the rest of a sentence that begins with its name.
        provides: what it registers, such as `store filesystem`, as far as that is known.
        implementation: the object whose hooks are called; None unless it could be imported.
    """

    name: str
    origin: str
    version: str
    status: Status
    reason: str = ""
    provides: tuple[str, ...] = ()
    implementation: Any = None

    @property
    def is_usable(self) -> bool:
        """Whether what it registers can be used."""
        return self.status is Status.ACTIVE

    @property
    def title(self) -> str:
        """Name and origin, for messages."""
        return f"{self.name} ({self.origin} {self.version}".rstrip() + ")"


def find_plugins(
    files: Sequence[Path] = (), environment: Mapping[str, str] = os.environ
) -> list[Plugin]:
    """Every plugin: the core's own, then those of `files`, then the installed ones by name.

    The order decides who wins where two bring a kind of the same name. REMEX_PLUGINS names the
    installed plugins that may be used, REMEX_DISABLE_PLUGINS those that may not: lists, with
    commas between, of the names of plugins or of their distributions. Neither touches the core's
    own plugins and `files`.
    """
    switches = _Switches(environment)
    installed = sorted(_installed(switches), key=lambda each: (each.name, each.origin))
    return [
        *map(_built_in, BUILT_IN),
        *map(_from_file, files),
        *installed,
        *switches.absent(installed),
    ]


def _built_in(module: str) -> Plugin:
    # Not guarded: a core that cannot be imported is a bug, and no plugin's fault.
    name = module.removeprefix("remex_core.").removesuffix(".builtin")
    return Plugin(
        name,
        CORE,
        __version__,
        Status.ACTIVE,
        implementation=importlib.import_module(module),
    )


class _Switches:
    """What the environment says about which installed plugins may be used."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        allowed = environment.get(ALLOW)
        self._allowed = None if allowed is None else _names(allowed)
        self._disabled = _names(environment.get(DISABLE, ""))

    def forbids(self, plugin: Plugin) -> str:
        """Why this plugin may not be used, or empty."""
        names = _names(f"{plugin.name},{plugin.origin}")
        if names & self._disabled:
            return f"is named by {DISABLE}"
        if self._allowed is not None and not names & self._allowed:
            return f"is not among the plugins that {ALLOW} names"
        return ""

    def absent(self, installed: Iterable[Plugin]) -> Iterator[Plugin]:
        """A broken plugin for each name that is allowed and that no installed plugin has."""
        names = (name for each in installed for name in (each.name, each.origin))
        known = {str(canonicalize_name(name)) for name in names}
        for name in sorted((self._allowed or set()) - known):
            reason = f"is named by {ALLOW} and is not installed"
            yield Plugin(name, ALLOW, "", Status.BROKEN, reason)


def _names(text: str) -> set[str]:
    return {str(canonicalize_name(name.strip())) for name in text.split(",") if name.strip()}


def _installed(switches: _Switches) -> Iterator[Plugin]:
    """The plugins of every distribution on the path; of two of one name the first counts."""
    seen: set[str] = set()
    for distribution in filter(_has_plugins, distributions()):
        origin = _name_of(distribution)
        if canonicalize_name(origin) not in seen:
            seen.add(canonicalize_name(origin))
            yield from _of_distribution(distribution, origin, switches)


def _has_plugins(distribution: Distribution) -> bool:
    # `importlib.metadata.entry_points` would parse them all, and fail for one that is malformed.
    try:
        return ENTRY_POINT_GROUP in (distribution.read_text("entry_points.txt") or "")
    except (OSError, UnicodeError):
        return False


def _name_of(distribution: Distribution) -> str:
    try:
        return str(distribution.metadata["Name"] or _NAMELESS)
    except Exception:  # noqa: BLE001 - metadata is parsed by the library as it likes
        return _NAMELESS


def _of_distribution(
    distribution: Distribution, origin: str, switches: _Switches
) -> Iterator[Plugin]:
    try:
        version = distribution.version or ""
        points = distribution.entry_points.select(group=ENTRY_POINT_GROUP)
        requirements = distribution.requires or []
    except Exception as error:  # noqa: BLE001 - as above
        reason = f"has metadata that cannot be read: {told(error)}"
        yield Plugin(origin, origin, "", Status.BROKEN, reason)
        return
    for point in points:
        plugin = Plugin(point.name, origin, version, Status.ACTIVE)
        if reason := switches.forbids(plugin):
            yield replace(plugin, status=Status.DISABLED, reason=reason)
        elif reason := _incompatible(requirements):
            yield replace(plugin, status=Status.INCOMPATIBLE, reason=reason)
        else:
            yield _imported(plugin, point.load)


def _from_file(path: Path) -> Plugin:
    plugin = Plugin(path.stem, str(path), "", Status.ACTIVE)
    if not path.is_file():
        return replace(plugin, status=Status.BROKEN, reason="is no file")
    return _imported(plugin, lambda: _import_file(path))


def _import_file(path: Path) -> Any:
    # Two files of the same name are two modules.
    name = f"remex_plugin{re.sub(r'[^A-Za-z0-9]', '_', str(path.resolve()))}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("its name does not end in .py")
    module = importlib.util.module_from_spec(spec)
    # Annotations of its dataclasses and specs are looked up there.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _imported(plugin: Plugin, load: Callable[[], Any]) -> Plugin:
    try:
        return replace(plugin, implementation=load())
    except (Exception, SystemExit) as error:  # noqa: BLE001 - its code may do anything
        reason = f"cannot be imported: {told(error)}"
        return replace(plugin, status=Status.BROKEN, reason=reason)


def told(error: BaseException) -> str:
    """An exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".rstrip(": ").split())


def _incompatible(requirements: Iterable[str]) -> str:
    """Why the requirements do not fit this core; empty if they do."""
    for text in requirements:
        try:
            needed = Requirement(text)
        except InvalidRequirement:
            continue
        if canonicalize_name(needed.name) != CORE:
            continue
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        if not needed.specifier.contains(__version__, prereleases=True):
            return f"needs {CORE}{needed.specifier}, and this is {__version__}"
    return ""
