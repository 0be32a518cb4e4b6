"""The kind `noop`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from remex_core.errors import BlobNotFound, DigestMismatch
from remex_core.store import ops
from remex_core.store.noop import NoopStore
from remex_core.testing.stores import StoreContract, in_chunks, read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def test_takes_everything_and_has_nothing() -> None:
    """A write succeeds, and the value is missing afterwards, for each way in."""
    store = NoopStore()
    key, value = StoreContract().sample(100)
    await store.write(key, in_chunks(value))
    assert {} == await ops.write_many(store, [(key, value)])
    await store.discard([key])
    assert frozenset({key}) == await store.find_missing([key, key])
    with pytest.raises(BlobNotFound):
        await read(store, key)
    (found,) = (await ops.read_many(store, [key], max_bytes=100)).values()
    assert isinstance(found, BlobNotFound)


async def test_reading_fails_at_the_first_step() -> None:
    """A read that never starts raises nothing."""
    await NoopStore().read(StoreContract().sample(1).key).aclose()


async def test_uploads_are_still_checked() -> None:
    """BSW-07: chunks are consumed, so that what checks them on the way can refuse them."""

    async def wrong() -> AsyncIterator[bytes]:
        yield b"x"
        raise DigestMismatch("These are other bytes.")

    with pytest.raises(DigestMismatch):
        await NoopStore().write(StoreContract().sample(1).key, wrong())
