"""Everything that active plugins register, by name; where the rest of remex looks kinds up."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pluggy
from pydantic import ValidationError

from remex_core.errors import ConfigError, PluginError
from remex_core.plugins import hookspecs
from remex_core.plugins.loader import Plugin, Status, find_plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from remex_core.plugins.descriptors import (
        ExecutorType,
        HealthCheck,
        JournalType,
        PolicyType,
        StoreType,
        TransportType,
    )

T = TypeVar("T")

FIRST_PARTY: Final[Mapping[str, str]] = {
    "filesystem": "remex-fs",
    "s3": "remex-s3",
    "gcs": "remex-s3",
    "azure": "remex-s3",
    "local": "remex-local-exec",
    "docker": "remex-docker-exec",
}
"""Which distribution brings a kind that the core does not have."""


@dataclass(slots=True)
class Registry:
    """The kinds of every axis by name, and the plugins that they come from.

    Of two plugins that register the same name, the first wins and the other is shadowed.
    """

    plugins: list[Plugin] = field(default_factory=list)
    stores: dict[str, StoreType[Any]] = field(default_factory=dict)
    orders: dict[str, PolicyType[Any]] = field(default_factory=dict)
    placements: dict[str, PolicyType[Any]] = field(default_factory=dict)
    executors: dict[str, ExecutorType[Any]] = field(default_factory=dict)
    journals: dict[str, JournalType[Any]] = field(default_factory=dict)
    transports: dict[str, TransportType] = field(default_factory=dict)
    health_checks: dict[str, HealthCheck] = field(default_factory=dict)
    owners: dict[tuple[str, str], str] = field(default_factory=dict)

    def transport(self, name: str = "") -> TransportType:
        """The transport of that name; without one, the most preferred that serves sockets.

        Raises:
            ConfigError: if there is none of that name.
        """
        if not name:
            return max(self.transports.values(), key=lambda each: each.preference)
        return self.find(self.transports, name, "transport")

    def find(self, kinds: Mapping[str, T], name: str, what: str) -> T:
        """The entry called `name`.

        Raises:
            PluginError: if a plugin that would bring it cannot be used; says why.
            ConfigError: if nobody has it; says what is near, or what to install.
        """
        found = kinds.get(name)
        if found is not None:
            return found
        distribution = FIRST_PARTY.get(name, "")
        for plugin in self.plugins:
            unusable = plugin.status is not Status.ACTIVE
            if unusable and (plugin.name == name or plugin.origin == distribution):
                raise PluginError(
                    f"The {what} {name!r} comes from the plugin {plugin.name} of {plugin.origin}, "
                    f"which is {plugin.status}: {plugin.reason}."
                )
        raise ConfigError(f"There is no {what} called {name!r}.", hint=_hint(name, kinds))

    def validate(
        self, kinds: Mapping[str, T], name: str, options: Mapping[str, Any], what: str
    ) -> tuple[T, Any]:
        """The entry called `name`, and its options as the spec that it asks for.

        Raises:
            PluginError, ConfigError: as `find`, and for options that its spec does not take.
        """
        kind: Any = self.find(kinds, name, what)
        try:
            return kind, kind.spec.model_validate(options)
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
            )
            raise ConfigError(f"The options of the {what} {name!r} are wrong: {faults}") from error


def load_registry(files: Sequence[Path] = (), plugins: Iterable[Plugin] | None = None) -> Registry:
    """Finds every plugin and registers what the active ones offer."""
    registry = Registry()
    for plugin in find_plugins(files) if plugins is None else plugins:
        registry.plugins.append(_register(registry, plugin))
    return registry


def _register(registry: Registry, plugin: Plugin) -> Plugin:
    if plugin.status is not Status.ACTIVE:
        return plugin
    try:
        taken = [
            f"{what} {name!r} is {owner}'s" for what, name, owner in _add_all(registry, plugin)
        ]
    except Exception as error:  # noqa: BLE001 - a plugin's hooks may raise anything
        return replace(
            plugin, status=Status.BROKEN, reason=f"{type(error).__name__}: {error}", module=None
        )
    if taken:
        return replace(plugin, status=Status.SHADOWED, reason="; ".join(taken))
    return plugin


def _add_all(registry: Registry, plugin: Plugin) -> list[tuple[str, str, str]]:
    """Adds what a plugin yields; answers (what, name, owner) of what was there already."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin.module, plugin.name)
    hook = manager.hook
    axes: tuple[tuple[str, Iterable[Any], Callable[[Any], dict[str, Any]]], ...] = (
        ("store", _flat(hook.remex_stores()), lambda _: registry.stores),
        (
            "policy",
            _flat(hook.remex_scheduler_policies()),
            lambda each: registry.orders if each.axis == "order" else registry.placements,
        ),
        ("executor", _flat(hook.remex_executors()), lambda _: registry.executors),
        ("journal", _flat(hook.remex_journals()), lambda _: registry.journals),
        ("transport", _flat(hook.remex_transports()), lambda _: registry.transports),
        ("health check", _flat(hook.remex_health_checks()), lambda _: registry.health_checks),
    )
    taken = []
    for what, descriptors, kinds_of in axes:
        for descriptor in descriptors:
            kinds = kinds_of(descriptor)
            if descriptor.name in kinds:
                taken.append((what, descriptor.name, registry.owners[what, descriptor.name]))
            else:
                kinds[descriptor.name] = descriptor
                registry.owners[what, descriptor.name] = plugin.origin
    return taken


def _flat(results: Iterable[Iterable[T]]) -> list[T]:
    return [descriptor for result in results for descriptor in result]


def _hint(name: str, known: Iterable[str]) -> str:
    if name in FIRST_PARTY:
        return f"Install it: pip install {FIRST_PARTY[name]}"
    near = difflib.get_close_matches(name, list(known), n=1)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"There are: {', '.join(sorted(known))}."
