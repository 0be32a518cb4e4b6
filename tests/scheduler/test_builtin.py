"""What the scheduler's own plugin registers."""

from __future__ import annotations

from remex_core.scheduler import builtin
from remex_core.scheduler.policy import OrderPolicy, PlacementPolicy


def test_policies() -> None:
    """One policy for each axis, which its descriptor builds without any options."""
    made = {kind.name: kind.build(kind.spec()) for kind in builtin.remex_scheduler_policies()}
    axes = {kind.name: kind.axis for kind in builtin.remex_scheduler_policies()}
    assert {"fifo": "order", "least_recently_used": "placement"} == axes
    assert isinstance(made["fifo"], OrderPolicy)
    assert isinstance(made["least_recently_used"], PlacementPolicy)


async def test_journals() -> None:
    """The journal of a scheduler that keeps nothing."""
    (kind,) = builtin.remex_journals()
    journal = await kind.build(kind.spec())
    assert "memory" == kind.name
    assert await journal.open() > 0
    assert () == await journal.load()
    await journal.close()
