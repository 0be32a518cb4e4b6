"""What callers do with any store, as free functions over the four primitives.

Each asks for the capability that makes it cheap and falls back to the primitives.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

from remex_core.errors import BlobNotFound, DataLoss, RemexError, ResourceExhausted
from remex_core.store.contract import BatchIO, Capability

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

    from remex_core.digest import Key
    from remex_core.store.contract import Store

C = TypeVar("C", bound=Capability)


def capability(store: Store, wanted: type[C]) -> C | None:
    """The object that offers `wanted` for this store, through whatever wraps it; or None."""
    return store.forward(wanted)


async def read_all(store: Store, key: Key, *, max_bytes: int) -> bytes:
    """The whole value.

    Raises:
        BlobNotFound: if it is not here.
        ResourceExhausted: if it is larger than `max_bytes`.
        DataLoss: if fewer or more bytes come than the key says.
    """
    if key.is_cas and key.size > max_bytes:
        raise ResourceExhausted(f"{key} is larger than the {max_bytes} bytes allowed here.")
    pieces: list[bytes] = []
    total = 0
    async with aclosing(store.read(key)) as chunks:
        async for chunk in chunks:
            total += len(chunk)
            if total > max_bytes:
                raise ResourceExhausted(f"{key} is larger than the {max_bytes} bytes allowed here.")
            pieces.append(chunk)
    if key.is_cas and total != key.size:
        raise DataLoss(f"{key} has {total} bytes where it is stored.")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def one_chunk(data: bytes) -> AsyncIterator[bytes]:
    """`data` as the chunks that `Store.write` takes."""
    if data:
        yield data


async def write_bytes(store: Store, key: Key, data: bytes) -> None:
    """Stores `data` under `key`; see `Store.write`."""
    await store.write(key, one_chunk(data))


async def copy(source: Store, target: Store, key: Key) -> None:
    """Streams one value from `source` to `target`, holding one piece in memory at a time."""
    async with aclosing(source.read(key)) as chunks:
        await target.write(key, chunks)


async def read_many(
    store: Store, keys: Sequence[Key], *, max_bytes: int
) -> Mapping[Key, bytes | RemexError]:
    """Each key's value or the error that reading it raised; sizes sum up to at most `max_bytes`."""
    batch = capability(store, BatchIO)
    if batch is not None:
        return await batch.read_batch(keys, max_bytes)
    values: dict[Key, bytes | RemexError] = {}
    for key in dict.fromkeys(keys):
        try:
            values[key] = await read_all(store, key, max_bytes=max_bytes)
        except RemexError as error:
            values[key] = error
    return values


async def write_many(store: Store, items: Sequence[tuple[Key, bytes]]) -> Mapping[Key, RemexError]:
    """Stores every value; answers the errors by key, and nothing for what went well."""
    batch = capability(store, BatchIO)
    if batch is not None:
        return await batch.write_batch(items)
    errors: dict[Key, RemexError] = {}
    for key, data in items:
        try:
            await write_bytes(store, key, data)
        except RemexError as error:
            errors[key] = error
    return errors


def in_batches(keys: Iterable[Key], *, max_bytes: int, max_keys: int) -> Iterator[list[Key]]:
    """The keys in order, in batches whose sizes sum up to `max_bytes` at most.

    A key that is larger by itself is alone in its batch.
    """
    batch: list[Key] = []
    size = 0
    for key in keys:
        if batch and (size + key.size > max_bytes or len(batch) == max_keys):
            yield batch
            batch, size = [], 0
        batch.append(key)
        size += key.size
    if batch:
        yield batch


async def is_present(store: Store, key: Key) -> bool:
    """Whether the value can be read now; touches it."""
    return not await store.find_missing((key,))


async def read_or_none(store: Store, key: Key, *, max_bytes: int) -> bytes | None:
    """The whole value, or None when it is not here."""
    try:
        return await read_all(store, key, max_bytes=max_bytes)
    except BlobNotFound:
        return None
