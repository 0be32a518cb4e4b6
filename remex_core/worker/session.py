"""The worker's side of the worker protocol: one stream after the other, the same beliefs.

Nothing is repeated because it was lost: what the worker holds is stated again and again, and
results are sent in every session until they are acknowledged. A broken stream changes nothing
for the actions that run.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from google.protobuf.timestamp_pb2 import Timestamp

from remex_core import __version__
from remex_core.errors import Code, FailedPrecondition, RemexError, Unavailable
from remex_core.proto import worker
from remex_core.wire.methods import WORKER_SESSION
from remex_core.wire.stub import Stub

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
    from random import Random

    from google.protobuf.duration_pb2 import Duration

    from remex_core.clock import Clock
    from remex_core.wire.transport import Channel
    from remex_core.worker.leases import Leases
    from remex_core.worker.options import Terms, WorkerOptions

log = logging.getLogger("remex.worker")

PROTOCOL_VERSION: Final = 1

_COALESCE_SECONDS: Final = 0.02
"""How long changes are gathered before they are stated; results are sent at once."""

_FIRST_DELAY: Final = 0.2
_LAST_DELAY: Final = 5.0
_WELCOME_SECONDS: Final = 30.0
_FAREWELL_SECONDS: Final = 2.0
_DEFAULT_INTERVAL: Final = 5.0
_DEFAULT_LEASE_TIMEOUT: Final = 60.0
_HEALING: Final = frozenset({worker.Refused.NAME_TAKEN, worker.Refused.NOT_LEADER})


class _Refused(Exception):
    """The scheduler does not want this session; `delay` is in seconds, None for its choice."""

    def __init__(self, refused: worker.Refused) -> None:
        super().__init__(refused.message)
        self.message = refused.message or worker.Refused.Reason.Name(refused.reason)
        self.reason = refused.reason
        self.delay = _seconds(refused.retry_after) if refused.HasField("retry_after") else None


class Session:
    """Keeps a worker in touch with its scheduler.

    Args:
        options: what the worker says of itself.
        connect: makes a channel to the scheduler.
        properties: finds the platform properties; asked again for every session.
        terms: where to note what the scheduler says.
        clock: the worker's.
        random: spreads the attempts of many workers to come back.
    """

    def __init__(
        self,
        options: WorkerOptions,
        connect: Callable[[], Awaitable[Channel]],
        properties: Callable[[], Awaitable[Mapping[str, Sequence[str]]]],
        terms: Terms,
        clock: Clock,
        random: Random,
    ) -> None:
        self._options = options
        self._connect = connect
        self._properties = properties
        self._terms = terms
        self._clock = clock
        self._random = random
        self._wake = asyncio.Event()
        self._changed_at: float | None = None
        self._drain = asyncio.Event()
        self._welcomed = asyncio.Event()
        self._welcome = worker.Welcome()
        self._sequence = 0
        self._round_trip = math.inf
        self._delay = _FIRST_DELAY
        self._trouble = ""

    @property
    def connected(self) -> bool:
        """Whether the scheduler has welcomed this worker, and the stream still stands."""
        return self._welcomed.is_set()

    @property
    def draining(self) -> bool:
        """Whether the worker takes nothing more."""
        return self._drain.is_set()

    def changed(self) -> None:
        """Says that what the worker holds has changed; it is stated soon."""
        if self._changed_at is None:
            self._changed_at = self._clock.monotonic()
            self._wake.set()

    def finished(self) -> None:
        """Says that a result waits; it is sent at once."""
        self._wake.set()

    def drain(self) -> None:
        """Takes no further leases, and leaves when none is held any more."""
        if not self.draining:
            log.info("worker %s drains: it takes nothing more", self._options.name)
        self._drain.set()
        self.changed()

    async def run(self, leases: Leases) -> None:
        """Talks to the scheduler until the worker has drained.

        Raises:
            FailedPrecondition: if the scheduler refuses the worker for good.
        """
        while not self._is_done(leases):
            try:
                await self._talk(leases)
            except _Refused as refused:
                self._note(refused.reason, f"refuses this worker: {refused.message}")
                if refused.delay is None and refused.reason not in _HEALING:
                    raise FailedPrecondition(
                        f"{self._options.scheduler} refuses the worker {self._options.name}: "
                        f"{refused.message}"
                    ) from None
                await self._pause(refused.delay)
            except (RemexError, OSError, TimeoutError) as error:
                if self._is_done(leases):
                    return
                code, why = _reason(error)
                self._note(code, f"cannot be reached: {why}")
                await self._pause(None)
            finally:
                self._welcomed.clear()

    def _is_done(self, leases: Leases) -> bool:
        return self.draining and not leases

    async def _talk(self, leases: Leases) -> None:
        """One session, to its end."""
        properties = await self._properties()
        channel = await self._connect()
        try:
            leases.begin_session()
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(_WELCOME_SECONDS) as patience:
                outgoing = self._outgoing(properties, leases)
                async with aclosing(Stub(channel).stream(WORKER_SESSION, outgoing)) as incoming:
                    async for message in incoming:
                        self._receive(message, leases)
                        patience.reschedule(loop.time() + self._silence(leases))
            if not self._is_done(leases):
                raise Unavailable("it ended the session")
        finally:
            await channel.close()

    def _silence(self, leases: Leases) -> float:
        """How long the scheduler may say nothing before the stream counts as broken, in seconds."""
        if self._is_done(leases):
            return _FAREWELL_SECONDS
        return _seconds(self._welcome.lease_timeout) or _DEFAULT_LEASE_TIMEOUT

    async def _outgoing(
        self, properties: Mapping[str, Sequence[str]], leases: Leases
    ) -> AsyncGenerator[worker.FromWorker]:
        """What this worker says in one session; ends when it has drained."""
        yield worker.FromWorker(hello=self._hello(properties))
        await self._welcomed.wait()
        interval = _seconds(self._welcome.statement_interval) or _DEFAULT_INTERVAL
        sent: set[str] = set()
        due = self._clock.monotonic()
        while True:
            self._wake.clear()
            for result in leases.results(but=sent):
                sent.add(result.lease_id)
                yield worker.FromWorker(result=result)
            now = self._clock.monotonic()
            if self._changed_at is not None:
                due = min(due, self._changed_at + _COALESCE_SECONDS)
            leaving = self._is_done(leases)
            if now >= due or leaving:
                self._changed_at = None
                due = now + interval
                yield worker.FromWorker(statement=self._statement(leases))
            if leaving:
                return
            await _wait(self._wake, max(0.0, due - now))

    def _hello(self, properties: Mapping[str, Sequence[str]]) -> worker.Hello:
        options = self._options
        return worker.Hello(
            protocol_version=PROTOCOL_VERSION,
            name=options.name,
            incarnation=options.incarnation,
            software_version=__version__,
            join_token=options.join_token,
            properties=[
                worker.Property(name=name, value=value)
                for name, values in properties.items()
                for value in values
            ],
            slots=options.slots,
            prefetch=options.prefetch,
            instances=options.instances,
            sent_at=self._now(),
        )

    def _statement(self, leases: Leases) -> worker.Statement:
        self._sequence += 1
        return worker.Statement(
            sequence=self._sequence,
            leases=leases.state(self._sequence),
            draining=self.draining,
            slots=self._options.slots,
            sent_at=self._now(),
        )

    def _receive(self, message: worker.FromScheduler, leases: Leases) -> None:
        kind = message.WhichOneof("message")
        if kind == "welcome":
            self._be_welcomed(message.welcome)
        elif kind == "refused":
            raise _Refused(message.refused)
        elif kind == "lease":
            # One that crossed the news of the drain is not taken; no statement will name it.
            if not self.draining:
                leases.take(message.lease)
        elif kind == "revoke":
            leases.revoke(message.revoke)
        elif kind == "acknowledge":
            leases.acknowledge(message.acknowledge.lease_id)
        elif kind == "belief":
            self._measure(message.belief.echoed_at, message.belief.sent_at)
            leases.believe(message.belief)
            if message.belief.drain:
                self.drain()

    def _be_welcomed(self, welcome: worker.Welcome) -> None:
        self._welcome = welcome
        self._terms.max_inline_result_bytes = (
            welcome.max_inline_result_bytes or self._terms.max_inline_result_bytes
        )
        self._round_trip = math.inf
        self._measure(welcome.echoed_at, welcome.sent_at)
        self._delay = _FIRST_DELAY
        self._trouble = ""
        log.info(
            "worker %s has joined %s (epoch %d)",
            self._options.name,
            self._options.scheduler,
            welcome.epoch,
        )
        self._welcomed.set()

    def _measure(self, echoed: Timestamp, sent: Timestamp) -> None:
        """Takes the offset between the clocks from an answer, if it was a quick one."""
        if not echoed.ToNanoseconds():
            return
        asked, now = echoed.ToNanoseconds() / 1e9, self._clock.now()
        # An old measurement slowly gives way to newer ones, since clocks drift.
        self._round_trip *= 1.1
        if now - asked <= self._round_trip:
            self._round_trip = now - asked
            self._terms.offset = sent.ToNanoseconds() / 1e9 - (asked + now) / 2

    def _now(self) -> Timestamp:
        timestamp = Timestamp()
        timestamp.FromNanoseconds(int(self._clock.now() * 1e9))
        return timestamp

    def _note(self, kind: object, what: str) -> None:
        """Logs trouble once, until it changes or ends."""
        if self._trouble != str(kind):
            self._trouble = str(kind)
            log.warning(
                "%s %s Worker %s goes on trying, at least every %.0f s.",
                self._options.scheduler,
                what if what.endswith((".", "!", "?")) else f"{what}.",
                self._options.name,
                _LAST_DELAY,
            )

    async def _pause(self, wanted: float | None) -> None:
        """Waits before the next attempt: as long as was asked for, or ever longer."""
        delay = self._delay * self._random.uniform(0.5, 1.0)
        self._delay = min(self._delay * 2, _LAST_DELAY)
        if self.draining:
            await asyncio.sleep(delay)
        else:
            await _wait(self._drain, delay if wanted is None else wanted)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Waits for the event, but not longer than `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


def _seconds(duration: Duration) -> float:
    return duration.ToNanoseconds() / 1e9


def _reason(error: Exception) -> tuple[object, str]:
    if isinstance(error, RemexError) and error.status_code == Code.UNIMPLEMENTED:
        what = "a server is there, but no scheduler's port for workers"
        return error.status_code, f"{what}. Give that port with --scheduler; it is 8981 by default."
    if isinstance(error, RemexError):
        return error.status_code, error.message
    if isinstance(error, TimeoutError):
        return "silence", "it says nothing"
    return type(error), str(error)
