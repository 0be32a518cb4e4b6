"""What the machine does for clients: look-ups, merging, cancelling, forgetting, keeping."""

from __future__ import annotations

import pytest

from remex_core.errors import Code
from remex_core.scheduler import commands as do
from remex_core.scheduler import events as on
from remex_core.scheduler.options import SchedulerOptions
from scheduler_support.driving import Machine


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_first_thing_is_the_look_up(machine: Machine) -> None:
    """EXE-08: a new action asks the action cache before anything else."""
    machine.join()
    operation = machine.submit(cached=None)
    assert [do.Publish((operation,), do.Stage.CACHE_CHECK), do.LookUp("group1")] == machine.last


def test_hit_ends_without_a_run(machine: Machine) -> None:
    """EXE-08: a cached result is the answer; no worker hears of the action."""
    machine.join()
    operation = machine.submit(cached=True)
    assert do.Finish((operation,), "group1", do.Ending.CACHED) in machine.last
    assert not machine.given(do.Lease)
    assert not machine.state.groups


def test_miss_is_persisted_before_it_is_leased(machine: Machine) -> None:
    """A lease follows only after the attempt is written down."""
    machine.join()
    machine.submit()
    kinds = [type(command) for command in machine.last]
    assert kinds.index(do.Persist) < kinds.index(do.Lease)
    leased = [fact for each in machine.given(do.Persist) for fact in each.facts][-1]
    assert (do.FactKind.LEASED, "group1", 1, "w1") == (
        leased.kind,
        leased.group,
        leased.attempt,
        leased.worker,
    )


def test_twin_shares_the_look_up(machine: Machine) -> None:
    """EXE-11: no twin slips in between the submission and the answer of the action cache."""
    first = machine.submit(cached=None)
    second = machine.submit(cached=None)
    assert not machine.given(do.LookUp)
    machine.handle(on.LookedUp("group1", hit=True))
    assert {first, second} == set(machine.finish().operations)


def test_twins_share_one_run(machine: Machine) -> None:
    """EXE-11: identical actions in flight run once, and each caller is told."""
    machine.join()
    first = machine.submit()
    lease = machine.lease()
    second = machine.submit()
    assert not machine.given(do.Lease)
    machine.complete(lease)
    assert {first, second} == set(machine.finish().operations)


def test_instances_do_not_share_runs(machine: Machine) -> None:
    """INS-07: the same action in two instances is two actions."""
    machine.join(slots=2)
    machine.submit(instance="one")
    machine.submit(instance="two")
    assert 1 == len(machine.given(do.Lease))


def test_do_not_cache_runs_twice(machine: Machine) -> None:
    """EXE-10: such actions are neither looked up nor merged."""
    machine.join(slots=2)
    machine.submit(merges=False)
    machine.lease()
    machine.submit(merges=False)
    machine.lease()
    assert not [command for command in machine.all if isinstance(command, do.LookUp)]


def test_skipped_look_up_is_none(machine: Machine) -> None:
    """EXE-09, EXE-37: a client that wants a fresh result has the action run."""
    machine.join()
    machine.submit(skip=True)
    machine.lease()
    assert not machine.given(do.LookUp)


def test_fresh_result_is_wanted_while_another_looks_up(machine: Machine) -> None:
    """EXE-09: the hit serves whom it may serve, and the action runs for the other."""
    machine.join()
    cached = machine.submit(cached=None)
    fresh = machine.submit(skip=True)
    machine.handle(on.LookedUp("group1", hit=True))
    assert (cached,) == machine.finish().operations
    assert not machine.finish().group_ended
    lease = machine.lease()
    machine.complete(lease)
    assert (fresh,) == machine.finish().operations


def test_fresh_result_is_not_one_that_others_may_see(machine: Machine) -> None:
    """EXE-09: a run whose result is being stored may be visible already; a new one begins."""
    machine.join()
    machine.submit()
    machine.complete(machine.lease(), caches=True)
    assert [do.Store("group1")] == machine.given(do.Store)
    fresh = machine.submit(skip=True)
    lease = machine.lease()
    machine.handle(on.Stored("group1"))
    machine.complete(lease)
    assert (fresh,) == machine.finish().operations


