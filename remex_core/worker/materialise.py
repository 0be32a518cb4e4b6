"""Making an input tree on disk: hard links where the store has local files, else copies.

Files are read-only either way (DIR-05). Symlinks come last, so that nothing is ever written
through one.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from remex_core.errors import BlobNotFound, DataLoss, MissingBlobs, RemexError
from remex_core.store import ops
from remex_core.store.contract import LinkPlan, LocalFiles
from remex_core.worker.inputs import (
    MAX_BATCH_BYTES,
    MAX_REPORTED,
    batches,
    drop_damaged,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    from remex_core.digest import Key
    from remex_core.store.contract import LinkFile, Store
    from remex_core.worker.inputs import InputTree

_EXECUTABLE: Final = 0o555
_PLAIN: Final = 0o444


async def materialise(store: Store, root: Path, tree: InputTree) -> LinkPlan | None:
    """Makes `tree` below the existing empty directory `root`.

    Answers the plan whose files are links into the store, for `LocalFiles.verify_links` after
    the run; None where everything was copied.

    Raises:
        MissingBlobs: naming all that is not in the store (EXE-13, EXE-16).
        OSError: if the disk does not take it.
    """
    plan = LinkPlan(root, tree.directories, tree.files)
    local = ops.capability(store, LocalFiles)
    if local is not None:
        missing = await local.link_into(plan)
        if missing:
            await _copy(store, root, [file for file in tree.files if file.key in missing])
            linked = [file for file in tree.files if file.key not in missing]
            plan = LinkPlan(root, tree.directories, linked)
    else:
        await asyncio.to_thread(_make_directories, root, tree.directories)
        await _copy(store, root, tree.files)
    if tree.empty_files or tree.symlinks:
        await asyncio.to_thread(_finish, root, tree)
    return plan if local is not None else None


async def _copy(store: Store, root: Path, files: Iterable[LinkFile]) -> None:
    """Reads each blob once and writes it wherever it belongs."""
    places: dict[Key, list[LinkFile]] = {}
    for file in files:
        places.setdefault(file.key, []).append(file)
    missing: list[Key] = []
    for batch in batches(key for key in places if key.size <= MAX_BATCH_BYTES):
        blobs = await ops.read_many(store, batch, max_bytes=MAX_BATCH_BYTES)
        await drop_damaged(store, blobs)
        good = [(places[key], blob) for key, blob in blobs.items() if isinstance(blob, bytes)]
        missing += _not_there(blobs.items())
        await asyncio.to_thread(_write_all, root, good)
    for key, files_of_key in places.items():
        if key.size > MAX_BATCH_BYTES:
            try:
                await _stream(store, root, files_of_key)
            except (BlobNotFound, DataLoss) as error:
                await drop_damaged(store, {key: error})
                missing.append(key)
    if missing:
        raise MissingBlobs(sorted(missing)[:MAX_REPORTED])


def _not_there(blobs: Collection[tuple[Key, bytes | RemexError]]) -> list[Key]:
    missing = []
    for key, blob in blobs:
        if isinstance(blob, BlobNotFound | DataLoss):
            missing.append(key)
        elif isinstance(blob, RemexError):
            raise blob
    return missing


async def _stream(store: Store, root: Path, places: Sequence[LinkFile]) -> None:
    """Writes one large blob to each place, a piece in memory at a time."""
    first, *others = places
    descriptor = _create(root, first.path, first.executable)
    try:
        async with aclosing(store.read(first.key)) as pieces:
            async for piece in pieces:
                await asyncio.to_thread(_write, descriptor, piece)
    finally:
        os.close(descriptor)
    for place in others:
        await asyncio.to_thread(_duplicate, root, first, place)


def _duplicate(root: Path, source: LinkFile, place: LinkFile) -> None:
    descriptor = _create(root, place.path, place.executable)
    with open(descriptor, "wb") as target, open(f"{root}/{source.path}", "rb") as read:  # noqa: PTH123 - a descriptor
        shutil.copyfileobj(read, target, MAX_BATCH_BYTES)


def _make_directories(root: Path, directories: Iterable[str]) -> None:
    for directory in directories:
        os.mkdir(f"{root}/{directory}")  # noqa: PTH102 - thousands of these


def _finish(root: Path, tree: InputTree) -> None:
    for path, executable in tree.empty_files:
        os.close(_create(root, path, executable))
    for path, target in tree.symlinks:
        os.symlink(target, f"{root}/{path}")  # noqa: PTH211 - thousands of these


def _write_all(root: Path, blobs: Iterable[tuple[Sequence[LinkFile], bytes]]) -> None:
    for places, blob in blobs:
        for place in places:
            descriptor = _create(root, place.path, place.executable)
            try:
                _write(descriptor, blob)
            finally:
                os.close(descriptor)


def _create(root: Path, path: str, executable: bool) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(f"{root}/{path}", flags, 0o600)
    os.fchmod(descriptor, _EXECUTABLE if executable else _PLAIN)
    return descriptor


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
