"""The hooks that plugins implement. They run once, at start-up, and only yield descriptors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from remex_core.plugins.descriptors import (
        ExecutorType,
        HealthCheck,
        JournalType,
        PolicyType,
        StoreType,
        TransportType,
    )

PROJECT = "remex"
ENTRY_POINT_GROUP = "remex.plugins.v1"
COMMAND_GROUP = "remex.commands.v1"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def remex_stores() -> Iterable[StoreType[Any]]:  # type: ignore[empty-body] # a hook has no body
    """The kinds of store that the plugin adds."""


@hookspec
def remex_scheduler_policies() -> Iterable[PolicyType[Any]]:  # type: ignore[empty-body] # a hook has no body
    """The scheduler policies that the plugin adds."""


@hookspec
def remex_executors() -> Iterable[ExecutorType[Any]]:  # type: ignore[empty-body] # a hook has no body
    """The ways to run an action that the plugin adds."""


@hookspec
def remex_journals() -> Iterable[JournalType[Any]]:  # type: ignore[empty-body] # a hook has no body
    """The journals that the plugin adds."""


@hookspec
def remex_transports() -> Iterable[TransportType]:  # type: ignore[empty-body] # a hook has no body
    """The transports that the plugin adds."""


@hookspec
def remex_health_checks() -> Iterable[HealthCheck]:  # type: ignore[empty-body] # a hook has no body
    """The checks that the plugin adds to `remex doctor`."""
