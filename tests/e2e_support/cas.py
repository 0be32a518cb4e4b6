"""Looks into a CAS by plain grpcio, so that remex's own client cannot vouch for its server."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import grpc

from remex_core.proto import bytestream, reapi

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def read_tree(address: str, digest: reapi.Digest) -> dict[str, bool | str | None]:
    """Return everything in a Tree by its path.

    A file is whether it is executable, a symlink is its target, a directory is None.
    """
    tree = reapi.Tree.FromString(read_blob(address, digest))
    children = {
        hashlib.sha256(child.SerializeToString()).hexdigest(): child for child in tree.children
    }
    return dict(_entries(tree.root, "", children))


def read_blob(address: str, digest: reapi.Digest) -> bytes:
    """Return the bytes of one SHA-256 blob."""
    request = bytestream.ReadRequest(resource_name=f"blobs/{digest.hash}/{digest.size_bytes}")
    with grpc.insecure_channel(address) as channel:
        read = channel.unary_stream(
            "/google.bytestream.ByteStream/Read",
            request_serializer=bytestream.ReadRequest.SerializeToString,
            response_deserializer=bytestream.ReadResponse.FromString,
        )
        return b"".join(response.data for response in read(request, timeout=30))


def _entries(
    directory: reapi.Directory, prefix: str, children: Mapping[str, reapi.Directory]
) -> Iterator[tuple[str, bool | str | None]]:
    for file in directory.files:
        yield prefix + file.name, file.is_executable
    for symlink in directory.symlinks:
        yield prefix + symlink.name, symlink.target
    for child in directory.directories:
        yield prefix + child.name, None
        yield from _entries(children[child.digest.hash], f"{prefix}{child.name}/", children)
