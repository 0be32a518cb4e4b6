"""Which blobs an action result, a Tree and a Directory refer to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from remex_core.errors import MalformedDigest
from remex_core.proto import reapi

if TYPE_CHECKING:
    from collections.abc import Iterator

    from remex_core.digest import Key, KeyMaker


class MalformedMessageError(Exception):
    """Bytes that are not the message they should be, or one that refers to what cannot be."""


@dataclass(frozen=True, slots=True)
class ResultReferences:
    """What an action result refers to: `blobs` by themselves, `trees` and `roots` with more."""

    blobs: tuple[Key, ...]
    trees: tuple[Key, ...]
    roots: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class DirectoryReferences:
    """What one Directory refers to."""

    files: tuple[Key, ...]
    directories: tuple[Key, ...]


def of_action_result(maker: KeyMaker, value: bytes) -> ResultReferences:
    """The references of a serialised ActionResult.

    Raises:
        MalformedMessageError: if it is none, or if one of its digests cannot be one.
    """
    try:
        result = reapi.ActionResult.FromString(value)
        digests = [file.digest for file in result.output_files]
        if result.HasField("stdout_digest"):
            digests.append(result.stdout_digest)
        if result.HasField("stderr_digest"):
            digests.append(result.stderr_digest)
        trees, roots = [], []
        for directory in result.output_directories:
            has_root = directory.HasField("root_directory_digest")
            if has_root:
                roots.append(directory.root_directory_digest)
            if directory.HasField("tree_digest") or not has_root:
                trees.append(directory.tree_digest)
        return ResultReferences(
            tuple(maker.keys(digests)), tuple(maker.keys(trees)), tuple(maker.keys(roots))
        )
    except (DecodeError, MalformedDigest) as error:
        raise MalformedMessageError(str(error)) from error


def of_tree(maker: KeyMaker, value: bytes) -> tuple[Key, ...]:
    """Every file in every Directory of a serialised Tree, each once.

    Raises:
        MalformedMessageError: if it is none, or if a Directory of it refers to one that is not in
            it (AC-18).
    """
    roots, children = [], []
    for number, directory in _submessages(value):
        if number == _TREE_ROOT:
            roots.append(directory)
        elif number == _TREE_CHILDREN:
            children.append(directory)
    if len(roots) > 1:
        raise MalformedMessageError("a Tree has one root")
    known = {maker.function.key_of(child) for child in children}
    files: dict[Key, None] = {}
    for directory in (*roots, *children):
        references = of_directory(maker, directory)
        files.update(dict.fromkeys(references.files))
        if not known.issuperset(references.directories):
            raise MalformedMessageError("a Directory of the Tree is not in it")
    return tuple(files)


def of_directory(maker: KeyMaker, value: bytes) -> DirectoryReferences:
    """The references of a serialised Directory.

    Raises:
        MalformedMessageError: if it is none, or if one of its digests cannot be one.
    """
    try:
        directory = reapi.Directory.FromString(value)
        return DirectoryReferences(
            tuple(maker.keys([file.digest for file in directory.files])),
            tuple(maker.keys([child.digest for child in directory.directories])),
        )
    except (DecodeError, MalformedDigest) as error:
        raise MalformedMessageError(str(error)) from error


_TREE_ROOT: Final = 1
_TREE_CHILDREN: Final = 2

_VARINT: Final = 0
_FIXED64: Final = 1
_LENGTH_DELIMITED: Final = 2
_FIXED32: Final = 5


def _submessages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a message, byte for byte, by number.

    The digest of a Directory in a Tree is that of its bytes as they stand there; to serialise it
    again might give others (DIG-16).
    """
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire_type = tag & 7
        if wire_type == _LENGTH_DELIMITED:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise MalformedMessageError("a field ends after the message")
            yield tag >> 3, data[at : at + length]
            at += length
        elif wire_type == _VARINT:
            _, at = _varint(data, at)
        elif wire_type == _FIXED64:
            at += 8
        elif wire_type == _FIXED32:
            at += 4
        else:
            raise MalformedMessageError(f"wire type {wire_type} does not exist")
    if at > len(data):
        raise MalformedMessageError("a field ends after the message")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise MalformedMessageError("a number does not end")
