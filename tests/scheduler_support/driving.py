"""A scheduler machine with a hand on each of its levers: events by short names, commands kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from remex_core.digest import SHA256
from remex_core.platform import offer, requirement
from remex_core.scheduler import commands as do
from remex_core.scheduler import events as on
from remex_core.scheduler.options import SchedulerOptions
from remex_core.scheduler.policies.fifo import Fifo
from remex_core.scheduler.policies.least_recently_used import LeastRecentlyUsed
from remex_core.scheduler.state import SchedulerState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from remex_core.scheduler.policy import OrderPolicy, PlacementPolicy

C = TypeVar("C", bound=do.Command)


class Machine:
    """The machine, its time, and every command that it gave."""

    def __init__(
        self,
        options: SchedulerOptions | None = None,
        order: OrderPolicy | None = None,
        placement: PlacementPolicy | None = None,
    ) -> None:
        self.options = options or SchedulerOptions()
        self.state = SchedulerState(
            self.options, order or Fifo(), placement or LeastRecentlyUsed(), epoch=7
        )
        self.now = 1000.0
        self.all: list[do.Command] = []
        self.last: list[do.Command] = []
        self._submitted = 0

    def handle(self, event: on.Event) -> list[do.Command]:
        """Feeds one event, checks all invariants, and answers the commands."""
        self.last = self.state.handle(event, self.now)
        self.all += self.last
        self.state.validate()
        return self.last

    def submit(
        self,
        action: str = "a",
        *,
        skip: bool = False,
        cached: bool | None = False,
        merges: bool = True,
        instance: str = "",
        priority: int = 0,
        **properties: str,
    ) -> str:
        """A new operation for an action; its look-up, if any, is answered by `cached`.

        Answers the operation's name; with `cached=None` the look-up stays open.
        """
        self._submitted += 1
        operation, group = f"op{self._submitted}", f"group{self._submitted}"
        spec = on.ActionSpec(
            instance,
            SHA256.key_of(action.encode()),
            requirement((name.replace("__", "-"), value) for name, value in properties.items()),
            priority,
            merges=merges,
            looks_up=not (skip or not merges),
        )
        given = self.handle(on.Submitted(operation, group, spec))
        if cached is not None and do.LookUp(group) in given:
            given += self.handle(on.LookedUp(group, hit=cached, weight=1))
            self.last = given
        return operation

    def join(
        self,
        name: str = "w1",
        *,
        slots: int = 1,
        prefetch: int = 0,
        incarnation: str = "i1",
        instances: frozenset[str] = frozenset(),
        **properties: str,
    ) -> list[do.Command]:
        """A worker joins and states that it has nothing."""
        offered = offer((key.replace("__", "-"), value) for key, value in properties.items())
        given = self.handle(on.WorkerJoined(name, incarnation, offered, slots, prefetch, instances))
        given += self.handle(on.WorkerStated(name, incarnation))
        self.last = given
        return given

    def state_leases(
        self,
        name: str = "w1",
        leases: Mapping[str, on.LeaseState] | None = None,
        *,
        draining: bool = False,
        unhealthy: str = "",
    ) -> list[do.Command]:
        """A worker says what it holds."""
        incarnation = self.state.fleet.workers[name].incarnation
        return self.handle(on.WorkerStated(name, incarnation, leases or {}, draining, unhealthy))

    def complete(
        self,
        lease: do.Lease,
        *,
        succeeded: bool = True,
        culprit: on.Culprit = on.Culprit.NOBODY,
        revoked: bool = False,
        caches: bool = False,
        reason: str = "",
    ) -> list[do.Command]:
        """A worker delivers the result of a lease."""
        return self.handle(
            on.Completed(
                lease.worker,
                lease.incarnation,
                lease.lease,
                succeeded,
                culprit,
                revoked,
                caches,
                reason,
            )
        )

    def pass_time(self, seconds: float, lag: float = 0.0) -> list[do.Command]:
        """Time passes, and a tick comes."""
        self.now += seconds
        return self.handle(on.Tick(lag))

    def given(self, kind: type[C]) -> list[C]:
        """The commands of this kind that the last event brought."""
        return [command for command in self.last if isinstance(command, kind)]

    def lease(self) -> do.Lease:
        """The one lease that the last event brought."""
        (lease,) = self.given(do.Lease)
        return lease

    def finish(self) -> do.Finish:
        """The one ending that the last event brought."""
        (finish,) = self.given(do.Finish)
        return finish
