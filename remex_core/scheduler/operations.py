"""Which operations exist: their groups while they run, and for a while after they ended."""

from __future__ import annotations


class Operations:
    """Names of operations. Finished ones are kept `retain_seconds`, at most `retain` of them."""

    def __init__(self, retain_seconds: float, retain: int) -> None:
        self._retain_seconds = retain_seconds
        self._retain = retain
        self._groups: dict[str, str] = {}
        self._finished: dict[str, float] = {}

    def add(self, operation: str, group: str) -> None:
        """Notes a new operation of a group."""
        self._groups[operation] = group

    def group_of(self, operation: str) -> str | None:
        """The group of an operation that is not finished."""
        return self._groups.get(operation)

    def finish(self, operation: str, now: float) -> None:
        """Notes that an operation is done; it is kept for those who ask."""
        del self._groups[operation]
        self._finished[operation] = now

    def forget(self, operation: str) -> bool:
        """Drops a finished operation; False if it is not one."""
        return self._finished.pop(operation, None) is not None

    def expire(self, now: float) -> tuple[str, ...]:
        """Drops and answers the finished operations whose time is over, the oldest first."""
        expired: list[str] = []
        surplus = len(self._finished) - self._retain
        for operation, finished_at in self._finished.items():
            if surplus <= len(expired) and now - finished_at < self._retain_seconds:
                break
            expired.append(operation)
        for operation in expired:
            del self._finished[operation]
        return tuple(expired)
