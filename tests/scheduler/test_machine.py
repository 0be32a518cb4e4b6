"""The machine under everything that can happen, in any order."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from remex_core.digest import SHA256
from remex_core.platform import MatchRules, offer, requirement
from remex_core.scheduler import commands as do
from remex_core.scheduler import events as on
from remex_core.scheduler.options import SchedulerOptions
from scheduler_support.driving import Machine

RULES = MatchRules()
OPTIONS = SchedulerOptions(
    max_attempts=3,
    max_cas_failures=3,
    lease_timeout=30.0,
    unsatisfiable_grace=60.0,
    retain_seconds=100.0,
    retain_operations=5,
    touch_interval=40.0,
)
WORKERS = {
    "w1": offer([("OSFamily", "linux"), ("cpu_count", "4")]),
    "w2": offer([("OSFamily", "linux"), ("Pool", "big"), ("cpu_count", "2")]),
    "w3": offer([("OSFamily", "macos")]),
}
PLATFORMS: tuple[dict[str, str], ...] = (
    {},
    {"OSFamily": "linux"},
    {"OSFamily": "macos"},
    {"OSFamily": "linux", "cpu_count": "2"},
    {"Pool": "big"},
    {"OSFamily": "windows"},
)
names = st.sampled_from(sorted(WORKERS))
seldom = st.sampled_from((*[False] * 9, True))
"""Calamities that come too often keep everything else from happening."""


culprits = st.sampled_from((*[on.Culprit.NOBODY] * 4, *on.Culprit))


@dataclass(slots=True)
class SimulatedWorker:
    """What a worker process knows, which is not always what the scheduler believes."""

    incarnation: int = 0
    is_connected: bool = False
    has_stated: bool = False
    draining: bool = False
    held: dict[str, on.LeaseState] = field(default_factory=dict)
    results: dict[str, on.Completed] = field(default_factory=dict)


class SchedulerMachine(RuleBasedStateMachine):
    """Clients, workers and time do what they like; the promises hold after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine(OPTIONS)
        self.workers = {name: SimulatedWorker() for name in WORKERS}
        self.live: dict[str, str] = {}
        self.look_ups: list[str] = []
        self.stores: list[str] = []
        self.requirements: dict[str, on.ActionSpec] = {}
        self.attempts: dict[str, int] = {}

    # What comes out.

    def feed(self, event: on.Event) -> None:
        """Gives an event to the machine, and its commands to everybody."""
        persisted: set[tuple[do.FactKind, str]] = set()
        for command in self.machine.handle(event):
            match command:
                case do.LookUp():
                    self.look_ups.append(command.group)
                case do.Store():
                    self.stores.append(command.group)
                case do.Persist():
                    persisted |= {(fact.kind, fact.group) for fact in command.facts}
                case do.Lease():
                    assert (do.FactKind.LEASED, command.group) in persisted
                    self.leased(command)
                case do.Revoke():
                    self.revoked(command)
                case do.Acknowledge():
                    assert command.lease not in self.machine.state.storing, "not safe yet"
                    worker = self.workers[command.worker]
                    if str(worker.incarnation) == command.incarnation and worker.is_connected:
                        worker.results.pop(command.lease, None)
                        worker.held.pop(command.lease, None)
                case do.Finish():
                    if command.ending is not do.Ending.CACHED:
                        assert (do.FactKind.FINISHED, command.group) in persisted
                    for operation in command.operations:
                        # Told exactly once, and only who was not told before.
                        del self.live[operation]
                case do.Dismiss():
                    self.workers[command.worker].is_connected = False

    def leased(self, command: do.Lease) -> None:
        worker = self.workers[command.worker]
        spec = self.requirements[command.group]
        assert command.attempt == self.attempts.get(command.group, 0) + 1
        self.attempts[command.group] = command.attempt
        assert RULES.differences(spec.requirement, WORKERS[command.worker]) == ()
        assert str(worker.incarnation) == command.incarnation
        assert worker.is_connected
        assert worker.has_stated
        assert not worker.draining
        worker.held[command.lease] = on.LeaseState.ASSIGNED

    def revoked(self, command: do.Revoke) -> None:
        worker = self.workers[command.worker]
        state = worker.held.get(command.lease)
        if not worker.is_connected or state is None or state is on.LeaseState.DONE:
            return
        if command.kill or state < on.LeaseState.RUNNING:
            self.end(command.worker, command.lease, succeeded=False, revoked=True)

    def end(self, name: str, lease: str, **how: bool | on.Culprit) -> None:
        """A worker's process is done with a lease; its result waits to be sent."""
        worker = self.workers[name]
        worker.held[lease] = on.LeaseState.DONE
        worker.results[lease] = on.Completed(name, str(worker.incarnation), lease, **how)  # type: ignore[arg-type]

    @property
    def has_leases(self) -> bool:
        """Whether some worker has something."""
        return any(worker.held for worker in self.workers.values())

    # Clients.

    @rule(
        action=st.integers(0, 3),
        platform=st.sampled_from(PLATFORMS),
        skip=seldom,
        merges=st.sampled_from((True, True, False)),
        priority=st.integers(-1, 1),
        at_once=st.booleans(),
    )
    def submit(
        self,
        action: int,
        platform: dict[str, str],
        skip: bool,
        merges: bool,
        priority: int,
        at_once: bool,
    ) -> None:
        number = len(self.requirements) + 1
        operation, group = f"op{number}", f"group{number}"
        self.live[operation] = group
        spec = on.ActionSpec(
            "",
            SHA256.key_of(f"{action} {sorted(platform.items())}".encode()),
            requirement(platform.items()),
            priority,
            merges=merges,
            looks_up=merges and not skip,
        )
        self.requirements[group] = spec
        self.feed(on.Submitted(operation, group, spec))
        if self.look_ups and at_once:
            self.feed(on.LookedUp(self.look_ups.pop(), hit=False))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.feed(on.Cancelled(data.draw(st.sampled_from(sorted(self.live)))))

    @precondition(lambda self: self.live)
    @rule(data=st.data(), really=seldom)
    def forget(self, data: st.DataObject, really: bool) -> None:
        if really:
            self.feed(on.Forgotten(data.draw(st.sampled_from(sorted(self.live)))))

    @precondition(lambda self: self.look_ups)
    @rule(data=st.data(), hit=seldom)
    def look_up(self, data: st.DataObject, hit: bool) -> None:
        group = data.draw(st.sampled_from(self.look_ups))
        self.look_ups.remove(group)
        self.feed(on.LookedUp(group, hit, weight=10))

    @precondition(lambda self: self.stores)
    @rule(data=st.data())
    def store(self, data: st.DataObject) -> None:
        group = data.draw(st.sampled_from(self.stores))
        self.stores.remove(group)
        self.feed(on.Stored(group))

    # Workers.

    @initialize()
    def first_workers(self) -> None:
        for name in WORKERS:
            self.connect(name, anew=True)
            self.state_leases(name)

    @rule(name=names, anew=seldom)
    def reconnect(self, name: str, anew: bool) -> None:
        if anew or not self.workers[name].is_connected or self.workers[name].draining:
            self.connect(name, anew or self.workers[name].draining)
            self.state_leases(name)

    def connect(self, name: str, anew: bool) -> None:
        worker = self.workers[name]
        if anew or not worker.incarnation:
            worker.incarnation += 1
            worker.held, worker.results, worker.draining = {}, {}, False
        worker.is_connected, worker.has_stated = True, False
        self.feed(
            on.WorkerJoined(name, str(worker.incarnation), WORKERS[name], slots=2, prefetch=1)
        )

    @rule(name=names, really=seldom)
    def disconnect(self, name: str, really: bool) -> None:
        worker = self.workers[name]
        if worker.is_connected and really:
            worker.is_connected = worker.has_stated = False
            self.feed(on.WorkerDisconnected(name, str(worker.incarnation)))

    @rule(name=names, draining=seldom)
    def state_leases(self, name: str, draining: bool = False) -> None:
        worker = self.workers[name]
        if not worker.is_connected:
            return
        worker.draining = worker.draining or draining
        worker.has_stated = True
        self.feed(
            on.WorkerStated(name, str(worker.incarnation), dict(worker.held), worker.draining)
        )

    @precondition(lambda self: self.has_leases)
    @rule(name=names)
    def deliver(self, name: str) -> None:
        """A worker sends what it has not been thanked for, again and again."""
        worker = self.workers[name]
        for result in list(worker.results.values()) if worker.is_connected else ():
            self.feed(result)

    @precondition(lambda self: self.has_leases)
    @rule(name=names, data=st.data())
    def progress(self, name: str, data: st.DataObject) -> None:
        worker = self.workers[name]
        held = [lease for lease, state in worker.held.items() if state < on.LeaseState.UPLOADING]
        if held:
            lease = data.draw(st.sampled_from(held))
            worker.held[lease] = on.LeaseState(worker.held[lease] + 1)

    @precondition(lambda self: self.has_leases)
    @rule(data=st.data(), culprit=culprits, caches=st.booleans())
    def finish(self, data: st.DataObject, culprit: on.Culprit, caches: bool) -> None:
        """A process comes to its end; half of the time the scheduler hears of it at once."""
        held = [
            (name, lease)
            for name, worker in self.workers.items()
            for lease, state in worker.held.items()
            if state < on.LeaseState.DONE
        ]
        if held:
            name, lease = data.draw(st.sampled_from(held))
            succeeded = culprit is on.Culprit.NOBODY
            self.end(name, lease, succeeded=succeeded, culprit=culprit, caches=caches and succeeded)
            if data.draw(st.booleans()):
                self.deliver(name)

    @precondition(lambda self: self.has_leases)
    @rule(name=names)
    def fail(self, name: str) -> None:
        """A worker that is broken fails everything that it is given."""
        for _ in range(2):
            for lease, state in list(self.workers[name].held.items()):
                if state < on.LeaseState.DONE:
                    self.end(name, lease, succeeded=False, culprit=on.Culprit.WORKER)
            self.deliver(name)

    @precondition(lambda self: self.has_leases)
    @rule(name=names, data=st.data(), really=seldom)
    def drop(self, name: str, data: st.DataObject, really: bool) -> None:
        """A worker forgets a lease, as a broken one may."""
        worker = self.workers[name]
        held = [lease for lease in worker.held if lease not in worker.results]
        if held and really:
            del worker.held[data.draw(st.sampled_from(held))]

    @rule(name=names, really=seldom)
    def lose(self, name: str, really: bool) -> None:
        if not really:
            return
        worker = self.workers[name]
        self.feed(on.WorkerLost(name, str(worker.incarnation), "it was unplugged"))
        worker.is_connected = False

    @rule(name=names, really=seldom)
    def drain(self, name: str, really: bool) -> None:
        if not really:
            return
        if name in self.machine.state.fleet.workers:
            self.workers[name].draining = True
        self.feed(on.DrainRequested(name))

    # Time.

    @rule(
        seconds=st.sampled_from((0.1, 0.5, 1.0, 2.0, 6.0, 35.0)),
        lag=st.sampled_from((0.0, 0.0, 40.0)),
    )
    def pass_time(self, seconds: float, lag: float) -> None:
        self.machine.now += seconds
        self.feed(on.Tick(lag))

    @invariant()
    def no_operation_is_lost(self) -> None:
        """Whoever was not told of an end belongs to a group that will come to one."""
        state = self.machine.state
        waiting = {name for group in state.groups.values() for name in group.operations}
        assert waiting == set(self.live)
        for group in state.groups.values():
            assert group.failures < OPTIONS.max_attempts
            assert group.cas_failures < OPTIONS.max_cas_failures

    def teardown(self) -> None:
        """Once everything works, every operation comes to its end."""
        for _ in range(200):
            if not self.live:
                return
            while self.look_ups:
                self.feed(on.LookedUp(self.look_ups.pop(), hit=False))
            while self.stores:
                self.feed(on.Stored(self.stores.pop()))
            for name, worker in self.workers.items():
                if worker.draining or not worker.is_connected:
                    self.connect(name, anew=worker.draining)
                self.state_leases(name)
                for lease, state in list(worker.held.items()):
                    if state is not on.LeaseState.DONE:
                        self.end(name, lease, succeeded=True)
                self.deliver(name)
            self.pass_time(3.0, 0.0)
        raise AssertionError(f"never told: {self.live}")


SchedulerMachine.TestCase.settings = settings(
    max_examples=200, stateful_step_count=80, deadline=None
)
TestSchedulerMachine = SchedulerMachine.TestCase
