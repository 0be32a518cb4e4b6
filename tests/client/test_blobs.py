"""Blobs to and from a server."""

from __future__ import annotations

import random
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from remex_core.client.remote import connect
from remex_core.digest import BLAKE3, SHA256
from remex_core.errors import BlobNotFound, DataLoss, InvalidArgument, Unreachable
from remex_core.proto import bytestream, reapi
from remex_core.store import ops
from remex_core.testing.server import serve_handlers
from remex_core.wire import methods

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from remex_core.client.remote import RemoteClient
    from remex_core.digest import Key
    from remex_core.store.contract import Store

MIB = 1024 * 1024


def blob(size: int, seed: int = 0) -> bytes:
    return random.Random(seed + size).randbytes(size)


@pytest.mark.parametrize("size", [0, 1, 1000, MIB - 256, MIB, MIB + 1, 5 * MIB])
async def test_a_blob_there_and_back(client: RemoteClient, size: int) -> None:
    """Content of any size, by batch or by stream, comes back as it was."""
    data = blob(size)
    key = await client.upload(data)
    assert SHA256.key_of(data) == key
    assert frozenset() == await client.find_missing([key])
    assert data == await client.download(key)
    assert {key: data} == await client.download_many([key, key])


@pytest.mark.parametrize("size", [0, 100, 3 * MIB + 5])
async def test_a_file_there_and_back(client: RemoteClient, tmp_path: Path, size: int) -> None:
    """A file is uploaded from disk and written to disk, with the mode that is asked for."""
    (tmp_path / "in").write_bytes(blob(size))
    key = await client.upload(tmp_path / "in")
    await client.download_to(key, tmp_path / "out", executable=True)
    assert blob(size) == (tmp_path / "out").read_bytes()
    assert 0o755 == (tmp_path / "out").stat().st_mode & 0o777
    assert {"in", "out"} == {path.name for path in tmp_path.iterdir()}


async def test_many_blobs_of_all_sizes(client: RemoteClient, cas: Store) -> None:
    """Thousands of small and some large blobs are uploaded, and only those that are missing."""
    blobs = {SHA256.key_of(blob(n)): blob(n) for n in range(1500)}
    blobs |= {SHA256.key_of(blob(n * MIB)): blob(n * MIB) for n in (1, 2, 3)}
    expected = sum(key.size for key in blobs)
    assert expected == await client.upload_many(blobs)
    assert 0 == await client.upload_many(blobs)
    assert blobs == await client.download_many(blobs.keys())
    assert frozenset() == await cas.find_missing([key for key in blobs if key.size])


async def test_what_is_not_there(client: RemoteClient, tmp_path: Path) -> None:
    """A missing blob is named, however it is asked for, and no file is left behind."""
    key = SHA256.key_of(b"never stored")
    assert frozenset([key]) == await client.find_missing([key, SHA256.empty_key])
    with pytest.raises(BlobNotFound) as download:
        await client.download(key)
    assert key == download.value.key
    with pytest.raises(BlobNotFound) as batch:
        await client.download_many([key])
    assert key == batch.value.key
    with pytest.raises(BlobNotFound):
        await client.download_to(key, tmp_path / "out")
    assert [] == list(tmp_path.iterdir())


async def test_a_part_of_a_blob(client: RemoteClient) -> None:
    """A read may begin and end anywhere."""
    data = blob(3 * MIB)
    key = await client.upload(data)
    async with aclosing(client.read(key, offset=MIB + 7, limit=100)) as chunks:
        assert data[MIB + 7 : MIB + 107] == b"".join([chunk async for chunk in chunks])


async def test_content_that_is_not_its_keys(client: RemoteClient) -> None:
    """The server's refusal of wrong content arrives as a typed error with its message."""
    wrong = SHA256.key_of(b"right")
    with pytest.raises(InvalidArgument, match=wrong.hash):
        await client.upload_many({wrong: b"wrong"})
    large = SHA256.key_of(blob(2 * MIB))
    with pytest.raises(InvalidArgument, match="hash"):
        await client.upload_many({large: blob(2 * MIB, seed=1)})


async def test_a_failed_upload_ends_the_others(client: RemoteClient) -> None:
    """One refused blob fails the whole upload, and nothing goes on in the background."""
    blobs: dict[Key, bytes] = {SHA256.key_of(blob(n)): blob(n) for n in range(1, 50)}
    blobs |= {SHA256.key_of(blob(2 * MIB, n)): blob(2 * MIB, n) for n in range(12)}
    blobs[SHA256.key_of(b"right")] = b"wrong"
    with pytest.raises(InvalidArgument):
        await client.upload_many(blobs)


async def test_capabilities(client: RemoteClient) -> None:
    """INS-04: the client's instance is asked for what it can do."""
    told = await client.capabilities()
    assert MIB == told.cache_capabilities.max_batch_total_size_bytes


async def test_another_digest_function(address: str, cas: Store) -> None:
    """DIG-06: a client of BLAKE3 names its function in requests and resource names."""
    async with connect(address, function=BLAKE3) as client:
        for size in (100, 2 * MIB):
            key = await client.upload(blob(size))
            assert "blake3" == key.function
            assert await ops.is_present(cas, key)
            assert blob(size) == await client.download(key)
            assert {key: blob(size)} == await client.download_many([key])


class Liar:
    """A server that sends something else than it was asked for."""

    def handlers(self) -> dict[Any, Any]:
        return {
            methods.GET_CAPABILITIES: self.capabilities,
            methods.READ: self.read,
            methods.BATCH_READ_BLOBS: self.batch_read,
        }

    async def capabilities(self, _call: object, _request: object) -> reapi.ServerCapabilities:
        return reapi.ServerCapabilities()

    async def read(
        self, _call: object, _request: object
    ) -> AsyncGenerator[bytestream.ReadResponse]:
        yield bytestream.ReadResponse(data=b"a lie")

    async def batch_read(
        self, _call: object, request: reapi.BatchReadBlobsRequest
    ) -> reapi.BatchReadBlobsResponse:
        response = reapi.BatchReadBlobsResponse()
        for digest in request.digests:
            response.responses.add(digest=digest, data=b"a lie")
        return response


async def test_what_a_server_sends_is_hashed(tmp_path: Path) -> None:
    """Bytes from another process are a claim: other bytes than asked for are an error."""
    key = SHA256.key_of(b"truth")
    async with serve_handlers(Liar().handlers()) as served, connect(served.address) as client:
        with pytest.raises(DataLoss):
            await client.download(key)
        with pytest.raises(DataLoss):
            await client.download_many([key])
        with pytest.raises(DataLoss):
            await client.download_to(key, tmp_path / "out")
    assert [] == list(tmp_path.iterdir())


async def test_nobody_answers() -> None:
    """The error names the address, and says what to do."""
    async with serve_handlers({}) as served:
        address = served.address
    async with connect(f"grpc://{address}") as client:
        with pytest.raises(Unreachable, match=address) as unreachable:
            await client.capabilities()
    assert "Check the address" in unreachable.value.hint
    assert "refused" in unreachable.value.message
