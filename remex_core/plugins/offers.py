"""What one plugin registers: its hooks are called, and what they yield is checked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pluggy

from remex_core.plugins import hookspecs
from remex_core.plugins.descriptors import (
    ExecutorType,
    HealthCheck,
    JournalType,
    PolicyType,
    StoreType,
    TransportType,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from remex_core.plugins.loader import Plugin

_HOOKS: Final[Mapping[str, tuple[type[Any], str]]] = {
    "remex_stores": (StoreType, "store"),
    "remex_scheduler_policies": (PolicyType, "policy"),
    "remex_executors": (ExecutorType, "executor"),
    "remex_journals": (JournalType, "journal"),
    "remex_transports": (TransportType, "transport"),
    "remex_health_checks": (HealthCheck, "health check"),
}
FAMILIES: Final[Mapping[str, str]] = {
    "store": "stores",
    "order policy": "orders",
    "placement policy": "placements",
    "executor": "executors",
    "journal": "journals",
    "transport": "transports",
    "health check": "health_checks",
}
"""What a kind is called, and where a registry has it."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]*")


class Offer(NamedTuple):
    """A descriptor, and the family that its kind belongs to."""

    what: str
    name: str
    descriptor: Any

    def __str__(self) -> str:
        return f"{self.what} {self.name}"


def offers_of(plugin: Plugin) -> Iterator[Offer]:
    """Everything that a plugin registers.

    Raises:
        Exception: whatever its hooks raise, and for what they yield that is no valid descriptor.
    """
    # A manager of its own for each plugin: so it is known who fails, and who brings what.
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin.implementation, plugin.name)
    manager.check_pending()
    if not manager.get_hookcallers(plugin.implementation):
        raise TypeError("it implements none of the hooks; is there an @hookimpl?")
    seen: set[str] = set()
    for hook, (wanted, family) in _HOOKS.items():
        for yielded in getattr(manager.hook, hook)():
            for descriptor in yielded:
                if not isinstance(descriptor, wanted):
                    raise TypeError(f"{hook} yields {descriptor!r}, which is no {wanted.__name__}")
                what = f"{descriptor.axis} policy" if wanted is PolicyType else family
                offer = Offer(what, descriptor.name, descriptor)
                _check(offer)
                if str(offer) in seen:
                    raise ValueError(f"{hook} yields the {offer} twice")
                seen.add(str(offer))
                yield offer


def _check(offer: Offer) -> None:
    if offer.what not in FAMILIES:
        raise ValueError(f"{offer.name!r} is of the unknown axis {offer.descriptor.axis!r}")
    if not _NAME.fullmatch(offer.name):
        raise ValueError(
            f"the {offer.what} {offer.name!r} has a name that is not of lowercase letters, digits, "
            f"_ and -, with a letter first"
        )
