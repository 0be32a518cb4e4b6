"""How long it takes to make an input root from the local store, beside bare links."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

from remex_core.bench.figure import Figure, in_turns
from remex_core.clock import SYSTEM
from remex_core.digest import SHA256
from remex_core.plugins.descriptors import StoreNode
from remex_core.plugins.registry import load_registry
from remex_core.store import ops
from remex_core.store.contract import LinkFile, LinkPlan, LocalFiles
from remex_core.testing.open_store import open_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

_FILES_PER_DIRECTORY: Final = 100


async def materialise(directory: Path, *, files: int, rounds: int) -> Sequence[Figure]:
    """Milliseconds to link `files` different blobs, 100 to a directory."""
    contents = [f"file {number}\n".encode() for number in range(files)]
    paths = [f"d{number // _FILES_PER_DIRECTORY}/f{number}" for number in range(files)]
    directories = list(dict.fromkeys(path.split("/")[0] for path in paths))
    keys = list(map(SHA256.key_of, contents))
    directory.mkdir(parents=True)  # noqa: ASYNC240 - nothing else runs meanwhile
    node = StoreNode.parse({"filesystem": {"path": str(directory / "cas")}})
    async with open_store(load_registry(), {"cas": node}, "cas", directory) as store:
        local = ops.capability(store, LocalFiles)
        assert local is not None
        errors = await ops.write_many(store, list(zip(keys, contents, strict=True)))
        assert not errors, errors
        plain = _plain_files(local.work_root / "plain", contents)

        async def by_store(root: Path) -> None:
            made = [
                LinkFile(key, path, executable=False) for key, path in zip(keys, paths, strict=True)
            ]
            missing = await local.link_into(LinkPlan(root, directories, made))
            assert not missing, f"{len(missing)} of the blobs just stored are missing"

        async def by_hand(root: Path) -> None:
            for name in directories:
                (root / name).mkdir()
            for source, path in zip(plain, paths, strict=True):
                os.link(source, root / path)

        bare, store_time = await in_turns(
            rounds,
            lambda: _milliseconds(local.work_root / "bare", by_hand),
            lambda: _milliseconds(local.work_root / "store", by_store),
        )
    return (Figure(f"materialise {files:,} files", store_time, "ms", bare, at_most=2.0),)


def _plain_files(directory: Path, contents: Sequence[bytes]) -> list[str]:
    """As many files as there are contents, spread over as many directories as a store has."""
    made = []
    for number, content in enumerate(contents):
        path = directory / f"{number % 256:02x}" / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        made.append(str(path))
    return made


async def _milliseconds(root: Path, make: Callable[[Path], Awaitable[None]]) -> float:
    root.mkdir(parents=True)  # noqa: ASYNC240 - nothing else runs meanwhile
    try:
        started = SYSTEM.monotonic()
        await make(root)
        return (SYSTEM.monotonic() - started) * 1000
    finally:
        shutil.rmtree(root)
