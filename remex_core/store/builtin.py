"""The kinds of store that the core brings, registered through the hook that plugins use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from remex_core.plugins.hookspecs import hookimpl
from remex_core.store.completeness_checking import COMPLETENESS_CHECKING
from remex_core.store.fast_slow import FAST_SLOW
from remex_core.store.grpc import GRPC
from remex_core.store.memory import MEMORY
from remex_core.store.noop import NOOP
from remex_core.store.ref import REF

if TYPE_CHECKING:
    from collections.abc import Iterable

    from remex_core.plugins.descriptors import StoreType


@hookimpl
def remex_stores() -> Iterable[StoreType[Any]]:
    """Every kind of the core."""
    return (COMPLETENESS_CHECKING, FAST_SLOW, GRPC, MEMORY, NOOP, REF)
