"""Why an action waits or is refused, in words that say what happened, why, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from remex_core.errors import Code
from remex_core.platform import WELL_KNOWN
from remex_core.scheduler.groups import Group, Phase

if TYPE_CHECKING:
    from collections.abc import Iterable

    from remex_core.platform import Difference
    from remex_core.scheduler.fleet import Fleet
    from remex_core.scheduler.shapes import Shape
    from remex_core.scheduler.workers import Worker

_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Refusal:
    """How an action that nobody can run is refused (EXE-18, EXE-19).

    `message` says what and why, `remedy` what to do.
    """

    code: Code
    message: str
    remedy: str


def unsatisfiable(shape: Shape, fleet: Fleet) -> Refusal:
    """Why no worker can run an action of this shape."""
    unknown = [name for name, _ in shape.requirement if not fleet.is_known(name)]
    if unknown:
        return _unknown_property(unknown[0], fleet)
    if not fleet.workers:
        return Refusal(
            Code.FAILED_PRECONDITION,
            "Nothing can run this action: no worker is connected to this scheduler.",
            "Start one: remex serve --role worker --scheduler ADDRESS --cas ADDRESS",
        )
    nearest = fleet.nearest(shape)
    if nearest is None or not nearest[1]:
        return Refusal(
            Code.FAILED_PRECONDITION,
            f"Nothing can run this action: no worker serves the instance {shape.instance!r}.",
            "Start a worker that serves it, or use another --remote_instance_name.",
        )
    worker, differences = nearest
    settings = " ".join(f"--property {each.name}={each.wanted}" for each in differences)
    return Refusal(
        Code.FAILED_PRECONDITION,
        f"Nothing can run this action: it needs {_wanted(differences)}; "
        f"the nearest worker, {worker.name}, offers {_offered(differences)}.",
        f"Start a worker with {settings}, or change the target's exec_properties.",
    )


def explain(group: Group, fleet: Fleet) -> str:
    """What a group waits for, in a sentence or two."""
    if group.phase is Phase.LOOKING_UP:
        return "The action cache is being asked."
    if group.phase is Phase.STORING:
        return "It has run; its result is being put into the action cache."
    if group.phase is Phase.RESTING:
        return f"It waits a moment before it is tried again, since {group.last_reason}."
    lease, shape = group.lease, group.shape
    if lease is not None:
        state = lease.state.name.lower()
        return f"Worker {lease.worker.name} has it: attempt {lease.attempt}, {state}."
    assert shape is not None
    if not shape.workers:
        refusal = unsatisfiable(shape, fleet)
        return f"{refusal.message} {refusal.remedy}"
    if shape.has_room:
        return "It can start at once."
    return _waiting(shape)


def lost(failures: int, last_reason: str) -> str:
    """Why an action is given up whose workers kept failing (EXE-26)."""
    return (
        f"The action was given up: its worker failed in each of {failures} attempts. "
        f"In the last one, {last_reason}."
    )


def _waiting(shape: Shape) -> str:
    """Why no worker that could run actions of this shape has room for one."""
    idle = [worker for worker in shape.workers.values() if worker.takes_leases]
    if not idle:
        names = _names(_state_of(worker) for worker in shape.workers.values())
        return f"It waits for a worker to come back: {names}."
    short = [worker for worker in idle if worker.free_slots > 0]
    if short and shape.demands:
        resource, amount = shape.demands[0]
        free = short[0].free().get(resource, 0.0)
        total = short[0].capacities.get(resource, 0.0)
        return (
            f"It waits for capacity: it needs {resource}={amount:g}, "
            f"and worker {short[0].name} has {free:g} of {total:g} free."
        )
    slots = sum(worker.slots for worker in idle)
    return (
        f"It waits for capacity: {len(idle)} worker(s) can run it, and their {slots} slot(s) are "
        f"taken. {len(shape.queue)} action(s) with these requirements wait."
    )


def _unknown_property(name: str, fleet: Fleet) -> Refusal:
    known = [*WELL_KNOWN, *fleet.names_seen]
    close = get_close_matches(name, known, n=1)
    did_you_mean = f"Did you mean {close[0]}? " if close else ""
    return Refusal(
        Code.INVALID_ARGUMENT,
        f"Nothing can run this action: it asks for the platform property {name}, "
        f"which no worker has and this site does not know.",
        f"{did_you_mean}Correct the target's exec_properties, start a worker with "
        f"--property {name}=VALUE, or list the name under scheduler.known_properties.",
    )


def _state_of(worker: Worker) -> str:
    if worker.unhealthy:
        return f"{worker.name} is unhealthy ({worker.unhealthy})"
    if worker.draining:
        return f"{worker.name} drains"
    return f"{worker.name} is not connected"


def _names(texts: Iterable[str]) -> str:
    shown = list(texts)
    more = f", and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more


def _wanted(differences: Iterable[Difference]) -> str:
    return ", ".join(f"{each.name}={each.wanted}" for each in differences)


def _offered(differences: Iterable[Difference]) -> str:
    return ", ".join(
        f"{each.name}={' or '.join(sorted(each.offered))}" if each.offered else f"no {each.name}"
        for each in differences
    )
