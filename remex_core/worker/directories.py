"""Directory messages, checked and in the shape that building a tree wants.

A parsed directory is a handful of tuples; the memo keeps those of recent trees, since the
actions of one build share most of theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from remex_core.errors import InvalidArgument
from remex_core.proto import reapi

if TYPE_CHECKING:
    from remex_core.digest import Key, KeyMaker

_MAX_NAME_BYTES: Final = 255
_MAX_TARGET_BYTES: Final = 4095
_FORBIDDEN: Final = frozenset({"", ".", ".."})


@dataclass(frozen=True, slots=True)
class ParsedDirectory:
    """What one directory holds: `(name, key, executable)`, `(name, key)` and `(name, target)`."""

    files: tuple[tuple[str, Key, bool], ...]
    directories: tuple[tuple[str, Key], ...]
    symlinks: tuple[tuple[str, str], ...]

    @property
    def entries(self) -> int:
        """How many names the directory has."""
        return len(self.files) + len(self.directories) + len(self.symlinks)


def parse_directory(data: bytes, key: Key, maker: KeyMaker) -> ParsedDirectory:
    """The Directory in `data`, which is stored under `key`.

    Entries may come in any order (DIR-04). Node properties are ignored: none is announced as
    supported (DIR-10). Symlinks may point anywhere (DIR-07, DIR-09).

    Raises:
        InvalidArgument: if it breaks a rule (DIR-01, DIR-02, DIR-08, DIR-11, EXE-17).
    """
    try:
        message = reapi.Directory.FromString(data)
    except DecodeError as error:
        raise InvalidArgument(f"The blob {key.hash}/{key.size} is not a Directory.") from error
    make = maker.key
    parsed = ParsedDirectory(
        tuple(
            (node.name, make(node.digest.hash, node.digest.size_bytes), node.is_executable)
            for node in message.files
        ),
        tuple(
            (node.name, make(node.digest.hash, node.digest.size_bytes))
            for node in message.directories
        ),
        tuple((node.name, node.target) for node in message.symlinks),
    )
    _check_names(parsed, key)
    for name, target in parsed.symlinks:
        _check_target(name, target, key)
    return parsed


def _check_names(parsed: ParsedDirectory, key: Key) -> None:
    seen: set[str] = set()
    for entries in (parsed.files, parsed.directories, parsed.symlinks):
        for entry in entries:
            name: str = entry[0]
            if name in _FORBIDDEN or "/" in name or "\0" in name:
                raise _refused(key, f"an entry named {name!r}, which is not one path segment")
            if name in seen:
                raise _refused(key, f"two entries named {name!r}")
            if len(name.encode()) > _MAX_NAME_BYTES:
                raise _refused(key, f"a name longer than {_MAX_NAME_BYTES} bytes: {name!r}")
            seen.add(name)


def _check_target(name: str, target: str, key: Key) -> None:
    if not target or "\0" in target or len(target.encode()) > _MAX_TARGET_BYTES:
        raise _refused(key, f"the symlink {name!r} with an impossible target: {target[:200]!r}")


def _refused(key: Key, what: str) -> InvalidArgument:
    return InvalidArgument(f"The input directory {key.hash}/{key.size} has {what}.")


class DirectoryMemo:
    """Parsed directories by key, at most `capacity` entries of them in all.

    When it is full it is emptied, which is cheaper on average than keeping an order.
    """

    def __init__(self, capacity: int = 200_000) -> None:
        self._capacity = capacity
        self._entries = 0
        self._parsed: dict[Key, ParsedDirectory] = {}

    def get(self, key: Key) -> ParsedDirectory | None:
        """What was parsed under `key`, if that is still known."""
        return self._parsed.get(key)

    def put(self, key: Key, parsed: ParsedDirectory) -> None:
        """Remembers a parsed directory."""
        weight = parsed.entries + 1
        if self._entries + weight > self._capacity:
            self._parsed.clear()
            self._entries = 0
        if weight <= self._capacity and key not in self._parsed:
            self._parsed[key] = parsed
            self._entries += weight
