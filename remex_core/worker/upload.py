"""Bringing what an action made into the store: one question, then only what is missing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

from remex_core.store import ops
from remex_core.store.contract import LocalFiles
from remex_core.worker.inputs import batches

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from remex_core.digest import Key
    from remex_core.store.contract import Store
    from remex_core.worker.output_content import SourceFile

_PIECE: Final = 1024 * 1024
_SMALL: Final = 256 * 1024


async def upload(store: Store, files: Mapping[Key, SourceFile], blobs: Mapping[Key, bytes]) -> None:
    """Afterwards every key of `files` and `blobs` is in the store (OUT-07).

    A store with local files takes over those that are the worker's own: their paths may be gone
    afterwards. Small ones travel in batches, the others as streams.

    Raises:
        RemexError: what the store answered to the first one that it did not take.
    """
    if not files and not blobs:
        return
    missing = await store.find_missing({*files, *blobs})
    local = ops.capability(store, LocalFiles)
    small = {key: data for key, data in blobs.items() if key in missing}
    for key in missing - small.keys():
        source = files[key]
        if local is not None and source.own:
            await local.adopt(key, Path(source.path))
        elif key.size <= _SMALL:
            small[key] = b""
        else:
            await store.write(key, _pieces(source.path))
    for batch in batches(small):
        items = await asyncio.to_thread(_load, batch, blobs, files)
        errors = await ops.write_many(store, items)
        for error in errors.values():
            raise error


def _load(
    keys: list[Key], blobs: Mapping[Key, bytes], files: Mapping[Key, SourceFile]
) -> list[tuple[Key, bytes]]:
    return [
        (key, blobs[key] if key in blobs else Path(files[key].path).read_bytes()) for key in keys
    ]


async def _pieces(path: str) -> AsyncGenerator[bytes]:
    with await asyncio.to_thread(open, path, "rb") as file:
        while piece := await asyncio.to_thread(file.read, _PIECE):
            yield piece
