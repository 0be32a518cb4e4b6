"""What the machine does with workers: leases, results, losses, and what they say of themselves."""

from __future__ import annotations

import pytest

from remex_core.errors import Code
from remex_core.scheduler import commands as do
from remex_core.scheduler import events as on
from remex_core.scheduler.options import SchedulerOptions
from scheduler_support.driving import Machine

RUNNING = on.LeaseState.RUNNING


@pytest.fixture
def machine() -> Machine:
    return Machine()


def stages(machine: Machine) -> list[do.Stage]:
    return [each.stage for each in machine.given(do.Publish)]


def test_lease_carries_its_attempt(machine: Machine) -> None:
    """An attempt is the group, the how-manieth try, and the epoch of the scheduler."""
    machine.join()
    machine.submit()
    assert do.Lease("w1", "i1", "group1.7.1", "group1", 1) == machine.lease()


def test_worker_is_given_nothing_before_it_has_spoken(machine: Machine) -> None:
    """What a worker still holds from before must be known first."""
    machine.submit()
    machine.handle(on.WorkerJoined("w1", "i1", {}, slots=1))
    assert not machine.given(do.Lease)
    machine.state_leases()
    machine.lease()


def test_running_is_published(machine: Machine) -> None:
    """EXE-02: the stage is EXECUTING when the process has started."""
    machine.join()
    machine.submit()
    lease = machine.lease()
    machine.state_leases(leases={lease.lease: on.LeaseState.FETCHING})
    assert [] == stages(machine)
    machine.state_leases(leases={lease.lease: RUNNING})
    assert [do.Stage.EXECUTING] == stages(machine)
    machine.state_leases(leases={lease.lease: on.LeaseState.UPLOADING})
    assert [] == stages(machine)


def test_silent_worker_is_lost_and_its_action_goes_elsewhere(machine: Machine) -> None:
    """EXE-05, EXE-26: after the lease timeout the stage goes back, and another worker runs it."""
    machine.join("w1")
    machine.submit()
    lease = machine.lease()
    machine.state_leases("w1", {lease.lease: RUNNING})
    machine.now += 20
    machine.join("w2")
    machine.pass_time(11)
    assert [do.Stage.QUEUED] == stages(machine)
    assert ("w2", 2) == (machine.lease().worker, machine.lease().attempt)
    assert ["w1"] == [each.worker for each in machine.given(do.Dismiss)]


def test_statement_keeps_a_worker(machine: Machine) -> None:
    """A worker that speaks in time keeps its leases."""
    machine.join()
    machine.submit()
    lease = machine.lease()
    for _ in range(5):
        machine.now += 25
        machine.state_leases(leases={lease.lease: RUNNING})
        machine.pass_time(0)
        assert not machine.given(do.Dismiss)


def test_own_delay_is_not_held_against_workers(machine: Machine) -> None:
    """A scheduler that stood still for a minute declares nobody lost for that minute."""
    machine.join()
    machine.pass_time(65, lag=60)
    assert not machine.given(do.Dismiss)
    machine.pass_time(20)
    assert not machine.given(do.Dismiss)
    machine.pass_time(6)
    assert ["w1"] == [each.worker for each in machine.given(do.Dismiss)]


def test_late_result_of_a_lost_worker_is_ignored(machine: Machine) -> None:
    """At most one result is accepted: that of the live attempt."""
    machine.join("w1")
    machine.submit()
    first = machine.lease()
    machine.handle(on.WorkerLost("w1", "i1", "it burnt"))
    machine.join("w2")
    second = machine.lease()
    machine.join("w1")
    machine.complete(first)
    assert [do.Acknowledge("w1", "i1", first.lease)] == machine.last
    machine.complete(second)
    assert do.Ending.RAN is machine.finish().ending


def test_result_that_is_sent_twice_counts_once(machine: Machine) -> None:
    """A worker repeats a result until it is acknowledged, which is after it is safe."""
    machine.join()
    machine.submit()
    lease = machine.lease()
    machine.complete(lease, caches=True)
    assert [] == machine.complete(lease, caches=True)
    machine.handle(on.Stored("group1"))
    assert [do.Acknowledge("w1", "i1", lease.lease)] == machine.given(do.Acknowledge)
    assert [do.Acknowledge("w1", "i1", lease.lease)] == machine.complete(lease, caches=True)


