"""Who comes next, and who gets it: order, capacity, fetching ahead, and what nobody can run."""

from __future__ import annotations

import pytest

from remex_core.errors import Code
from remex_core.platform import Kind, MatchRules
from remex_core.scheduler import commands as do
from remex_core.scheduler import events as on
from remex_core.scheduler.options import SchedulerOptions
from scheduler_support.driving import Machine


@pytest.fixture
def machine() -> Machine:
    return Machine()


def leased(machine: Machine) -> list[tuple[str, str]]:
    return [(each.group, each.worker) for each in machine.given(do.Lease)]


def test_first_come_first_served_across_requirements(machine: Machine) -> None:
    """Of several requirements that a worker can satisfy, the action that waits longest is next."""
    machine.join("w1", OSFamily="linux", Pool="a")
    machine.submit("running")
    lease = machine.lease()
    machine.submit("first", Pool="a")
    machine.now += 1
    machine.submit("second", OSFamily="linux")
    machine.now += 1
    machine.submit("third", Pool="a")
    order = []
    for _ in range(3):
        machine.complete(lease)
        lease = machine.lease()
        order.append(lease.group)
    assert ["group2", "group3", "group4"] == order


def test_urgent_before_early(machine: Machine) -> None:
    """EXE-31: a lower priority number is sooner."""
    machine.join()
    machine.submit("running")
    lease = machine.lease()
    machine.submit("early")
    machine.submit("impossible", priority=-2, OSFamily="linux")
    machine.submit("urgent", priority=-1)
    machine.complete(lease)
    assert "group4" == machine.lease().group


def test_action_that_comes_back_stands_where_it_stood(machine: Machine) -> None:
    """EXE-26: a lost attempt does not cost the place in the queue."""
    machine.join("w1")
    machine.submit("first")
    machine.now += 1
    machine.submit("second")
    machine.now += 1
    machine.handle(on.WorkerLost("w1", "i1", "it burnt"))
    machine.join("w2")
    assert [("group1", "w2")] == leased(machine)


def test_only_matching_workers(machine: Machine) -> None:
    """ACT-13: an action runs where its platform properties are offered."""
    machine.join("w1", OSFamily="linux")
    machine.join("w2", OSFamily="macos")
    machine.submit(OSFamily="macos")
    assert [("group1", "w2")] == leased(machine)


def test_only_workers_that_serve_the_instance(machine: Machine) -> None:
    """A worker with a list of instances runs actions of those only."""
    machine.join("w1", instances=frozenset({"main"}))
    machine.submit("a", instance="other")
    assert [] == leased(machine)
    machine.submit("b", instance="main")
    assert [("group2", "w1")] == leased(machine)


def test_least_recently_used_worker_is_next(machine: Machine) -> None:
    """The default placement spreads actions over the workers."""
    for name in ("w1", "w2", "w3"):
        machine.join(name, slots=2)
    order = []
    for number in range(6):
        machine.now += 1
        machine.submit(f"action {number}")
        order.append(machine.lease().worker)
    assert ["w1", "w2", "w3", "w1", "w2", "w3"] == order


def test_minimum_properties_are_used_up(machine: Machine) -> None:
    """A worker's cores are taken by the actions that run on it, and come back."""
    machine.join("w1", slots=8, cpu_count="4")
    machine.submit("a", cpu_count="3")
    first = machine.lease()
    machine.submit("b", min__cores="2")
    assert [] == leased(machine)
    machine.submit("c", cpu_count="1")
    assert [("group3", "w1")] == leased(machine)
    machine.complete(first)
    assert [("group2", "w1")] == leased(machine)


def test_wished_for_worker_comes_first() -> None:
    """A `priority` property prefers workers, and excludes none."""
    rules = MatchRules({"zone": Kind.PRIORITY})
    machine = Machine(SchedulerOptions(rules=rules))
    machine.join("w1", zone="a")
    machine.join("w2", zone="b")
    machine.submit("first", zone="b")
    assert [("group1", "w2")] == leased(machine)
    machine.submit("second", zone="b")
    assert [("group2", "w1")] == leased(machine)


def test_nothing_is_fetched_ahead_while_a_slot_is_free(machine: Machine) -> None:
    """An action that could start elsewhere does not wait behind another."""
    machine.join("w1", prefetch=1)
    machine.join("w2", prefetch=1)
    workers = []
    for number in range(4):
        machine.now += 1
        machine.submit(f"action {number}")
        workers.append(machine.lease().worker)
    assert [["w1", "w2"], ["w1", "w2"]] == [sorted(workers[:2]), sorted(workers[2:])]
    machine.submit("one too many")
    assert [] == leased(machine)


def test_idle_worker_takes_what_waits_elsewhere(machine: Machine) -> None:
    """What was only fetched ahead is asked back for a worker that could start it."""
    machine.join("w1", prefetch=1)
    machine.submit("running")
    running = machine.lease()
    machine.submit("waiting")
    waiting = machine.lease()
    machine.join("w2")
    assert [(waiting.lease, False)] == [
        (each.lease, each.kill) for each in machine.given(do.Revoke)
    ]
    machine.complete(waiting, succeeded=False, revoked=True)
    assert [("group2", "w2")] == leased(machine)
    assert not machine.state.groups["group2"].bad_workers
    assert "w1" == running.worker


