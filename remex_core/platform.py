"""Platform properties: what an action asks for, what a worker offers, and whether the two match.

Names and values are case-sensitive (ACT-13). A worker may offer several values of one name; each
is an alternative. An action may ask for several values of one name; each must be offered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from remex_core.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Requirement: TypeAlias = tuple[tuple[str, str], ...]
"""What an action asks for: pairs of name and value, sorted, without duplicates."""

Offer: TypeAlias = "Mapping[str, frozenset[str]]"
"""What a worker offers: name to values."""


class Kind(StrEnum):
    """How a property's values are compared.

    `exact`: the worker offers the very value, or `*`, which stands for every value. `minimum`: a
    number, of which the action takes that much for as long as it runs. `priority`: workers that
    offer the value come first, but others will do. `ignore`: no reason to choose a worker by it;
    executors may read it.
    """

    EXACT = "exact"
    MINIMUM = "minimum"
    PRIORITY = "priority"
    IGNORE = "ignore"


WELL_KNOWN: Final[Mapping[str, Kind]] = {
    "OSFamily": Kind.EXACT,
    "Arch": Kind.EXACT,
    "ISA": Kind.EXACT,
    "Pool": Kind.EXACT,
    "container-image": Kind.EXACT,
    "cpu_count": Kind.MINIMUM,
    "min-cores": Kind.MINIMUM,
    "memory_kb": Kind.MINIMUM,
    # Estimates tell how much an action may use, not what it cannot do without.
    "EstimatedCPU": Kind.IGNORE,
    "EstimatedMemory": Kind.IGNORE,
    "block-network": Kind.IGNORE,
    "dockerNetwork": Kind.IGNORE,
    "dockerPrivileged": Kind.IGNORE,
    "dockerRunAsRoot": Kind.IGNORE,
    "dockerUser": Kind.IGNORE,
    "network": Kind.IGNORE,
    "persistentWorkerKey": Kind.IGNORE,
    "recycle-runner": Kind.IGNORE,
    "requires-worker-protocol": Kind.IGNORE,
}
"""The property names that users of REAPI servers already write, and how each is compared.

Beside them every `resources:NAME` is known, a `minimum`.
"""

_RESOURCES: Final[Mapping[str, str]] = {"min-cores": "cpu_count"}
"""Names for one resource: what is asked for under the first is taken from the second."""

_RESOURCE_PREFIX: Final = "resources:"
_IMAGE: Final = "container-image"
_IMAGE_SCHEME: Final = "docker://"
_ANY: Final = "*"
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|[kKMGT]i?)?B?")
_UNITS: Final[Mapping[str, float]] = {
    "m": 1e-3,
    "k": 1e3,
    "K": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "ki": 2.0**10,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One property that keeps an action from a worker; `offered` is empty where it has none."""

    name: str
    wanted: str
    offered: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MatchRules:
    """How properties are compared at this site: the well-known names and those configured.

    `kinds` overrides the table; `known` are further names that actions may use although no
    worker has them at the moment (EXE-18).
    """

    kinds: Mapping[str, Kind] = field(default_factory=dict)
    known: frozenset[str] = frozenset()

    def kind(self, name: str) -> Kind:
        """How this property's values are compared; unlisted names are `exact`."""
        kind = self.kinds.get(name) or WELL_KNOWN.get(name)
        if kind is not None:
            return kind
        return Kind.MINIMUM if name.startswith(_RESOURCE_PREFIX) else Kind.EXACT

    def is_known(self, name: str) -> bool:
        """Whether the name itself is one that this site uses (EXE-18)."""
        return (
            name in self.known
            or name in self.kinds
            or name in WELL_KNOWN
            or name.startswith(_RESOURCE_PREFIX)
        )

    def essential(self, requirement: Requirement) -> Requirement:
        """The part of a requirement that has a say in which worker is chosen.

        Raises:
            InvalidArgument: if a `minimum` property has no number for its value.
        """
        for name, value in requirement:
            if self.kind(name) is Kind.MINIMUM and amount(value) is None:
                raise InvalidArgument(
                    f"The platform property {name}={value!r} must be a number.",
                    hint=f"Write an amount such as {name}=2 in the target's exec_properties.",
                )
        return tuple(pair for pair in requirement if self.kind(pair[0]) is not Kind.IGNORE)

    def differences(self, requirement: Requirement, offer: Offer) -> tuple[Difference, ...]:
        """Everything that keeps a worker with this offer, were it idle, from the action."""
        return tuple(
            Difference(name, value, offer.get(name) or offer.get(_resource(name), frozenset()))
            for name, value in requirement
            if not self._offers(name, value, offer)
        )

    def demands(self, requirement: Requirement) -> tuple[tuple[str, float], ...]:
        """What the action takes of which resource while it runs."""
        demands: dict[str, float] = {}
        for name, value in requirement:
            number = amount(value) if self.kind(name) is Kind.MINIMUM else None
            if number is not None:
                resource = _resource(name)
                demands[resource] = max(number, demands.get(resource, 0.0))
        return tuple(demands.items())

    def capacities(self, offer: Offer) -> dict[str, float]:
        """How much a worker with this offer has of each resource."""
        return {
            _resource(name): max((number for v in values if (number := amount(v))), default=0.0)
            for name, values in offer.items()
            if self.kind(name) is Kind.MINIMUM
        }

    def wishes(self, requirement: Requirement) -> Requirement:
        """The `priority` properties of a requirement."""
        return tuple(pair for pair in requirement if self.kind(pair[0]) is Kind.PRIORITY)

    def _offers(self, name: str, value: str, offer: Offer) -> bool:
        kind = self.kind(name)
        if kind is Kind.EXACT:
            return has(offer, name, value)
        if kind is Kind.MINIMUM:
            wanted, available = amount(value), self.capacities(offer).get(_resource(name))
            return wanted is not None and available is not None and available >= wanted
        return True


def requirement(pairs: Iterable[tuple[str, str]]) -> Requirement:
    """The pairs of an action's Platform message, in the one form that is compared (ACT-12)."""
    return tuple(sorted({(name, _plain(name, value)) for name, value in pairs}))


def offer(pairs: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    """The properties of a worker, grouped by name."""
    grouped: dict[str, set[str]] = {}
    for name, value in pairs:
        grouped.setdefault(name, set()).add(_plain(name, value))
    return {name: frozenset(values) for name, values in grouped.items()}


def has(offer: Offer, name: str, value: str) -> bool:
    """Whether a worker offers this very value, or any."""
    values = offer.get(name, frozenset())
    return value in values or _ANY in values


def amount(value: str) -> float | None:
    """The number that a `minimum` property's value stands for, such as `8`, `500m` or `16GiB`."""
    match = _AMOUNT.fullmatch(value)
    return None if match is None else float(match[1]) * _UNITS.get(match[2] or "", 1.0)


def _resource(name: str) -> str:
    return _RESOURCES.get(name, name)


def _plain(name: str, value: str) -> str:
    """An image is the same image with and without the scheme in front of its name."""
    return value.removeprefix(_IMAGE_SCHEME) if name == _IMAGE else value
