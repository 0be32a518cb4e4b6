"""Output directories as Trees: canonical, each distinct directory once, parents first."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from remex_core.errors import InvalidArgument, RemexError
from remex_core.proto import reapi
from remex_core.worker.output_content import is_executable, read_link, shown, special_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from remex_core.digest import Key
    from remex_core.worker.output_content import ContentReader

_MAX_DEPTH: Final = 300
"""How deep output directories may be nested; the walk calls itself once a level."""


class OutputTree:
    """The directory at `path` of the input root, as serialised Directory messages (OUT-13).

    `root` is its own; `children` are all below it by their keys, every one behind all that it
    holds. The same content makes the same bytes (OUT-14). What cannot be represented is left out
    and added to `problems`.
    """

    def __init__(
        self,
        content: ContentReader,
        parent: int,
        name: str,
        path: str,
        problems: list[RemexError],
    ) -> None:
        self.children: dict[Key, bytes] = {}
        self._content = content
        self._problems = problems
        self.root = self._directory(parent, name, path, 0)

    def encode(self) -> bytes:
        """The serialised Tree, topologically sorted (OUT-15)."""
        return encode_tree(self.root, self.children)

    def _directory(self, parent: int, name: str, path: str, depth: int) -> bytes:
        if depth > _MAX_DEPTH:
            raise InvalidArgument(
                f"The output directory {shown(path)} is nested more than {_MAX_DEPTH} deep."
            )
        message = reapi.Directory()
        descriptor = self._content.enter(parent, name)
        try:
            for entry, status in _entries(descriptor):
                place = f"{path}/{entry}" if path else entry
                try:
                    self._add(message, descriptor, entry, place, status, depth)
                except RemexError as problem:
                    self._problems.append(problem)
        finally:
            os.close(descriptor)
        return message.SerializeToString(deterministic=True)

    def _add(
        self,
        message: reapi.Directory,
        parent: int,
        name: str,
        path: str,
        status: os.stat_result,
        depth: int,
    ) -> None:
        _check_name(name, path)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG:
            key = self._content.hash_file(parent, name, path, status)
            message.files.add(
                name=name,
                digest=reapi.Digest(hash=key.hash, size_bytes=key.size),
                is_executable=is_executable(status),
            )
        elif kind == stat.S_IFLNK:
            message.symlinks.add(name=name, target=read_link(parent, name, path))
        elif kind == stat.S_IFDIR:
            child = self._directory(parent, name, path, depth + 1)
            key = self._content.function.key_of(child)
            self.children.setdefault(key, child)
            message.directories.add(
                name=name, digest=reapi.Digest(hash=key.hash, size_bytes=key.size)
            )
        else:
            raise special_file(path)


def encode_tree(root: bytes, children: Mapping[Key, bytes]) -> bytes:
    """A Tree of serialised directories: the root, then the last of `children` to the first.

    Children are kept behind what they hold, so backwards every parent comes before its children.
    """
    pieces = [b"\x0a", _varint(len(root)), root]
    for child in reversed(list(children.values())):
        pieces += (b"\x12", _varint(len(child)), child)
    return b"".join(pieces)


def _entries(directory: int) -> Iterator[tuple[str, os.stat_result]]:
    """Names and status, sorted by name: code points sort as their UTF-8 bytes do (OUT-13)."""
    for name in sorted(os.listdir(directory)):
        yield name, os.stat(name, dir_fd=directory, follow_symlinks=False)


def _check_name(name: str, path: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            f"The output {shown(path)} has a name that is not UTF-8, which the protocol cannot "
            f"express."
        ) from error


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