def test_late_twin_gets_the_result_that_is_being_stored(machine: Machine) -> None:
    """A twin that comes while the result is on its way into the cache neither runs nor misses."""
    machine.join()
    first = machine.submit()
    machine.complete(machine.lease(), caches=True)
    second = machine.submit()
    assert not machine.given(do.LookUp)
    machine.handle(on.Stored("group1"))
    assert {first, second} == set(machine.finish().operations)


def test_result_is_stored_before_it_is_published(machine: Machine) -> None:
    """Whoever learns of a result finds it in the action cache; then the worker may forget it."""
    machine.join()
    machine.submit()
    lease = machine.lease()
    assert [do.Store("group1")] == machine.complete(lease, caches=True)
    machine.handle(on.Stored("group1"))
    kinds = [type(command) for command in machine.last]
    assert [do.Persist, do.Finish, do.Acknowledge] == kinds


def test_result_that_is_not_cached_is_not_stored(machine: Machine) -> None:
    """EXE-25: what must not enter the action cache goes straight to the client."""
    machine.join()
    machine.submit()
    machine.complete(machine.lease(), caches=False)
    assert not machine.given(do.Store)
    assert do.Ending.RAN is machine.finish().ending


def test_more_urgent_twin_makes_the_action_urgent(machine: Machine) -> None:
    """EXE-31: a merged action has the priority of its most urgent caller."""
    machine.join()
    running = machine.submit("running")
    lease = machine.lease()
    machine.submit("first")
    machine.submit("second")
    machine.submit("second", priority=-5)
    machine.complete(lease)
    assert "group3" == machine.lease().group
    assert running


def test_cancel_ends_queued_operation(machine: Machine) -> None:
    """OP-08: a cancelled operation is done, with the code CANCELLED, and never runs."""
    operation = machine.submit()
    machine.handle(on.Cancelled(operation))
    finish = machine.finish()
    assert (do.Ending.CANCELLED, Code.CANCELLED) == (finish.ending, finish.code)
    machine.join()
    assert not machine.given(do.Lease)


def test_cancel_kills_what_runs(machine: Machine) -> None:
    """OP-08: the process is killed; its place is free once the worker says that it is dead."""
    machine.join()
    operation = machine.submit()
    lease = machine.lease()
    machine.handle(on.Cancelled(operation))
    assert [(lease.lease, True)] == [(each.lease, each.kill) for each in machine.given(do.Revoke)]
    machine.submit("other")
    assert not machine.given(do.Lease)
    machine.complete(lease, succeeded=False, revoked=True)
    assert "group2" == machine.lease().group
    assert [lease.lease] == [each.lease for each in machine.given(do.Acknowledge)]


def test_revoke_is_repeated_until_it_is_heard(machine: Machine) -> None:
    """A worker that still has a lease that nobody wants is told again."""
    machine.join()
    operation = machine.submit()
    lease = machine.lease()
    machine.handle(on.Cancelled(operation))
    machine.state_leases(leases={lease.lease: on.LeaseState.RUNNING})
    assert [lease.lease] == [each.lease for each in machine.given(do.Revoke)]


def test_cancel_detaches_one_of_several(machine: Machine) -> None:
    """OP-09: one caller's cancel leaves the run to the others."""
    machine.join()
    first = machine.submit()
    lease = machine.lease()
    second = machine.submit()
    machine.handle(on.Cancelled(first))
    assert (first,) == machine.finish().operations
    assert not machine.finish().group_ended
    assert not machine.given(do.Revoke)
    machine.complete(lease)
    assert (second,) == machine.finish().operations


def test_twin_of_a_killed_run_starts_anew(machine: Machine) -> None:
    """OP-08: nobody is merged with a run that is being killed."""
    machine.join(slots=2)
    machine.handle(on.Cancelled(machine.submit()))
    machine.submit()
    assert "group2" == machine.lease().group


