"""Platform properties: what an action asks for, what a worker offers, and whether the two match.

Names and values are case-sensitive (ACT-13). A worker may offer several values of one name; each
is an alternative. An action may ask for several values of one name; each must be offered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Requirement: TypeAlias = tuple[tuple[str, str], ...]
"""What an action asks for: pairs of name and value, sorted, without duplicates."""

Offer: TypeAlias = "Mapping[str, frozenset[str]]"
"""What a worker offers: name to values."""


class Kind(StrEnum):
    """How a property's values are compared.

    `exact`: the worker offers the very value. `minimum`: a number, of which the action takes
    that much for as long as it runs. `priority`: the worker has the name; the value is advice.
    `ignore`: no reason to choose a worker by it; executors may read it.
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
"""The property names that users of REAPI servers already write, and how each is compared."""

_IMAGE: Final = "container-image"
_IMAGE_SCHEME: Final = "docker://"


@dataclass(frozen=True, slots=True)
class Difference:
    """One property that keeps an action from a worker; `offered` is empty where it has none."""

    name: str
    wanted: str
    offered: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MatchRules:
    """How properties are compared at this site: the well-known names and those configured."""

    kinds: Mapping[str, Kind] = field(default_factory=dict)

    def kind(self, name: str) -> Kind:
        """How this property's values are compared; unlisted names are `exact`."""
        return self.kinds.get(name) or WELL_KNOWN.get(name, Kind.EXACT)

    def is_known(self, name: str) -> bool:
        """Whether the name itself is one that this site uses (EXE-18)."""
        return name in self.kinds or name in WELL_KNOWN or name.startswith("resources:")

    def differences(self, requirement: Requirement, offer: Offer) -> tuple[Difference, ...]:
        """Everything that keeps a worker with this offer, were it idle, from the action."""
        return tuple(
            Difference(name, value, offer.get(name, frozenset()))
            for name, value in requirement
            if not self._offers(name, value, offer)
        )

    def demands(self, requirement: Requirement) -> tuple[tuple[str, float], ...]:
        """What the action takes of the worker's `minimum` properties while it runs."""
        return tuple(
            (name, number)
            for name, value in requirement
            if self.kind(name) is Kind.MINIMUM and (number := _number(value)) is not None
        )

    def _offers(self, name: str, value: str, offer: Offer) -> bool:
        kind = self.kind(name)
        if kind is Kind.IGNORE:
            return True
        offered = offer.get(name, frozenset())
        if kind is Kind.PRIORITY:
            return bool(offered)
        if kind is Kind.MINIMUM:
            wanted = _number(value)
            return wanted is not None and capacity(offered) >= wanted
        return value in offered or (name == _IMAGE and _bare_image(value) in offered)


def requirement(pairs: Iterable[tuple[str, str]]) -> Requirement:
    """The pairs of an action's Platform message, in the one form that is compared."""
    return tuple(
        sorted({(name, _bare_image(value) if name == _IMAGE else value) for name, value in pairs})
    )


def offer(pairs: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    """The properties of a worker, grouped by name."""
    grouped: dict[str, set[str]] = {}
    for name, value in pairs:
        grouped.setdefault(name, set()).add(_bare_image(value) if name == _IMAGE else value)
    return {name: frozenset(values) for name, values in grouped.items()}


def capacity(offered: frozenset[str]) -> float:
    """How much of a `minimum` property there is: the largest number among the values."""
    return max((number for value in offered if (number := _number(value)) is not None), default=0.0)


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _bare_image(value: str) -> str:
    return value.removeprefix(_IMAGE_SCHEME)
