"""The kind `noop`: takes everything and has nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from remex_core.errors import BlobNotFound
from remex_core.plugins.descriptors import Spec, StoreContext, StoreType
from remex_core.store.contract import BatchIO, Refreshes, Store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Collection, Mapping, Sequence

    from remex_core.digest import Key
    from remex_core.errors import RemexError


class NoopSpec(Spec):
    """The kind `noop` has no options."""


class NoopStore(BatchIO, Store):
    """Takes every value, forgets it at once, and has nothing.

    Adds: nothing; its use is to turn a part of a tree off, such as an action cache where every
    action is to run. Assumes nothing and costs nothing. A write consumes its chunks, so an upload
    is still checked. Do not use it as the CAS of a server that executes: a blob that was written
    is missing afterwards, which breaks CAS-06.
    """

    async def find_missing(self, keys: Collection[Key]) -> frozenset[Key]:
        return frozenset(keys)

    async def read(
        self, key: Key, *, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes]:
        for piece in _pieces_of(key):
            yield piece

    async def write(self, key: Key, chunks: AsyncIterable[bytes]) -> None:
        async for _ in chunks:
            pass

    async def discard(self, keys: Collection[Key]) -> None:
        return

    async def read_batch(
        self, keys: Sequence[Key], max_bytes: int
    ) -> Mapping[Key, bytes | RemexError]:
        return {key: BlobNotFound(key) for key in keys}

    async def write_batch(self, items: Sequence[tuple[Key, bytes]]) -> Mapping[Key, RemexError]:
        return {}


def _pieces_of(key: Key) -> tuple[bytes, ...]:
    raise BlobNotFound(key)


async def _build(spec: NoopSpec, ctx: StoreContext) -> Store:
    return NoopStore()


NOOP: Final = StoreType(
    name="noop",
    spec=NoopSpec,
    build=_build,
    summary="takes everything and has nothing",
    forwards=frozenset({BatchIO}),
    refreshes=Refreshes.NO,
    shared=True,
)
