"""The bare server moves what it is told to, or a comparison with it means nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from remex_core.bench import bare
from remex_core.proto import reapi

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def client() -> AsyncIterator[bare.BareClient]:
    """A client of a bare server in a process of its own."""
    async with bare.bare_server() as address, bare.connected(address) as client:
        yield client


async def test_reading_moves_every_byte(client: bare.BareClient) -> None:
    """As many messages of as many bytes come as were asked for."""
    assert 3 * 1000 == await client.read(bare.READ, b"3:1000")


async def test_writing_ends_with_the_stream(client: bare.BareClient) -> None:
    """The answer comes when all messages were taken."""
    taken = []

    async def messages() -> AsyncIterator[bytes]:
        for size in (1, 1000):
            taken.append(size)
            yield bytes(size)

    assert b"" == await client.write(bare.WRITE, messages())
    assert [1, 1000] == taken


async def test_digests_are_parsed(client: bare.BareClient) -> None:
    """A request with digests is answered in the protocol's own message."""
    request = reapi.FindMissingBlobsRequest(blob_digests=[reapi.Digest(hash="00", size_bytes=1)])
    answer = await client.call(bare.FIND_MISSING, request.SerializeToString())
    assert not reapi.FindMissingBlobsResponse.FromString(answer).missing_blob_digests
