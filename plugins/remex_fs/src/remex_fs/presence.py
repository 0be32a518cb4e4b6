"""Which values were here a moment ago: a build asks for the same thousand inputs again and again.

A look costs a system call; remembering one costs a tenth of that. It is sound because every
removal, by any process, is a rename into `quarantine/` and changes that directory's modification
time, and because an evictor allows for the time that a value is remembered.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from remex_core.plugin import Clock, Key

REMEMBERED_NS: Final = 120 * 1_000_000_000
"""The longest that a value is remembered. Part of the layout: evictors allow for it."""

_GENERATION: Final = REMEMBERED_NS / 1e9 / 3
"""Seconds; a key lives for two at most in one set, since sets are turned by calls, and one more."""
_SETTLED: Final = 0.1
"""Seconds after a removal during which nothing is remembered: two removals within one tick of a
filesystem's clock leave the same modification time."""

_CAPACITY: Final = 50_000


class Presence:
    """A memory of about 100,000 keys at most, in two generations."""

    def __init__(self, quarantine: str, clock: Clock) -> None:
        self._quarantine = quarantine
        self._monotonic = clock.monotonic
        self._new: set[Key] = set()
        self._old: set[Key] = set()
        self._began = clock.monotonic()
        self._removal_ns = -1
        self._seen = clock.monotonic()

    def unknown(self, keys: Iterable[Key]) -> tuple[list[Key], int]:
        """Those of `keys` that have to be looked at, and a token for `remember`.

        Raises OSError as it comes.
        """
        now = self._monotonic()
        removal_ns = os.stat(self._quarantine).st_mtime_ns
        if removal_ns != self._removal_ns:
            self.forget()
            self._removal_ns, self._seen = removal_ns, now
        elif now - self._began > _GENERATION or len(self._new) > _CAPACITY:
            expired = now - self._began > 2 * _GENERATION
            self._old = set() if expired else self._new
            self._new, self._began = set(), now
        new, old = self._new, self._old
        return [key for key in keys if key not in new and key not in old], removal_ns

    def remember(self, keys: Iterable[Key], token: int) -> None:
        """Takes note of keys that were found by looks made since `unknown` gave the token."""
        settled = self._monotonic() - self._seen >= _SETTLED
        if settled and token == self._removal_ns:
            self._new.update(keys)

    def deny(self, key: Key) -> None:
        """Forgets everything if `key`, which is not here, was remembered."""
        if key in self._new or key in self._old:
            self.forget()

    def forget(self) -> None:
        """Forgets everything: something was removed, perhaps by hand."""
        self._new, self._old = set(), set()
