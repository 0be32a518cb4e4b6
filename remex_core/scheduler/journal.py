"""The journal contract: what must survive a scheduler, and the journal that survives nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from remex_core.errors import Aborted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from remex_core.scheduler.commands import Row


class Fenced(Aborted):
    """A later scheduler has taken the journal over; this one must stop giving out leases."""

    slug = "fenced"


class Journal(ABC):
    """Rows in the order they were appended, and the number of the scheduler's life."""

    @abstractmethod
    async def open(self) -> int:
        """Begins a new epoch, higher than every earlier one, and answers it."""

    @abstractmethod
    async def load(self) -> Sequence[Row]:
        """What earlier epochs left, the oldest first."""

    @abstractmethod
    async def append(self, epoch: int, rows: Sequence[Row]) -> None:
        """Returns when the rows are safe.

        Raises:
            Fenced: if a later epoch has begun.
        """

    @abstractmethod
    async def close(self) -> None:
        """Releases what the journal holds."""


class NoJournal(Journal):
    """Keeps nothing: after a restart, clients submit their actions again."""

    async def open(self) -> int:
        return 1

    async def load(self) -> Sequence[Row]:
        return ()

    async def append(self, epoch: int, rows: Sequence[Row]) -> None:
        pass

    async def close(self) -> None:
        pass
