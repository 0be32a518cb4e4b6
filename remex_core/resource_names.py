"""Resource names: how ByteStream and error details spell the name of a blob.

Reading and writing the grammar, both ways, for server and client alike. Whether an instance,
function or compressor is offered is for the services to say.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from remex_core.digest import FUNCTIONS, MAX_SIZE
from remex_core.errors import InvalidArgument

if TYPE_CHECKING:
    from remex_core.digest import Key

KEYWORDS: Final = frozenset(
    (
        "blobs",
        "uploads",
        "actions",
        "actionResults",
        "operations",
        "capabilities",
        "compressed-blobs",
    )
)
"""The segments that no instance name may have (INS-02); the first one ends the instance name."""

COMPRESSORS: Final = frozenset(("zstd", "deflate", "brotli"))
"""The compressors that a name can carry; `identity` is none of them (BSR-09)."""

_FUNCTION_SEGMENTS: Final = frozenset(
    (
        "sha256",
        "sha1",
        "md5",
        "vso",
        "sha384",
        "sha512",
        "murmur3",
        "sha256tree",
        "blake3",
        "gitsha1",
    )
)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


class ResourceName(NamedTuple):
    """A blob as a resource name spells it, unchecked against what the server offers.

    `compressor` is empty for the bytes as they are, `function` where the name leaves it to the
    length of the hash (DIG-13).
    """

    instance: str
    compressor: str
    function: str
    hash: str
    size: int


def parse_read_name(name: str) -> ResourceName:
    """The blob that a ByteStream read names.

    Raises:
        InvalidArgument: if it is no name that can be read (BSR-01, BSR-13, DIG-03).
    """
    segments = name.split("/")
    at = _first_keyword(name, segments)
    if segments[at] == "uploads":
        raise _malformed(name, "it names an upload, which cannot be read")
    blob, rest = _parse_blob(name, "/".join(segments[:at]), segments[at:])
    if rest:
        raise _malformed(name, f"{'/'.join(rest)!r} follows the size")
    return blob


def parse_upload_name(name: str) -> ResourceName:
    """The blob that a ByteStream write names; what follows its size is ignored (BSW-16).

    Raises:
        InvalidArgument: if it is no name that can be written (BSW-15, BSW-21, DIG-03).
    """
    segments = name.split("/")
    at = _first_keyword(name, segments)
    if segments[at] != "uploads":
        raise _malformed(name, "a write needs `uploads/` and a UUID before `blobs/`")
    if len(segments) < at + 2 or not _UUID.fullmatch(segments[at + 1]):
        raise _malformed(name, "`uploads/` is not followed by a UUID of the form 8-4-4-4-12")
    blob, _ = _parse_blob(name, "/".join(segments[:at]), segments[at + 2 :])
    return blob


def blob_name(key: Key) -> str:
    """`blobs/[function/]hash/size`, as MISSING violations spell it (EXE-13)."""
    segment = f"{key.function}/" if FUNCTIONS[key.function].in_resource_names else ""
    return f"blobs/{segment}{key.hash}/{key.size}"


def read_name(instance: str, key: Key) -> str:
    """The name under which a blob is read."""
    return f"{instance}/{blob_name(key)}" if instance else blob_name(key)


def upload_name(instance: str, uuid: str, key: Key) -> str:
    """The name under which a blob is written; `uuid` tells one upload from another."""
    name = f"uploads/{uuid}/{blob_name(key)}"
    return f"{instance}/{name}" if instance else name


def _first_keyword(name: str, segments: list[str]) -> int:
    for at, segment in enumerate(segments):
        if segment in KEYWORDS:
            return at
    raise _malformed(name, "it contains neither `blobs/` nor `uploads/`")


def _parse_blob(name: str, instance: str, segments: list[str]) -> tuple[ResourceName, list[str]]:
    """The blob at the start of `segments`, and what follows it."""
    compressor = ""
    keyword, *rest = segments or [""]
    if keyword == "compressed-blobs":
        compressor, *rest = rest or [""]
        if compressor not in COMPRESSORS:
            raise _malformed(name, f"{compressor!r} is not a compressor")
    elif keyword != "blobs":
        raise _malformed(name, f"{keyword!r} stands where `blobs` is expected")
    function = ""
    if rest and rest[0] in _FUNCTION_SEGMENTS:
        function, *rest = rest
    if len(rest) < 2:
        raise _malformed(name, "a hash and a size are missing at its end")
    hash_, size, *rest = rest
    if not _SIZE.fullmatch(size) or int(size) > MAX_SIZE:
        raise _malformed(name, f"{size[:40]!r} is not a size in bytes")
    return ResourceName(instance, compressor, function, hash_, int(size)), rest


def _malformed(name: str, reason: str) -> InvalidArgument:
    return InvalidArgument(
        f"The resource name {name[:300]!r} is malformed: {reason}.",
        hint="Read [instance/]blobs/hash/size; write [instance/]uploads/uuid/blobs/hash/size.",
    )
