"""Why an action waits or is refused, in words that say what happened, why, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from remex_core.errors import Code
from remex_core.scheduler.groups import Group, Phase

if TYPE_CHECKING:
    from collections.abc import Iterable

    from remex_core.platform import Difference
    from remex_core.scheduler.workers import Fleet, Shape


@dataclass(frozen=True, slots=True)
class Refusal:
    """How an action that nobody can run is refused (EXE-18, EXE-19)."""

    code: Code
    message: str
    explanation: str


def unsatisfiable(shape: Shape, fleet: Fleet) -> Refusal:
    """Why no worker can run an action of this shape."""
    unknown = [name for name, _ in shape.requirement if not fleet.is_known(name)]
    if unknown:
        names = ", ".join(unknown)
        message = (
            f"Nothing can run this action: it asks for the platform property {names}, a name that "
            f"no worker offers and this site does not know."
        )
        remedy = f"Correct exec_properties, or start a worker with --property {unknown[0]}=VALUE."
        return Refusal(Code.INVALID_ARGUMENT, message, f"{message} {remedy}")
    if not fleet.workers:
        message = "Nothing can run this action: no worker is connected to this scheduler."
        remedy = "Start one: remex serve --role worker --scheduler ADDRESS --cas ADDRESS"
        return Refusal(Code.FAILED_PRECONDITION, message, f"{message} {remedy}")
    nearest = fleet.nearest(shape)
    if nearest is None:
        message = f"Nothing can run this action: no worker serves the instance {shape.instance!r}."
        remedy = "Start one for it, or use another --remote_instance_name."
        return Refusal(Code.FAILED_PRECONDITION, message, f"{message} {remedy}")
    worker, differences = nearest
    message = (
        f"Nothing can run this action: it needs {_wanted(differences)}; the nearest worker, "
        f"{worker.name}, offers {_offered(differences)}."
    )
    first = differences[0]
    remedy = (
        f"Start a worker with --property {first.name}={first.wanted}, "
        f"or change the target's exec_properties."
    )
    return Refusal(Code.FAILED_PRECONDITION, message, f"{message} {remedy}")


def explain(group: Group, fleet: Fleet) -> str:
    """What a group waits for, in a sentence."""
    if group.phase is Phase.LOOKING_UP:
        return "The action cache is being asked."
    lease = group.lease
    if lease is not None:
        state = lease.state.name.lower()
        return f"Worker {lease.worker} has it: attempt {lease.attempt}, {state}."
    shape = fleet.shapes[group.shape]
    if not shape.workers:
        return unsatisfiable(shape, fleet).explanation
    if shape.roomy:
        names = ", ".join(list(shape.roomy)[:3])
        return f"It waits for resources that running actions hold on {names}."
    busy = len(shape.workers)
    return f"It waits for capacity: {busy} worker(s) could run it, and all are busy or draining."


def explain_loss(failures: int, last_reason: str) -> str:
    """Why an action is given up whose workers kept failing (EXE-26)."""
    return f"the action's worker failed in each of {failures} attempts; in the last: {last_reason}"


def _wanted(differences: Iterable[Difference]) -> str:
    return ", ".join(f"{each.name}={each.wanted}" for each in differences)


def _offered(differences: Iterable[Difference]) -> str:
    return ", ".join(
        f"{each.name}={'|'.join(sorted(each.offered))}" if each.offered else f"no {each.name}"
        for each in differences
    )
