"""Shows what the stores counted to whoever scrapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from remex_core.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from remex_core.store.metrics import StoreCounters
    from remex_core.telemetry.metrics import Registry


class StoreMetrics:
    """Copies the stores' plain counters into the registry when it is rendered."""

    def __init__(self, registry: Registry, counters: Sequence[StoreCounters]) -> None:
        self._registry = registry
        self._counters = counters

    def collect(self) -> None:
        """Sets every series to what the stores counted so far."""
        number = self._registry.number
        for each in self._counters:
            labels = (each.kind, each.path)
            for operation, value in (
                ("find_missing", each.find_missing_calls),
                ("hit", each.hits),
                ("miss", each.misses),
                ("write", each.writes),
                ("discard", each.discards),
                ("error", each.errors),
            ):
                number(names.STORE_OPERATIONS, *labels, operation).value = value
            number(names.STORE_BYTES, *labels, "read").value = each.bytes_read
            number(names.STORE_BYTES, *labels, "written").value = each.bytes_written
