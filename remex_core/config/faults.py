"""A configuration that cannot be used: every fault in it, each with its place in the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from remex_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from remex_core.config.document import Position
    from remex_core.plugins.faults import Fault


@dataclass(frozen=True, slots=True)
class PlacedFault:
    """One fault; `position` is None for a configuration that stands in no file."""

    fault: Fault
    file: str
    position: Position | None

    def __str__(self) -> str:
        if self.position is None:
            return str(self.fault)
        return f"{self.file}:{self.position.line}:{self.position.column}: {self.fault}"


class InvalidConfig(ConfigError):
    """Every fault of a configuration, in the order of the file; one line each."""

    def __init__(self, faults: Sequence[PlacedFault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)
