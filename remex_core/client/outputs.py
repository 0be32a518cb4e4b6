"""The outputs of an action, brought to disk."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from remex_core.client.actions import Actions
from remex_core.client.blobs import at_once
from remex_core.errors import DataLoss, InvalidArgument
from remex_core.proto import reapi

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from remex_core.digest import Key

_SMALL_BYTES: Final = 256 * 1024
"""Files up to this size are fetched many at a time, through memory."""


class Outputs(Actions):
    """Fetching what an action made."""

    async def fetch_outputs(self, result: reapi.ActionResult, into: Path) -> None:
        """Makes the output files, directories and links of a result below `into`.

        Raises:
            InvalidArgument: if the result names a path outside of `into`.
            BlobNotFound: if the server has lost an output.
        """
        plan = _Plan()
        for file in result.output_files:
            plan.files.append((_inside(into, file.path), self.key(file.digest), file.is_executable))
        for link in result.output_symlinks:
            plan.links.append((_inside(into, link.path), link.target))
        for output in result.output_directories:
            data = await self.download(self.key(output.tree_digest))
            self._add_tree(plan, reapi.Tree.FromString(data), _inside(into, output.path))
        await asyncio.to_thread(plan.make_directories)
        small = [file for file in plan.files if file[1].size <= _SMALL_BYTES]
        contents = await self.download_many([key for _, key, _ in small])
        await asyncio.to_thread(_write_files, small, contents)
        await at_once(
            self.download_to(key, path, executable=executable)
            for path, key, executable in plan.files
            if key.size > _SMALL_BYTES
        )
        await asyncio.to_thread(plan.make_links)

    def _add_tree(self, plan: _Plan, tree: reapi.Tree, path: Path) -> None:
        """Adds a Tree's directories, whose digests are those of their canonical bytes."""
        children = {
            self.key_of(child.SerializeToString(deterministic=True)): child
            for child in tree.children
        }
        to_do = [(path, tree.root)]
        while to_do:
            path, directory = to_do.pop()
            plan.directories.append(path)
            for file in directory.files:
                key = self.key(file.digest)
                plan.files.append((_inside(path, file.name), key, file.is_executable))
            for link in directory.symlinks:
                plan.links.append((_inside(path, link.name), link.target))
            for node in directory.directories:
                child = children.get(self.key(node.digest))
                if child is None:
                    raise DataLoss(f"The output tree lacks its directory {node.name!r}.")
                to_do.append((_inside(path, node.name), child))


@dataclass(slots=True)
class _Plan:
    """What to make on disk."""

    directories: list[Path] = field(default_factory=list)
    files: list[tuple[Path, Key, bool]] = field(default_factory=list)
    links: list[tuple[Path, str]] = field(default_factory=list)

    def make_directories(self) -> None:
        """All directories, those of files and links as well (blocking)."""
        parents = {file[0].parent for file in self.files} | {link[0].parent for link in self.links}
        for directory in (*self.directories, *parents):
            directory.mkdir(parents=True, exist_ok=True)

    def make_links(self) -> None:
        """All symbolic links (blocking)."""
        for path, target in self.links:
            path.symlink_to(target)


def _write_files(files: list[tuple[Path, Key, bool]], contents: Mapping[Key, bytes]) -> None:
    for path, key, executable in files:
        path.write_bytes(contents[key])
        path.chmod(0o755 if executable else 0o644)


def _inside(root: Path, path: str) -> Path:
    if path.startswith("/") or ".." in path.split("/"):
        raise InvalidArgument(f"The result names {path!r}, which is outside of its directory.")
    return root / path
