"""Input roots from plain Python values: what the demo, the bench and tests send as inputs.

A tree is a mapping of paths to nodes. A path may have several segments. A node is the content
itself (`bytes`), a file on disk (`Path`), a blob that is stored already (`Key`), one of these
with the executable bit (`File`), a symbolic link (`Link`), or a mapping: a directory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from remex_core.digest import SHA256, Key
from remex_core.errors import InvalidArgument
from remex_core.proto import reapi

if TYPE_CHECKING:
    from remex_core.digest import DigestFunction

Content: TypeAlias = bytes | Path
"""What is uploaded: bytes, or the file that holds them."""


@dataclass(frozen=True, slots=True)
class File:
    """A file; of a `Path`, the executable bit is taken from the disk as well."""

    content: Content | Key
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str


if TYPE_CHECKING:
    Node: TypeAlias = Content | Key | File | Link | Mapping[str, "Node"]
    Tree: TypeAlias = Mapping[str, Node]


@dataclass(frozen=True, slots=True)
class Built:
    """An input root, and the blobs that a server needs to have for it."""

    root: Key
    blobs: Mapping[Key, Content]


def build(tree: Tree, function: DigestFunction = SHA256) -> Built:
    """The Directory messages of a tree in their canonical form (DIR-01..04), and its contents.

    Reads and hashes every `Path` (blocking). The order of the mapping does not matter.

    Raises:
        InvalidArgument: if a path is absolute, has an empty, `.` or `..` segment, or is both a
            file and a directory.
    """
    blobs: dict[Key, Content] = {}
    root = _store_directory(_nested(tree), function, blobs)
    return Built(root, blobs)


def hash_file(path: Path, function: DigestFunction = SHA256) -> Key:
    """The key of a file's content (blocking); holds 1 MiB of it in memory at a time."""
    hasher = function.new()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(1024 * 1024):
            hasher.update(chunk)
            size += len(chunk)
    return Key("", function.name, hasher.hexdigest(), size)


@dataclass(slots=True)
class _Directory:
    nodes: dict[str, File | Link | _Directory] = field(default_factory=dict)


def _nested(tree: Tree) -> _Directory:
    root = _Directory()
    _add(root, tree, "")
    return root


def _add(directory: _Directory, tree: Tree, above: str) -> None:
    for path, node in tree.items():
        parent = directory
        *parents, name = path.split("/")
        for segment in (*parents, name):
            if segment in {"", ".", ".."} or "\0" in segment:
                raise InvalidArgument(f"{above + path!r} is not a path inside an input root.")
        for segment in parents:
            parent = _subdirectory(parent, segment, above + path)
        if isinstance(node, Mapping):
            _add(_subdirectory(parent, name, above + path), node, f"{above}{path}/")
            continue
        if name in parent.nodes:
            raise InvalidArgument(f"{above + path!r} is in the tree twice.")
        parent.nodes[name] = node if isinstance(node, File | Link) else File(node)


def _subdirectory(parent: _Directory, name: str, path: str) -> _Directory:
    found = parent.nodes.setdefault(name, _Directory())
    if not isinstance(found, _Directory):
        raise InvalidArgument(f"{path!r} needs a directory {name!r}, which is a file in the tree.")
    return found


def _store_directory(
    directory: _Directory, function: DigestFunction, blobs: dict[Key, Content]
) -> Key:
    message = reapi.Directory()
    for name, node in sorted(directory.nodes.items()):
        if isinstance(node, Link):
            message.symlinks.add(name=name, target=node.target)
        elif isinstance(node, File):
            key, executable = _store_file(node, function, blobs)
            added = message.files.add(name=name, is_executable=executable)
            added.digest.hash, added.digest.size_bytes = key.hash, key.size
        else:
            key = _store_directory(node, function, blobs)
            below = message.directories.add(name=name)
            below.digest.hash, below.digest.size_bytes = key.hash, key.size
    data = message.SerializeToString(deterministic=True)
    key = function.key_of(data)
    blobs[key] = data
    return key


def _store_file(
    file: File, function: DigestFunction, blobs: dict[Key, Content]
) -> tuple[Key, bool]:
    content = file.content
    if isinstance(content, Key):
        return content, file.executable
    if isinstance(content, bytes):
        key = function.key_of(content)
        blobs[key] = content
        return key, file.executable
    key = hash_file(content, function)
    blobs[key] = content
    return key, file.executable or os.access(content, os.X_OK)
