"""What the plugin registers: the store kind `filesystem`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from remex_core.plugin import BatchIO, LocalFiles, Refreshes, StoreType, hookimpl
from remex_fs.spec import FilesystemSpec
from remex_fs.store import FilesystemStore

if TYPE_CHECKING:
    from collections.abc import Iterable

    from remex_core.plugin import StoreContext


async def _build(spec: FilesystemSpec, ctx: StoreContext) -> FilesystemStore:
    store = FilesystemStore(_root(spec), spec, ctx.clock, ctx.path)
    store.start()
    return store


def _root(spec: FilesystemSpec) -> Path:
    return Path(spec.path).expanduser().absolute()


FILESYSTEM = StoreType(
    name="filesystem",
    spec=FilesystemSpec,
    build=_build,
    summary="Values as files in a directory; hard links, eviction, shared by processes.",
    forwards=frozenset({BatchIO, LocalFiles}),
    refreshes=Refreshes.YES,
    shared=True,
)


@hookimpl
def remex_stores() -> Iterable[StoreType[FilesystemSpec]]:
    """The kind `filesystem`."""
    return (FILESYSTEM,)
