"""The worker sessions that are open now, and what is on its way to each."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from remex_core.proto import worker as protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Connection:
    """One open session: messages to its worker, in order.

    Their number is bounded by the worker's leases: of beliefs only the newest is kept, and
    everything else is about a lease. `heard_at` is when the worker last said something, in Unix
    seconds; `is_leaving` whether its newest statement says that it drains and holds nothing.
    """

    def __init__(self, name: str, incarnation: str, heard_at: float) -> None:
        self.name = name
        self.incarnation = incarnation
        self.heard_at = heard_at
        self.is_leaving = False
        self.ended = ""
        self._messages: deque[protocol.FromScheduler] = deque()
        self._belief: protocol.FromScheduler | None = None
        self._wake = asyncio.Event()

    def send(self, message: protocol.FromScheduler) -> None:
        """Puts a message on its way."""
        self._messages.append(message)
        self._wake.set()

    def believe(self, belief: protocol.Belief) -> None:
        """Puts a belief on its way, in place of an older one that is not sent yet."""
        self._belief = protocol.FromScheduler(belief=belief)
        self._wake.set()

    def end(self, reason: str) -> None:
        """Ends the session once everything that was sent is out."""
        self.ended = self.ended or reason or "the session ended"
        self._wake.set()

    async def outgoing(self) -> AsyncGenerator[protocol.FromScheduler]:
        """The messages to the worker, until the session ends."""
        while True:
            while self._messages:
                yield self._messages.popleft()
            belief, self._belief = self._belief, None
            if belief is not None:
                yield belief
            elif self.ended:
                return
            else:
                self._wake.clear()
                await self._wake.wait()


class Connections:
    """Open sessions by worker name."""

    def __init__(self) -> None:
        self._open: dict[str, Connection] = {}

    def get(self, name: str, incarnation: str | None = None) -> Connection | None:
        """The open session of this worker, of this incarnation if one is given."""
        connection = self._open.get(name)
        if connection is None or incarnation not in {None, connection.incarnation}:
            return None
        return connection

    def add(self, connection: Connection) -> None:
        """Notes an open session; an older one of the same worker ends."""
        older = self._open.get(connection.name)
        if older is not None:
            older.end("the worker opened another session")
        self._open[connection.name] = connection

    def remove(self, connection: Connection) -> bool:
        """Forgets a session; False if a newer one of the same worker has taken its place."""
        if self._open.get(connection.name) is not connection:
            return False
        del self._open[connection.name]
        return True

    def all(self) -> list[Connection]:
        """Every open session."""
        return list(self._open.values())
