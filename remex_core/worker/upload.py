"""Bringing what an action made into the store: one question, then only what is missing."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from remex_core.store import ops
from remex_core.store.contract import LocalFiles
from remex_core.worker.inputs import batches

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping

    from remex_core.digest import Key
    from remex_core.store.contract import Store
    from remex_core.worker.output_content import SourceFile

_PIECE: Final = 1024 * 1024
_SMALL: Final = 128 * 1024
_LARGE_AT_ONCE: Final = 4


async def upload(store: Store, files: Mapping[Key, SourceFile], blobs: Mapping[Key, bytes]) -> None:
    """Afterwards every key of `files` and `blobs` is in the store (OUT-07).

    What is small travels in batches, a few large files at once as streams; a store with local
    files takes large ones over that are the worker's own, so that their paths may be gone.

    Raises:
        RemexError: what the store answered to the first one that it did not take.
    """
    if not files and not blobs:
        return
    missing = await store.find_missing({*files, *blobs})
    small = [key for key in missing if key in blobs or key.size <= _SMALL]
    for batch in batches(small):
        items = await asyncio.to_thread(_load, batch, blobs, files)
        for error in (await ops.write_many(store, items)).values():
            raise error
    large = [(key, files[key]) for key in missing.difference(small)]
    if not large:
        return
    waiting = iter(large)
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_LARGE_AT_ONCE):
                group.create_task(_send(store, waiting))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _send(store: Store, files: Iterator[tuple[Key, SourceFile]]) -> None:
    """Sends one file after the other; several tasks share the iterator."""
    local = ops.capability(store, LocalFiles)
    for key, source in files:
        if local is not None and source.own:
            await local.adopt(key, Path(source.path))
        else:
            async with aclosing(_pieces(source.path)) as pieces:
                await store.write(key, pieces)


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
