"""What is true of the machine between any two events; checked by tests after each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from remex_core.scheduler.groups import Phase

if TYPE_CHECKING:
    from remex_core.scheduler.fleet import Fleet
    from remex_core.scheduler.groups import Group
    from remex_core.scheduler.shapes import Shape
    from remex_core.scheduler.state import SchedulerState
    from remex_core.scheduler.workers import Worker


def check(state: SchedulerState) -> None:
    """Raises AssertionError for the first invariant that is broken."""
    for group in state.groups.values():
        _check_group(state, group)
    for worker in state.fleet.workers.values():
        _check_worker(state, worker)
    for shape in state.fleet.shapes.values():
        _check_shape(state.fleet, shape)
    for identity, group in state.merging.items():
        assert state.groups[group.id] is group, f"{group.id} merges after its end"
        assert identity == (group.spec.instance, group.spec.key)
        assert group.spec.merges, f"{group.id} must not merge"
    for lease, group in state.storing.items():
        assert state.groups[group.id] is group, f"{group.id} is stored after its end"
        assert group.phase is Phase.STORING
        assert group.delivered is not None
        assert group.delivered.id == lease
    queued = sum(group.phase is Phase.QUEUED for group in state.groups.values())
    assert state.queued == queued, "the order policy and the queues disagree"


def _check_group(state: SchedulerState, group: Group) -> None:
    assert group.operations, f"{group.id} runs for nobody"
    assert (group.phase is Phase.LEASED) == (group.lease is not None), f"{group.id}: {group.phase}"
    assert (group.phase is Phase.STORING) == (group.delivered is not None)
    for operation in group.operations:
        assert state.operations.group_of(operation) in {None, group}
    if group.phase is Phase.QUEUED:
        shape = group.shape
        assert shape is not None
        assert shape.queue[group.id] is group
        assert state.fleet.shapes[shape.number] is shape, f"{group.id} waits in a dropped shape"
    if group.lease is not None:
        assert group.lease.group is group
        assert group.lease.worker.leases[group.lease.id] is group.lease


def _check_worker(state: SchedulerState, worker: Worker) -> None:
    assert worker.expected >= 0
    ahead = [lease for lease in worker.leases.values() if lease.is_ahead]
    assert ahead == list(worker.ahead.values())
    for lease in worker.leases.values():
        assert lease.worker is worker
        assert state.fleet.shapes[lease.shape.number] is lease.shape, "a lease lost its shape"
        if lease.group is not None:
            assert lease.group.lease is lease, "two live leases for one group"
            assert state.groups[lease.group.id] is lease.group


def _check_shape(fleet: Fleet, shape: Shape) -> None:
    assert (shape.barren_since is None) == bool(shape.workers), "barren or not"
    for name, worker in shape.workers.items():
        assert fleet.workers[name] is worker
        assert worker.shapes[shape.number] is shape
        placed = sum(name in tier for tier in shape.tiers)
        assert placed <= 1
        assert worker.takes_leases or not placed
    for tier in shape.tiers:
        assert tier.keys() <= shape.workers.keys()
    leases = sum(
        lease.shape is shape
        for worker in fleet.workers.values()
        for lease in worker.leases.values()
    )
    assert shape.users == len(shape.queue) + leases + len(shape.variants)
    for lease in shape.ahead.values():
        assert lease.is_ahead
        assert lease.shape is shape
    if shape.base is not None:
        others = shape.base.workers.keys() - shape.excluded
        assert shape.workers.keys() == (others or shape.base.workers.keys())
