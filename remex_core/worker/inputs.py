"""From the digest of an input root to everything that is to be made on disk.

The tree is read level by level, each level in batches. What is missing is gathered rather than
reported one by one, so that a client uploads it in one go (EXE-16).
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from remex_core.errors import (
    BlobNotFound,
    DataLoss,
    InvalidArgument,
    MissingBlobs,
    RemexError,
    ResourceExhausted,
)
from remex_core.store import ops
from remex_core.store.contract import LinkFile
from remex_core.worker.directories import DirectoryMemo, ParsedDirectory, parse_directory

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from remex_core.digest import Key, KeyMaker
    from remex_core.store.contract import Store

MAX_BATCH_BYTES: Final = 4_000_000
"""What one batched read or write holds at most, in bytes."""

MAX_REPORTED: Final = 10_000
"""How many missing blobs are named in one answer."""

MAX_PATH_BYTES: Final = 3500
"""How long a directory's path may be below the input root: PATH_MAX less room for the root's own
path and a name."""

_MAX_BATCH_KEYS: Final = 1000
_MAX_DIRECTORY_BYTES: Final = 16 * 1024 * 1024
_MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024


@dataclass(slots=True)
class InputTree:
    """An input root as paths relative to it; directories stand before what is in them."""

    directories: list[str] = field(default_factory=list)
    files: list[LinkFile] = field(default_factory=list)
    empty_files: list[tuple[str, bool]] = field(default_factory=list)
    """Path, and whether it is executable."""
    symlinks: list[tuple[str, str]] = field(default_factory=list)
    """Path and target."""

    def add_directories(self, paths: Iterable[str]) -> None:
        """Adds directories and their parents where the tree does not have them.

        Raises:
            InvalidArgument: if one would lie below a file of the tree.
        """
        known = set(self.directories)
        others: set[str] | None = None
        for path in paths:
            if path in known:
                continue
            if others is None:
                others = {file.path for file in self.files}
                others.update(name for name, _ in (*self.empty_files, *self.symlinks))
            for step in _steps(path):
                if step in known:
                    continue
                if step in others:
                    if step != path:
                        raise InvalidArgument(
                            f"An output lies in the directory {path!r}, but the input tree has "
                            f"something else than a directory at {step!r}."
                        )
                    continue  # The command may replace it; the output says what it became.
                known.add(step)
                self.directories.append(step)


def _steps(path: str) -> list[str]:
    """`a/b/c` as `a`, `a/b`, `a/b/c`."""
    steps = [path]
    while path := posixpath.dirname(path):
        steps.append(path)
    return steps[::-1]


class InputReader:
    """Reads messages and trees from the CAS.

    Args:
        store: where the blobs are.
        max_entries: how many paths one input tree may have after expansion (DIR-11).
        memo: keeps parsed directories between trees.
    """

    def __init__(
        self, store: Store, *, max_entries: int = 1_000_000, memo: DirectoryMemo | None = None
    ) -> None:
        self._store = store
        self._max_entries = max_entries
        self._memo = memo or DirectoryMemo()

    async def message(self, key: Key) -> bytes:
        """The bytes of an Action or a Command.

        Raises:
            MissingBlobs: if it is not in the CAS (EXE-13).
        """
        if not key.size:
            return b""
        try:
            return await ops.read_all(self._store, key, max_bytes=_MAX_MESSAGE_BYTES)
        except (BlobNotFound, DataLoss) as error:
            await drop_damaged(self._store, {key: error})
            raise MissingBlobs((key,)) from error

    async def tree(self, root: Key, maker: KeyMaker) -> InputTree:
        """The whole tree below the Directory `root`.

        Raises:
            InvalidArgument: if a directory breaks a rule, or the tree is too large (DIR-01..11).
            MissingBlobs: if directories are missing; names them and every missing file that can
                be known without them (EXE-16).
        """
        tree = InputTree()
        missing: list[Key] = []
        level = [("", root)]
        entries = 0
        while level:
            parsed = await self._directories({key for _, key in level}, maker, missing)
            below: list[tuple[str, Key]] = []
            for path, key in level:
                directory = parsed.get(key)
                if directory is None:
                    continue
                entries += directory.entries
                if entries > self._max_entries:
                    raise InvalidArgument(
                        f"The input tree has more than {self._max_entries} entries."
                    )
                _expand(tree, path, directory, below, maker.function.empty_key)
            level = below
        if missing:
            await self._report(missing, {file.key for file in tree.files})
        return tree

    async def _report(self, directories: Sequence[Key], files: Collection[Key]) -> None:
        missing = [*directories, *sorted(await self._store.find_missing(files))]
        raise MissingBlobs(missing[:MAX_REPORTED])

    async def _directories(
        self, keys: Collection[Key], maker: KeyMaker, missing: list[Key]
    ) -> dict[Key, ParsedDirectory]:
        """The parsed directories of one level; those that are not there go to `missing`."""
        found: dict[Key, ParsedDirectory] = {}
        unknown: list[Key] = []
        for key in keys:
            parsed = self._memo.get(key)
            if parsed is not None:
                found[key] = parsed
            elif key == maker.function.empty_key:
                found[key] = ParsedDirectory((), (), ())
            else:
                unknown.append(key)
        for batch in batches(unknown):
            blobs = await self._blobs(batch)
            await drop_damaged(self._store, blobs)
            for key in batch:
                blob = blobs[key]
                if isinstance(blob, RemexError):
                    if not isinstance(blob, BlobNotFound | DataLoss):
                        raise blob
                    missing.append(key)
                    continue
                parsed = found[key] = parse_directory(blob, key, maker)
                self._memo.put(key, parsed)
        return found

    async def _blobs(self, batch: Sequence[Key]) -> dict[Key, bytes | RemexError]:
        if len(batch) == 1 and batch[0].size > MAX_BATCH_BYTES:
            key = batch[0]
            try:
                return {key: await ops.read_all(self._store, key, max_bytes=_MAX_DIRECTORY_BYTES)}
            except ResourceExhausted as error:
                raise InvalidArgument(
                    f"The input directory {key.hash}/{key.size} is larger than the "
                    f"{_MAX_DIRECTORY_BYTES} bytes that one may have."
                ) from error
            except (BlobNotFound, DataLoss) as error:
                return {key: error}
        return dict(await ops.read_many(self._store, batch, max_bytes=MAX_BATCH_BYTES))


async def drop_damaged(store: Store, values: Mapping[Key, bytes | RemexError]) -> None:
    """Discards what turned out to be damaged, so that it is missing and is uploaded again."""
    damaged = [key for key, value in values.items() if isinstance(value, DataLoss)]
    if damaged:
        await store.discard(damaged)


def batches(keys: Iterable[Key]) -> Iterator[list[Key]]:
    """`keys` in portions for one batched call; one that is too large for any is alone."""
    return ops.in_batches(keys, max_bytes=MAX_BATCH_BYTES, max_keys=_MAX_BATCH_KEYS)


def _expand(
    tree: InputTree,
    path: str,
    directory: ParsedDirectory,
    below: list[tuple[str, Key]],
    empty: Key,
) -> None:
    """Adds what the directory at `path` holds; its subdirectories go to `below` as well."""
    prefix = f"{path}/" if path else ""
    for name, key, executable in directory.files:
        if key == empty:
            tree.empty_files.append((prefix + name, executable))
        else:
            tree.files.append(LinkFile(key, prefix + name, executable))
    for name, target in directory.symlinks:
        tree.symlinks.append((prefix + name, target))
    for name, key in directory.directories:
        child = prefix + name
        if len(child.encode()) > MAX_PATH_BYTES:
            raise InvalidArgument(
                f"The path {child[:100]!r}… of an input directory is longer than "
                f"{MAX_PATH_BYTES} bytes."
            )
        tree.directories.append(child)
        below.append((child, key))
