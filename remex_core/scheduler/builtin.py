"""The scheduler's own plugin: the policies and the journal that come with the core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from remex_core.plugins.descriptors import JournalType, PolicyType, Spec
from remex_core.plugins.hookspecs import hookimpl
from remex_core.scheduler.journal import NoJournal
from remex_core.scheduler.policies.fifo import Fifo
from remex_core.scheduler.policies.least_recently_used import LeastRecentlyUsed

if TYPE_CHECKING:
    from collections.abc import Iterable


class NoOptions(Spec):
    """These policies and journals have nothing to set."""


async def _no_journal(_spec: NoOptions) -> NoJournal:
    return NoJournal()


@hookimpl
def remex_scheduler_policies() -> Iterable[PolicyType[Any]]:
    """The built-in policies."""
    return (
        PolicyType("fifo", "order", NoOptions, lambda _spec: Fifo(), "First come, first served."),
        PolicyType(
            "least_recently_used",
            "placement",
            NoOptions,
            lambda _spec: LeastRecentlyUsed(),
            "The worker that has waited longest.",
        ),
    )


@hookimpl
def remex_journals() -> Iterable[JournalType[Any]]:
    """The built-in journals."""
    return (
        JournalType("memory", NoOptions, _no_journal, "Keeps nothing beyond the process's life."),
    )