def test_what_has_started_is_not_asked_back(machine: Machine) -> None:
    """A lease that became a process stays where it is."""
    machine.join("w1", prefetch=1)
    machine.submit("running")
    running = machine.lease()
    machine.submit("waiting")
    waiting = machine.lease()
    machine.state_leases(
        leases={running.lease: on.LeaseState.UPLOADING, waiting.lease: on.LeaseState.RUNNING}
    )
    machine.join("w2")
    assert [] == machine.given(do.Revoke)


def test_no_more_is_asked_back_than_can_start(machine: Machine) -> None:
    """One idle slot takes one action; the others keep their places."""
    machine.join("w1", prefetch=3)
    for number in range(4):
        machine.submit(f"action {number}")
    machine.join("w2")
    assert 1 == len(machine.given(do.Revoke))
    machine.state_leases("w2")
    assert [] == machine.given(do.Revoke)


def test_freed_slot_is_for_what_waits_there(machine: Machine) -> None:
    """When a slot becomes free, what was fetched ahead on that worker is no longer for others."""
    machine.join("w1", prefetch=1)
    machine.submit("running")
    running = machine.lease()
    machine.submit("waiting")
    machine.complete(running)
    machine.join("w2")
    assert [] == machine.given(do.Revoke)


def test_unsatisfiable_action_is_refused_after_a_grace(machine: Machine) -> None:
    """EXE-19: a known property that nobody has is FAILED_PRECONDITION, and the nearest is named."""
    machine.join("w3", OSFamily="linux", container__image="debian:11")
    machine.join("w9", OSFamily="macos")
    operation = machine.submit(OSFamily="linux", container__image="debian:12")
    machine.pass_time(10)
    assert not machine.given(do.Finish)
    machine.state_leases("w3")
    machine.state_leases("w9")
    machine.pass_time(21)
    finish = machine.finish()
    assert ((operation,), Code.FAILED_PRECONDITION) == (finish.operations, finish.code)
    assert (
        "Nothing can run this action: it needs container-image=debian:12; "
        "the nearest worker, w3, offers container-image=debian:11."
    ) == finish.message
    assert (
        "Start a worker with --property container-image=debian:12, "
        "or change the target's exec_properties."
    ) == finish.explanation


def test_unknown_property_is_refused_as_such(machine: Machine) -> None:
    """EXE-18: a name that nobody knows is INVALID_ARGUMENT, with the one that was meant."""
    machine.join("w1", OSFamily="linux")
    machine.submit(OsFamily="linux")
    machine.pass_time(31)
    finish = machine.finish()
    assert Code.INVALID_ARGUMENT is finish.code
    assert "OsFamily" in finish.message
    assert "Did you mean OSFamily?" in finish.explanation


def test_name_that_a_worker_once_had_is_known(machine: Machine) -> None:
    """EXE-18, EXE-19: a name is known for good once some worker has offered it."""
    machine.join("w1", rack="7")
    machine.handle(on.WorkerLost("w1", "i1", "it left"))
    machine.join("w2")
    machine.submit(rack="7")
    machine.pass_time(29)
    machine.state_leases("w2")
    machine.pass_time(2)
    assert Code.FAILED_PRECONDITION is machine.finish().code


def test_nobody_at_all_is_told(machine: Machine) -> None:
    """EXE-19: without workers, the message says how to start one."""
    machine.submit()
    machine.pass_time(31)
    assert "no worker is connected" in machine.finish().message
    assert "remex serve --role worker" in machine.finish().explanation


def test_nobody_for_the_instance_is_told(machine: Machine) -> None:
    """EXE-19: workers that serve other instances are no help, and the message says so."""
    machine.join("w1", instances=frozenset({"main"}))
    machine.submit(instance="other")
    machine.now += 20
    machine.state_leases("w1")
    machine.pass_time(11)
    assert "no worker serves the instance 'other'" in machine.finish().message


def test_worker_that_comes_in_time_saves_the_action(machine: Machine) -> None:
    """EXE-19: the grace is for workers that are about to start."""
    machine.submit(Pool="big")
    machine.pass_time(29)
    machine.join("w1", Pool="big")
    machine.lease()


def test_grace_begins_when_the_last_worker_is_gone(machine: Machine) -> None:
    """EXE-19: an action that waited for a busy worker is not refused the moment that one leaves."""
    machine.join("w1")
    machine.submit("running")
    machine.submit("waiting")
    for _ in range(4):
        machine.now += 20
        machine.state_leases(leases={"group1.7.1": on.LeaseState.RUNNING})
    machine.handle(on.WorkerLost("w1", "i1", "it burnt"))
    machine.pass_time(29)
    assert not machine.given(do.Finish)
    machine.pass_time(2)
    assert 2 == len(machine.given(do.Finish))


def test_busy_workers_are_waited_for(machine: Machine) -> None:
    """EXE-20: an action that somebody could run waits as long as it takes."""
    machine.join("w1")
    machine.submit("running")
    machine.submit("waiting")
    for _ in range(100):
        machine.now += 20
        machine.state_leases(leases={"group1.7.1": on.LeaseState.RUNNING})
        machine.pass_time(0)
        assert not machine.given(do.Finish)


def test_shapes_are_forgotten(machine: Machine) -> None:
    """A client that asks for ever new properties does not fill the memory."""
    machine.join("w1")
    for number in range(1000):
        machine.submit(f"action {number}", Pool=str(number))
        machine.handle(on.Cancelled(f"op{number + 1}"))
    assert len(machine.state.fleet.shapes) < 100