def test_attempts_are_bounded_and_spread() -> None:
    """EXE-26: each loss goes to another worker, and after the last one the client is told why."""
    machine = Machine(SchedulerOptions(max_attempts=3))
    machine.join("w1", slots=5)
    machine.join("w2")
    machine.join("w3")
    machine.submit()
    workers = []
    for _ in range(2):
        lease = machine.lease()
        workers.append(lease.worker)
        machine.complete(lease, succeeded=False, culprit=on.Culprit.WORKER, reason="no disk")
    lease = machine.lease()
    workers.append(lease.worker)
    machine.complete(lease, succeeded=False, culprit=on.Culprit.WORKER, reason="no disk")
    finish = machine.finish()
    assert {"w1", "w2", "w3"} == set(workers)
    assert (do.Ending.FAILED, Code.UNAVAILABLE) == (finish.ending, finish.code)
    assert f"worker {workers[-1]} failed: no disk" in finish.message


def test_only_worker_is_tried_again(machine: Machine) -> None:
    """EXE-26: where there is no other worker, the one that failed is better than none."""
    machine.join("w1")
    machine.submit()
    machine.complete(machine.lease(), succeeded=False, culprit=on.Culprit.WORKER)
    assert ("w1", 2) == (machine.lease().worker, machine.lease().attempt)


def test_failed_worker_is_avoided_while_others_are_busy(machine: Machine) -> None:
    """EXE-26: the action waits for a worker that has not failed it."""
    machine.join("w1")
    machine.join("w2")
    machine.submit("first")
    first = machine.lease()
    machine.submit("second")
    second = machine.lease()
    machine.complete(first, succeeded=False, culprit=on.Culprit.WORKER)
    assert not machine.given(do.Lease)
    machine.complete(second)
    assert (second.worker, "group1") == (machine.lease().worker, machine.lease().group)


def test_failed_action_does_not_hold_up_others(machine: Machine) -> None:
    """An action that avoids a worker leaves that worker to the ones behind it."""
    machine.join("w1")
    machine.join("w2")
    machine.submit("first")
    first = machine.lease()
    machine.submit("second")
    machine.lease()
    machine.submit("third")
    machine.complete(first, succeeded=False, culprit=on.Culprit.WORKER)
    assert (first.worker, "group3") == (machine.lease().worker, machine.lease().group)


def test_guilty_action_is_not_tried_again(machine: Machine) -> None:
    """EXE-23: a timeout or a broken rule is the action's own; the client gets it as it is."""
    machine.join()
    machine.submit()
    machine.complete(machine.lease(), succeeded=False, culprit=on.Culprit.ACTION)
    assert do.Ending.RAN is machine.finish().ending
    assert not machine.given(do.Store)


def test_failing_cas_counts_against_nobody(machine: Machine) -> None:
    """A CAS that fails makes the action wait a while; the same worker may have it again."""
    machine.join()
    machine.submit()
    for attempt in range(2, 8):
        lease = machine.lease()
        machine.complete(lease, succeeded=False, culprit=on.Culprit.CAS, reason="it is full")
        assert not machine.given(do.Lease)
        assert [do.Stage.QUEUED] == stages(machine)
        machine.now += 100
        machine.state_leases()
        machine.pass_time(0)
        assert attempt == machine.lease().attempt


def test_cas_that_goes_on_failing_is_told() -> None:
    """EXE-26: at last the client learns what is wrong with the CAS."""
    machine = Machine(SchedulerOptions(max_cas_failures=1))
    machine.join()
    machine.submit()
    machine.complete(machine.lease(), succeeded=False, culprit=on.Culprit.CAS, reason="it is full")
    finish = machine.finish()
    assert Code.UNAVAILABLE is finish.code
    assert "it is full" in finish.message


def test_resting_action_can_be_cancelled(machine: Machine) -> None:
    """OP-08: an action that waits for the CAS ends as any other."""
    machine.join()
    operation = machine.submit()
    machine.complete(machine.lease(), succeeded=False, culprit=on.Culprit.CAS)
    machine.handle(on.Cancelled(operation))
    assert do.Ending.CANCELLED is machine.finish().ending
    machine.pass_time(100)
    assert not machine.given(do.Lease)


