"""Everything that usable plugins register, by name; where the rest of remex looks kinds up."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from packaging.utils import canonicalize_name
from pydantic import ValidationError

from remex_core.errors import ConfigError, PluginError
from remex_core.plugins.faults import Fault, did_you_mean, spec_faults
from remex_core.plugins.loader import Plugin, Status, find_plugins, told
from remex_core.plugins.offers import FAMILIES, offers_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
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

_STORES: Final = {
    "filesystem": "remex-fs",
    "s3": "remex-s3",
    "gcs": "remex-s3",
    "azure": "remex-s3",
}
_EXECUTORS: Final = {"local": "remex-local-exec", "docker": "remex-docker-exec"}

FIRST_PARTY: Final[Mapping[str, str]] = _STORES | _EXECUTORS
"""Which distribution brings a kind that the core does not have."""


@dataclass(slots=True)
class Registry:
    """The kinds of every family by name, and the plugins that they come from.

    `plugins` has all that were found, in the order in which they registered. A plugin registers
    all of its kinds or, where one of the names is taken already, none.
    """

    plugins: list[Plugin] = field(default_factory=list)
    stores: dict[str, StoreType[Any]] = field(default_factory=dict)
    orders: dict[str, PolicyType[Any]] = field(default_factory=dict)
    placements: dict[str, PolicyType[Any]] = field(default_factory=dict)
    executors: dict[str, ExecutorType[Any]] = field(default_factory=dict)
    journals: dict[str, JournalType[Any]] = field(default_factory=dict)
    transports: dict[str, TransportType] = field(default_factory=dict)
    health_checks: dict[str, HealthCheck] = field(default_factory=dict)

    def transport(self, name: str = "") -> TransportType:
        """The transport of that name; without one, the most preferred.

        Raises:
            PluginError, ConfigError: as `find`.
        """
        if not name:
            return max(self.transports.values(), key=lambda each: each.preference)
        return self.find(self.transports, name, "transport")

    def find(self, kinds: Mapping[str, T], name: str, what: str) -> T:
        """The entry called `name`; `what` names the family, as in `order policy`.

        Raises:
            PluginError: if a plugin would bring it and is unusable or not installed; says why.
            ConfigError: if nobody knows it; says what is near.
        """
        found = kinds.get(name)
        if found is not None:
            return found
        message, hint = self.explain(what, name, kinds)
        known = self._unusable(what, name) or _distribution(what, name)
        raise (PluginError if known else ConfigError)(message, hint=hint)

    def validate(
        self, kinds: Mapping[str, T], name: str, options: Mapping[str, Any], what: str
    ) -> tuple[T, Any]:
        """The entry called `name`, and `options` as the spec that it asks for.

        Raises:
            PluginError, ConfigError: as `find`, and for options that its spec does not take.
        """
        kind: Any = self.find(kinds, name, what)
        faults = self.faults(kinds, name, options, what, ())
        if faults:
            raise ConfigError(f"The {what} has wrong options. {' '.join(map(str, faults))}")
        return kind, kind.spec.model_validate(options)

    def faults(
        self,
        kinds: Mapping[str, Any],
        name: str,
        options: Mapping[str, Any],
        what: str,
        path: tuple[str, ...],
    ) -> tuple[Fault, ...]:
        """What `validate` would complain of, where `{name: options}` stands at `path`."""
        kind = kinds.get(name)
        if kind is None:
            return (Fault((*path, name), *self.explain(what, name, kinds)),)
        try:
            kind.spec.model_validate(options)
        except ValidationError as error:
            return spec_faults(error, kind.spec, options, (*path, name))
        return ()

    def explain_store(self, name: str, known: Iterable[str]) -> tuple[str, str]:
        """See `explain`; for a `StoreChecker`."""
        return self.explain("store", name, known)

    def explain(self, what: str, name: str, known: Iterable[str]) -> tuple[str, str]:
        """What is wrong with a kind that is not among `known`, and what to do about it."""
        plugin = self._unusable(what, name)
        if plugin is not None:
            return (
                f"The {what} {name!r} comes with the plugin {plugin.title}, which {plugin.reason}.",
                _REMEDIES[plugin.status],
            )
        message = f"There is no kind of {what} called {name!r}."
        distribution = _distribution(what, name)
        if distribution:
            return message, f"Install the plugin that has it: pip install {distribution}"
        known = sorted(known)
        near = did_you_mean(name, known)
        if near:
            return message, near
        hint = f"There are: {', '.join(known) or 'none'}."
        unusable = [each.name for each in self.plugins if not each.is_usable]
        if unusable:
            hint += f" `remex plugins` says why {', '.join(unusable)} cannot be used."
        return message, hint

    def _unusable(self, what: str, name: str) -> Plugin | None:
        """The plugin that brings this kind, or would by its name, and cannot be used."""
        names = {name, f"remex-{name}", _distribution(what, name)}
        fitting = {canonicalize_name(each) for each in names if each}
        for plugin in self.plugins:
            own = {canonicalize_name(plugin.name), canonicalize_name(plugin.origin)}
            if not plugin.is_usable and (f"{what} {name}" in plugin.provides or fitting & own):
                return plugin
        return None


def _distribution(what: str, name: str) -> str:
    """The first-party distribution that brings this kind, or empty."""
    families: Mapping[str, Mapping[str, str]] = {"store": _STORES, "executor": _EXECUTORS}
    return families.get(what, {}).get(name, "")


_REMEDIES: Final[Mapping[Status, str]] = {
    Status.DISABLED: "Change that variable, or do without this kind.",
    Status.INCOMPATIBLE: "Install versions that fit each other.",
    Status.BROKEN: "Repair or reinstall the plugin, or do without this kind.",
    Status.SHADOWED: "Uninstall one of the two.",
}


def load_registry(
    files: Sequence[Path] = (), environment: Mapping[str, str] = os.environ
) -> Registry:
    """Finds every plugin and registers what the usable ones offer.

    Raises:
        PluginError: if one of `files`, which somebody named, cannot be used.
    """
    registry = register(find_plugins(files, environment))
    for file in files:
        for plugin in registry.plugins:
            if plugin.origin == str(file) and not plugin.is_usable:
                raise PluginError(f"The plugin {file} {plugin.reason}.")
    return registry


def register(plugins: Iterable[Plugin]) -> Registry:
    """A registry of these plugins; those that fail or come too late in it are told apart."""
    registry = Registry()
    owners: dict[str, Plugin] = {}
    for plugin in plugins:
        registry.plugins.append(_register(registry, plugin, owners) if plugin.is_usable else plugin)
    return registry


def _register(registry: Registry, plugin: Plugin, owners: dict[str, Plugin]) -> Plugin:
    try:
        offers = list(offers_of(plugin))
    except Exception as error:  # noqa: BLE001 - a plugin's hooks may raise anything
        return _unused(plugin, Status.BROKEN, f"cannot be registered: {told(error)}")
    provides = tuple(map(str, offers))
    for kind in provides:
        if kind in owners:
            reason = f"brings the {kind}, which {owners[kind].title} has already"
            return _unused(plugin, Status.SHADOWED, reason, provides)
    for offer in offers:
        getattr(registry, FAMILIES[offer.what])[offer.name] = offer.descriptor
        owners[str(offer)] = plugin
    return replace(plugin, provides=provides)


def _unused(plugin: Plugin, status: Status, reason: str, provides: tuple[str, ...] = ()) -> Plugin:
    return replace(plugin, status=status, reason=reason, provides=provides, implementation=None)
