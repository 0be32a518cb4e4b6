"""The journal contract: what must survive a scheduler, and the journal that survives nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from remex_core.clock import SYSTEM
from remex_core.errors import Aborted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from remex_core.clock import Clock


class Fenced(Aborted):
    """A later scheduler has taken the journal over; this one must stop giving out leases."""

    slug = "fenced"


class JournalRow(NamedTuple):
    """A value under a key; None removes the key. Values are messages of journal.proto."""

    key: str
    value: bytes | None


class Journal(ABC):
    """Values by key, and the number of the scheduler's life."""

    is_durable: ClassVar[bool] = True
    """Whether rows outlive the process; if not, none are made."""

    @abstractmethod
    async def open(self) -> int:
        """Begins a new epoch, higher than every earlier one, and answers it."""

    @abstractmethod
    async def load(self) -> Sequence[JournalRow]:
        """What earlier epochs left; each key once, with its last value."""

    @abstractmethod
    async def append(self, epoch: int, rows: Sequence[JournalRow]) -> None:
        """Returns when all these rows are safe, in their order.

        Raises:
            Fenced: if a later epoch has begun; none of the rows is written then.
        """

    @abstractmethod
    async def close(self) -> None:
        """Releases what the journal holds."""


class NoJournal(Journal):
    """Keeps nothing: after a restart, clients submit their actions again."""

    is_durable = False

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock

    async def open(self) -> int:
        # Milliseconds since 1970 rise from start to start, as epochs have to.
        return int(self._clock.now() * 1000)

    async def load(self) -> Sequence[JournalRow]:
        return ()

    async def append(self, epoch: int, rows: Sequence[JournalRow]) -> None:
        pass

    async def close(self) -> None:
        pass
