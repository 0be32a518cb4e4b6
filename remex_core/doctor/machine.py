"""Checks of the machine: open files, disk space, free ports, links from store to work directory."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from remex_core.digest import SHA256
from remex_core.errors import RemexError
from remex_core.plugins.descriptors import Finding
from remex_core.store import ops
from remex_core.store.contract import LinkFile, LinkPlan, LocalFiles
from remex_core.wire import addresses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from remex_core.store.contract import Store

GIB: Final = 1024**3
_WANTED_FILES: Final = 4096
_NEEDED_FILES: Final = 256
_WANTED_SPACE: Final = 5 * GIB
_NEEDED_SPACE: Final = GIB // 2


def open_files() -> Finding:
    """How many files and sockets a server may have open: `serve` raises its own soft limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= _WANTED_FILES:
        limit = "any number of" if hard == resource.RLIM_INFINITY else f"up to {hard}"
        return Finding("open-files", "ok", f"A server may have {limit} files open.")
    return Finding(
        "open-files",
        "warn" if hard >= _NEEDED_FILES else "fail",
        f"A server may have only {hard} files open; a busy one needs {_WANTED_FILES}: one for each "
        "connection, read and write.",
        "Raise the hard limit: `ulimit -Hn 65536`, or LimitNOFILE=65536 in a systemd unit.",
    )


def disk_space(directory: Path) -> Finding:
    """Whether the disk under `directory`, which need not exist yet, has room for a cache."""
    place = nearest_existing(directory)
    free = shutil.disk_usage(place).free
    message = f"{free / GIB:.1f} GiB are free for {directory}."
    if free >= _WANTED_SPACE:
        return Finding("disk-space", "ok", message)
    return Finding(
        "disk-space",
        "warn" if free >= _NEEDED_SPACE else "fail",
        f"Only {message}",
        "Make room there, or keep the data elsewhere with --data-dir.",
    )


def inodes(directory: Path) -> Finding:
    """Whether the disk under `directory` has room for many files."""
    found = os.statvfs(nearest_existing(directory))
    if found.f_files == 0 or found.f_favail >= 100_000:
        return Finding("inodes", "ok", f"There is room for many files in {directory}.")
    return Finding(
        "inodes",
        "warn",
        f"Only {found.f_favail} more files fit on the disk of {directory}; each blob is a file.",
        "Use a filesystem with more inodes, such as XFS, or keep the data elsewhere.",
    )


def port(name: str, address: str) -> Finding:
    """Whether `serve` could listen at `address`, which it calls `name`."""
    check = f"port:{name}"
    try:
        addresses.check_free(addresses.normalise(address))
    except RemexError as error:
        return Finding(check, "fail", error.message, error.hint)
    return Finding(check, "ok", f"{address} is free.")


async def hard_link(store: Store) -> Finding:
    """Whether a blob of `store` can be linked into a work directory beside it, by doing so."""
    files = ops.capability(store, LocalFiles)
    if files is None:
        return Finding(
            "hard-link",
            "skip",
            "The store keeps no files on this machine, so inputs are copied from it.",
            "A worker that reads its inputs from a filesystem store links them: pip install "
            "remex-fs",
        )
    data = b"remex doctor: a link from the store to a work directory\n"
    key = SHA256.key_of(data)
    await ops.write_bytes(store, key, data)
    try:
        links = await _links_of(files, LinkFile(key, "input", executable=False))
    except OSError as error:
        return Finding("hard-link", "fail", f"The store's work directory is unusable: {error}.")
    finally:
        await store.discard([key])
    if links > 1:
        return Finding("hard-link", "ok", f"Inputs are hard links; tried in {files.work_root}.")
    return Finding(
        "hard-link",
        "warn",
        f"A blob was copied into {files.work_root}, because a link was impossible: every action "
        "then copies all its inputs.",
        "Keep store and work directory on one mount that has hard links, and owned by one user.",
    )


async def _links_of(files: LocalFiles, file: LinkFile) -> int:
    """How many names the file has that the store made of `file`."""
    files.work_root.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="doctor-", dir=files.work_root))
    try:
        missing = await files.link_into(LinkPlan(root, (), (file,)))
        if missing:
            raise FileNotFoundError(f"{file.key} was stored and is gone")
        return (root / file.path).stat().st_nlink
    finally:
        await asyncio.to_thread(shutil.rmtree, root)


def nearest_existing(path: Path) -> Path:
    """`path`, or the nearest directory above it that exists."""
    return next(place for place in (path, *path.parents) if place.is_dir())


@contextmanager
def scratch(directory: Path) -> Iterator[Path]:
    """An empty directory on the disk where `directory` is or would be, removed afterwards.

    Raises:
        OSError: if none can be made there.
    """
    with tempfile.TemporaryDirectory(
        prefix="remex-doctor-", dir=nearest_existing(directory)
    ) as made:
        yield Path(made)
