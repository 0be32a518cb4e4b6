"""How many actions a whole remex runs in a second, and what it adds to each one."""

from __future__ import annotations

import asyncio
from statistics import median
from typing import TYPE_CHECKING, Final

from remex_core.bench.figure import Figure
from remex_core.client import connect
from remex_core.client.actions import Command
from remex_core.clock import SYSTEM
from remex_core.testing.processes import all_in_one

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from remex_core.client import RemoteClient
    from remex_core.digest import Key

_IN_FLIGHT: Final = 16
_ALONE: Final = 0.1


async def actions(directory: Path, *, count: int, rounds: int) -> Sequence[Figure]:
    """`true` as an action, in all-in-one mode: many at once by rate, one by one by delay.

    The delay is what the client waits for one action, from Execute to the result, less the time
    that the process itself ran. The actions are uploaded before, and none is like another.
    """
    with all_in_one(directory) as cluster:
        async with connect(cluster.endpoint) as client:
            await _delays(client, await _prepared(client, 10))  # connects, and imports what is late
            rates = [await _rate(client, await _prepared(client, count)) for _ in range(rounds)]
            alone = await _prepared(client, max(10, int(count * _ALONE)))
            delays = await _delays(client, alone)
    return (
        Figure(f"no-op actions, {_IN_FLIGHT} at once", median(rates), "/s", at_least=100),
        Figure("around one no-op action, median", median(delays) * 1000, "ms", at_most=15),
    )


async def _prepared(client: RemoteClient, count: int) -> Sequence[Key]:
    """As many different actions, all uploaded."""
    made = [
        client.prepare(
            Command(
                ("true",),
                environment={"PATH": "/usr/bin:/bin"},
                salt=f"{SYSTEM.monotonic()} {number}".encode(),
            )
        )
        for number in range(count)
    ]
    await client.upload_many({key: data for each in made for key, data in each.blobs.items()})
    return [each.action for each in made]


async def _rate(client: RemoteClient, actions: Sequence[Key]) -> float:
    room = asyncio.Semaphore(_IN_FLIGHT)

    async def one(action: Key) -> None:
        async with room:
            await client.finish(action)

    started = SYSTEM.monotonic()
    await asyncio.gather(*map(one, actions))
    return len(actions) / (SYSTEM.monotonic() - started)


async def _delays(client: RemoteClient, actions: Sequence[Key]) -> Sequence[float]:
    """For each action, the seconds that were not its process's own."""
    delays = []
    for action in actions:
        started = SYSTEM.monotonic()
        finished = await client.finish(action)
        waited = SYSTEM.monotonic() - started
        metadata = finished.result.execution_metadata
        ran = (
            metadata.execution_completed_timestamp.ToNanoseconds()
            - metadata.execution_start_timestamp.ToNanoseconds()
        )
        delays.append(waited - ran / 1e9)
    return delays
