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

    The number of messages is bounded by the worker's leases: beliefs replace each other, and
    everything else is about a lease.
    """

    def __init__(self, name: str, incarnation: str, hello: protocol.Hello) -> None:
        self.name = name
        self.incarnation = incarnation
        self.hello = hello
        self.statement = protocol.Statement()
        self.heard_at = 0.0
        self.ended = ""
        self._messages: deque[protocol.FromScheduler] = deque()
        self._wake = asyncio.Event()

    def send(self, message: protocol.FromScheduler) -> None:
        """Puts a message on its way."""
        self._messages.append(message)
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
            if self.ended:
                return
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

    def remove(self, connection: Connection) -> None:
        """Forgets a session, unless a newer one of the same worker has taken its place."""
        if self._open.get(connection.name) is connection:
            del self._open[connection.name]

    def all(self) -> list[Connection]:
        """Every open session."""
        return list(self._open.values())
