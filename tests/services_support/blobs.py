"""Blobs, digests and requests for the tests of services."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from remex_core.digest import SHA256
from remex_core.errors import Code, RpcFailed
from remex_core.proto import bytestream, reapi
from remex_core.resource_names import upload_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from remex_core.digest import DigestFunction, Key

UUID = "0f8c1b1e-6d0a-4c1c-9f6e-3a1d7a5b2c4d"
NOT_A_HASH = "G" * 64


def blob(size: int, seed: int = 0) -> bytes:
    """Content of `size` bytes; another seed is another content."""
    return random.Random(seed * 1_000_003 + size).randbytes(size)


def digest(data: bytes, function: DigestFunction = SHA256) -> reapi.Digest:
    """The digest message of `data`."""
    return to_digest(function.key_of(data))


def to_digest(key: Key) -> reapi.Digest:
    """The digest message of a key."""
    return reapi.Digest(hash=key.hash, size_bytes=key.size)


def hash_of(number: int) -> str:
    """A well-formed hash that nothing has."""
    return f"{number:064x}"


def write_requests(
    data: bytes, *, piece: int = 1 << 16, name: str = "", start: int = 0
) -> Iterator[bytestream.WriteRequest]:
    """The messages of a complete upload, from the offset `start` on."""
    name = name or upload_name("", UUID, SHA256.key_of(data))
    for offset in range(start, max(len(data), 1), piece):
        yield bytestream.WriteRequest(
            resource_name=name if offset == start else "",
            write_offset=offset,
            data=data[offset : offset + piece],
            finish_write=offset + piece >= len(data),
        )


async def sent(
    requests: Iterable[bytestream.WriteRequest],
) -> AsyncIterator[bytestream.WriteRequest]:
    """Requests as the stream that a client sends."""
    for request in requests:
        yield request


class refused:  # noqa: N801 - reads like pytest.raises
    """Asserts that a call ends with a status, whose message contains `said`."""

    def __init__(self, code: Code, said: str = "") -> None:
        self._code = code
        self._said = said

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if error is None:
            pytest.fail(f"the call should have ended with {self._code.name}")
        if not isinstance(error, RpcFailed):
            return False
        assert (self._code, True) == (error.status_code, self._said in error.message), error.message
        return True