def test_broken_stream_keeps_the_lease(machine: Machine) -> None:
    """A worker whose stream breaks goes on running, and resumes."""
    machine.join()
    operation = machine.submit()
    lease = machine.lease()
    machine.handle(on.WorkerDisconnected("w1", "i1"))
    machine.pass_time(10)
    machine.handle(on.WorkerJoined("w1", "i1", {}, slots=1))
    machine.state_leases(leases={lease.lease: RUNNING})
    machine.complete(lease)
    assert (operation,) == machine.finish().operations
    assert 1 == len([each for each in machine.all if isinstance(each, do.Lease)])


def test_worker_without_a_stream_is_given_nothing(machine: Machine) -> None:
    """A lease that cannot be delivered would only wait."""
    machine.join()
    machine.handle(on.WorkerDisconnected("w1", "i1"))
    machine.submit()
    assert not machine.given(do.Lease)


def test_lease_that_was_lost_with_the_stream_is_given_again(machine: Machine) -> None:
    """The first statement of a session tells which leases never arrived; nobody is to blame."""
    machine.join()
    machine.submit()
    machine.lease()
    machine.handle(on.WorkerDisconnected("w1", "i1"))
    machine.handle(on.WorkerJoined("w1", "i1", {}, slots=1))
    machine.state_leases()
    assert ("w1", 2) == (machine.lease().worker, machine.lease().attempt)
    assert not machine.state.groups["group1"].bad_workers


def test_lease_on_its_way_is_believed_in(machine: Machine) -> None:
    """A statement that crossed a lease does not take it away."""
    machine.join()
    machine.submit()
    machine.lease()
    machine.now += 1
    machine.state_leases()
    assert not machine.given(do.Lease)


def test_worker_that_forgets_a_lease_is_to_blame(machine: Machine) -> None:
    """EXE-26: what a worker had time to state and does not have goes to another one."""
    machine.join("w1")
    machine.submit()
    machine.lease()
    machine.join("w2")
    machine.now += 6
    machine.state_leases("w1")
    assert "w2" == machine.lease().worker


def test_draining_worker_takes_nothing_and_leaves(machine: Machine) -> None:
    """A drain lets what runs end; what was on its way goes elsewhere at once."""
    machine.join("w1", slots=2)
    machine.submit("first")
    first = machine.lease()
    machine.submit("second")
    machine.lease()
    machine.state_leases("w1", {first.lease: RUNNING}, draining=True)
    assert not machine.given(do.Lease)
    machine.join("w2")
    assert ("w2", "group2") == (machine.lease().worker, machine.lease().group)
    machine.complete(first)
    machine.handle(on.WorkerLost("w1", "i1", "it drained and left"))
    assert ["w2"] == list(machine.state.fleet.workers)


def test_drain_by_an_operator(machine: Machine) -> None:
    """A worker that is asked to drain is given nothing more."""
    machine.join()
    machine.handle(on.DrainRequested("w1"))
    machine.submit()
    assert not machine.given(do.Lease)


def test_unhealthy_worker_is_given_nothing_until_it_is_well(machine: Machine) -> None:
    """What a worker says of its health is believed, in both directions."""
    machine.join()
    machine.state_leases(unhealthy="the disk is full")
    machine.submit()
    assert not machine.given(do.Lease)
    machine.state_leases()
    machine.lease()


def test_new_incarnation_takes_the_place_of_the_old(machine: Machine) -> None:
    """EXE-26: a restarted worker has lost what it ran; that runs again at once."""
    machine.join("w1", incarnation="i1")
    machine.submit()
    machine.lease()
    machine.join("w1", incarnation="i2")
    assert ("i2", 2) == (machine.lease().incarnation, machine.lease().attempt)


def test_old_incarnation_is_not_heard(machine: Machine) -> None:
    """What a former process of a worker still says counts for nothing, and ends its session."""
    machine.join("w1", incarnation="i1")
    machine.join("w1", incarnation="i2")
    machine.handle(on.WorkerStated("w1", "i1"))
    assert ["i1"] == [each.incarnation for each in machine.given(do.Dismiss)]


def test_properties_may_change_with_a_new_session(machine: Machine) -> None:
    """A worker's properties are asked for again when it comes back, and then those count."""
    machine.join("w1", Pool="small")
    machine.submit(Pool="big")
    assert not machine.given(do.Lease)
    machine.join("w1", Pool="big")
    machine.lease()
