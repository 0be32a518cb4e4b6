"""Which values that can be replaced are being read and written now.

A copy of such a value is worth nothing if it was read before somebody replaced it and arrives
afterwards: it would bring the old value back.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from remex_core.digest import Key


@dataclass(slots=True, eq=False)
class Reading:
    """A read of a value that can be replaced; current until somebody replaces it."""

    is_current: bool


class Replacements:
    """Who reads and who replaces which value now, so that no fill brings an old one back."""

    def __init__(self) -> None:
        self._writing: Counter[Key] = Counter()
        self._readings: dict[Key, set[Reading]] = {}

    @contextmanager
    def reading(self, key: Key) -> Iterator[Reading]:
        """Around a read whose outcome is to be copied elsewhere."""
        reading = Reading(is_current=key not in self._writing)
        readings = self._readings.setdefault(key, set())
        readings.add(reading)
        try:
            yield reading
        finally:
            readings.discard(reading)
            if not readings:
                self._readings.pop(key, None)

    @contextmanager
    def writing(self, key: Key) -> Iterator[None]:
        """Around a write: no read that meets it is current."""
        self.changed((key,))
        self._writing[key] += 1
        try:
            yield
        finally:
            self._writing[key] -= 1
            if not self._writing[key]:
                del self._writing[key]

    def changed(self, keys: Iterable[Key]) -> None:
        """What is being read under these keys is no longer what is stored."""
        for key in keys:
            for reading in self._readings.get(key, ()):
                reading.is_current = False
