"""Which operations exist: their groups while they run, and for a while after they ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from remex_core.scheduler.groups import Group
    from remex_core.scheduler.options import SchedulerOptions


class Operations:
    """Operations by name; finished ones are kept for a while, bounded in number and bytes (OP-04).

    One that a client has deleted while it runs is unknown here, and still among its group's.
    """

    def __init__(self, options: SchedulerOptions) -> None:
        self._options = options
        self._live: dict[str, Group] = {}
        self._finished: dict[str, tuple[float, int]] = {}
        self._weight = 0

    def __len__(self) -> int:
        return len(self._live)

    def add(self, operation: str, group: Group) -> None:
        """Notes a new operation of a group."""
        self._live[operation] = group

    def group_of(self, operation: str) -> Group | None:
        """The group of an operation that is not finished."""
        return self._live.get(operation)

    def is_known(self, operation: str) -> bool:
        """Whether it can be asked for."""
        return operation in self._live or operation in self._finished

    def finish(self, operation: str, now: float, weight: int) -> None:
        """Notes that an operation is done, unless it was forgotten; see `keep`."""
        if self._live.pop(operation, None) is not None:
            self.keep(operation, now, weight)

    def keep(self, operation: str, now: float, weight: int) -> None:
        """Remembers a finished operation; `weight` is what that costs, in bytes."""
        self._finished[operation] = (now, weight)
        self._weight += weight

    def forget(self, operation: str) -> bool:
        """Drops an operation; False if there is none of this name."""
        finished = self._finished.pop(operation, None)
        if finished is not None:
            self._weight -= finished[1]
            return True
        return self._live.pop(operation, None) is not None

    def expire(self, now: float) -> tuple[str, ...]:
        """Drops and answers the finished operations whose time is over, the oldest first."""
        options = self._options
        expired: list[str] = []
        while self._finished:
            operation, (finished_at, weight) = next(iter(self._finished.items()))
            if (
                now - finished_at < options.retain_seconds
                and len(self._finished) <= options.retain_operations
                and self._weight <= options.retain_bytes
            ):
                break
            del self._finished[operation]
            self._weight -= weight
            expired.append(operation)
        return tuple(expired)
