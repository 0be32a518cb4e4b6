"""What an operation is said to wait for."""

from __future__ import annotations

from typing import Any

import pytest

from remex_core.scheduler import events as on
from remex_core.scheduler.explain import explain
from scheduler_support.driving import Machine


@pytest.fixture
def machine() -> Machine:
    return Machine()


def said(machine: Machine, group: str = "group1") -> str:
    return explain(machine.state.groups[group], machine.state.fleet)


def test_looking_up(machine: Machine) -> None:
    """Before anything else the action cache is asked."""
    machine.submit(cached=None)
    assert "The action cache is being asked." == said(machine)


def test_running(machine: Machine) -> None:
    """What runs is with a worker, who is named."""
    machine.join("w7")
    machine.submit()
    machine.state_leases("w7", {machine.lease().lease: on.LeaseState.RUNNING})
    assert "Worker w7 has it: attempt 1, running." == said(machine)


def test_storing(machine: Machine) -> None:
    """A result on its way into the action cache is nearly done."""
    machine.join()
    machine.submit()
    machine.complete(machine.lease(), caches=True)
    assert "It has run; its result is being put into the action cache." == said(machine)


def test_resting(machine: Machine) -> None:
    """An action that waits for the CAS says what was wrong with it."""
    machine.join()
    machine.submit()
    machine.complete(machine.lease(), succeeded=False, culprit=on.Culprit.CAS, reason="it is full")
    assert "the content-addressable storage failed: it is full" in said(machine)


def test_busy(machine: Machine) -> None:
    """Workers without a free slot are counted, with those who wait."""
    machine.join("w1", slots=2)
    machine.join("w2")
    for number in range(5):
        machine.submit(f"action {number}")
    assert (
        "It waits for capacity: 2 worker(s) can run it, and their 3 slot(s) are taken. "
        "2 action(s) with these requirements wait."
    ) == said(machine, "group4")


def test_out_of_a_resource(machine: Machine) -> None:
    """Free slots without the cores that it takes: both numbers are told."""
    machine.join("w1", slots=4, cpu_count="4")
    machine.submit("a", cpu_count="3")
    machine.submit("b", cpu_count="2")
    assert ("It waits for capacity: it needs cpu_count=2, and worker w1 has 1 of 4 free.") == said(
        machine, "group2"
    )


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"unhealthy": "no disk"}, "w1 is unhealthy (no disk)"),
        ({"draining": True}, "w1 drains"),
    ],
)
def test_workers_that_take_nothing(machine: Machine, how: dict[str, Any], what: str) -> None:
    """Workers that could run it, and take nothing now, are named with the reason."""
    machine.join("w1")
    machine.state_leases("w1", **how)
    machine.submit()
    assert f"It waits for a worker to come back: {what}." == said(machine)


def test_worker_without_a_connection(machine: Machine) -> None:
    """A worker whose stream broke may come back."""
    machine.join("w1")
    machine.handle(on.WorkerDisconnected("w1", "i1"))
    machine.submit()
    assert "It waits for a worker to come back: w1 is not connected." == said(machine)


def test_nobody(machine: Machine) -> None:
    """What nobody can run says what differs, and what to do about it."""
    machine.join("w1", Pool="small")
    machine.submit(Pool="big")
    assert (
        "Nothing can run this action: it needs Pool=big; the nearest worker, w1, offers "
        "Pool=small. Start a worker with --property Pool=big, or change the target's "
        "exec_properties."
    ) == said(machine)


def test_nearest_worker_differs_least(machine: Machine) -> None:
    """Of several workers the one that lacks the fewest properties is named."""
    machine.join("far", OSFamily="macos", Pool="small", ISA="arm-a64")
    machine.join("near", OSFamily="linux", Pool="small", ISA="x86-64")
    machine.join("bare")
    machine.submit(OSFamily="linux", Pool="big", ISA="x86-64")
    assert "the nearest worker, near, offers Pool=small" in said(machine)


def test_value_that_nobody_has_at_all(machine: Machine) -> None:
    """A property that the nearest worker lacks altogether is told as lacking."""
    machine.join("w1", OSFamily="linux")
    machine.submit(OSFamily="linux", Pool="big")
    assert "it needs Pool=big; the nearest worker, w1, offers no Pool." in said(machine)