def test_cancel_during_the_look_up_ends_at_once(machine: Machine) -> None:
    """OP-08: an answer that comes after the cancel changes nothing."""
    operation = machine.submit(cached=None)
    machine.handle(on.Cancelled(operation))
    assert (operation,) == machine.finish().operations
    assert [] == machine.handle(on.LookedUp("group1", hit=True))


def test_cancel_of_a_finished_operation_is_nothing(machine: Machine) -> None:
    """OP-08: a cancel that comes too late changes nothing, as does one for an unknown name."""
    operation = machine.submit(cached=True)
    assert [] == machine.handle(on.Cancelled(operation))
    assert [] == machine.handle(on.Cancelled("no such operation"))


def test_cancel_while_the_result_is_stored_is_too_late(machine: Machine) -> None:
    """OP-08: the result came first, and is the answer."""
    machine.join()
    operation = machine.submit()
    machine.complete(machine.lease(), caches=True)
    assert [] == machine.handle(on.Cancelled(operation))
    machine.handle(on.Stored("group1"))
    assert do.Ending.RAN is machine.finish().ending


def test_forgotten_operation_goes_on(machine: Machine) -> None:
    """OP-07: deleting an operation forgets its name, and does not cancel it."""
    machine.join()
    operation = machine.submit()
    lease = machine.lease()
    machine.handle(on.Forgotten(operation))
    assert [do.Expire((operation,))] == machine.given(do.Expire)
    assert not machine.state.operations.is_known(operation)
    machine.complete(lease)
    assert (operation,) == machine.finish().operations


def test_finished_operations_are_kept_for_a_while(machine: Machine) -> None:
    """OP-04: for the time that the site sets, and no longer."""
    operation = machine.submit(cached=True)
    machine.pass_time(machine.options.retain_seconds - 1)
    assert machine.state.operations.is_known(operation)
    machine.pass_time(2)
    assert [do.Expire((operation,))] == machine.given(do.Expire)
    assert not machine.state.operations.is_known(operation)


def test_finished_operations_are_bounded_in_number() -> None:
    """OP-04: beyond the bound the oldest are forgotten first."""
    machine = Machine(SchedulerOptions(retain_operations=2))
    operations = [machine.submit(f"action {number}", cached=True) for number in range(4)]
    machine.pass_time(1)
    assert [do.Expire(tuple(operations[:2]))] == machine.given(do.Expire)


def test_finished_operations_are_bounded_in_bytes() -> None:
    """OP-04: large results push out others, so that memory stays bounded."""
    machine = Machine(SchedulerOptions(retain_bytes=10))
    first = machine.submit("first", cached=None)
    machine.handle(on.LookedUp("group1", hit=True, weight=8))
    machine.submit("second", cached=None)
    machine.handle(on.LookedUp("group2", hit=True, weight=8))
    machine.pass_time(1)
    assert [do.Expire((first,))] == machine.given(do.Expire)


def test_rejected_operation_is_kept_as_a_finished_one(machine: Machine) -> None:
    """OP-03: an operation that was done from the start can be asked for all the same."""
    machine.handle(on.Rejected("op"))
    assert machine.state.operations.is_known("op")
    machine.pass_time(machine.options.retain_seconds + 1)
    assert [do.Expire(("op",))] == machine.given(do.Expire)


def test_inputs_of_waiting_actions_are_touched(machine: Machine) -> None:
    """The inputs of whatever waits or runs are kept alive, each group in its own rhythm."""
    machine.submit("first", merges=False)
    machine.now += 100
    machine.submit("second", merges=False)
    machine.join()
    interval = machine.options.touch_interval
    for name in ("w1",):
        machine.state.fleet.workers[name].heard_at = machine.now + 10 * interval
    machine.pass_time(interval - 100)
    assert [do.Touch(("group1",))] == machine.given(do.Touch)
    machine.pass_time(100)
    assert [do.Touch(("group2",))] == machine.given(do.Touch)
    machine.pass_time(interval - 100)
    assert [do.Touch(("group1",))] == machine.given(do.Touch)
