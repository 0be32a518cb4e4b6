"""What comes due by itself: groups that rest, and inputs that are to be kept alive."""

from __future__ import annotations

import heapq


class Agenda:
    """Group ids by the time at which something is to be done for them, in seconds."""

    def __init__(self, touch_interval: float) -> None:
        self._touch_interval = touch_interval
        self._touches: dict[str, float] = {}
        self._resting: list[tuple[float, str]] = []

    def add(self, group: str, now: float) -> None:
        """Begins to keep a group's inputs alive; they have been touched just now."""
        self._touches[group] = now + self._touch_interval

    def remove(self, group: str) -> None:
        """Forgets a group that has ended."""
        del self._touches[group]

    def rest(self, group: str, until: float) -> None:
        """Remembers to wake a group."""
        heapq.heappush(self._resting, (until, group))

    def rested(self, now: float) -> list[str]:
        """The groups whose rest is over, some of which may have ended meanwhile."""
        over: list[str] = []
        while self._resting and self._resting[0][0] <= now:
            over.append(heapq.heappop(self._resting)[1])
        return over

    def to_touch(self, now: float) -> tuple[str, ...]:
        """The groups whose inputs are to be touched now; their next turn is an interval away."""
        due: list[str] = []
        for group, at in self._touches.items():
            if at > now:
                break
            due.append(group)
        for group in due:
            del self._touches[group]
            self.add(group, now)
        return tuple(due)
