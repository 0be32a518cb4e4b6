"""What several services do with blobs: check what was sent, read small ones for a response."""

from __future__ import annotations

from typing import TYPE_CHECKING

from remex_core.digest import FUNCTIONS
from remex_core.errors import BlobNotFound, DataLoss, DigestMismatch, InvalidArgument
from remex_core.store import ops

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from remex_core.digest import Key
    from remex_core.errors import RemexError
    from remex_core.services.instances import Instance
    from remex_core.store.contract import Store


def is_empty_blob(key: Key) -> bool:
    """Whether the key names the blob that every server has (DIG-10)."""
    return not key.size and key.hash == FUNCTIONS[key.function].empty_hash


def check_blob_size(instance: Instance, key: Key) -> None:
    """Raises InvalidArgument if the blob is larger than the instance takes (CAS-17, BSW-17)."""
    if instance.max_blob_bytes and key.size > instance.max_blob_bytes:
        raise InvalidArgument(
            f"The blob {key.hash}/{key.size} is larger than the {instance.max_blob_bytes} bytes "
            f"that one blob may have here."
        )


def check_content(key: Key, data: bytes) -> None:
    """Raises DigestMismatch if `data` is not what the key says (CAS-12, BSW-07, DIG-02)."""
    if len(data) != key.size:
        raise DigestMismatch(
            f"{len(data)} bytes were sent for {key.hash}, whose digest declares {key.size}."
        )
    check_hash(key, FUNCTIONS[key.function].hash(data))


def check_hash(key: Key, actual: str) -> None:
    """Raises DigestMismatch if the bytes that were sent hash to something else (BSW-07)."""
    if actual != key.hash:
        raise DigestMismatch(
            f"The {key.size} bytes sent for {key.hash} have the {key.function} hash {actual}.",
            hint="The file changed while it was uploaded, or the transfer damaged it.",
        )


async def read_blobs(
    store: Store, keys: Sequence[Key], *, max_bytes: int
) -> Mapping[Key, bytes | RemexError]:
    """Each key's value, or the error that reading it raised.

    The empty blob is always there (DIG-10), and nothing else has its size (DIG-04). Content that
    turns out to be damaged is dropped and counts as missing (GEN-14). The sizes of `keys` sum up
    to at most `max_bytes`, which the caller has checked.
    """
    sized = [key for key in dict.fromkeys(keys) if key.size]
    values: dict[Key, bytes | RemexError] = {}
    if sized:
        values.update(await ops.read_many(store, sized, max_bytes=max_bytes))
        damaged = [key for key, value in values.items() if isinstance(value, DataLoss)]
        if damaged:
            await store.discard(damaged)
            values.update((key, BlobNotFound(key)) for key in damaged)
    for key in keys:
        if not key.size:
            values[key] = b"" if is_empty_blob(key) else BlobNotFound(key)
    return values
