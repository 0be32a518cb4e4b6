"""How many FindMissingBlobs calls of 1,000 digests a cas answers, beside one that only parses."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final

from remex_core.bench import bare
from remex_core.bench.figure import Figure, in_turns
from remex_core.bench.servers import STORES, cas
from remex_core.clock import SYSTEM
from remex_core.proto import reapi
from remex_core.wire import methods

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_DIGESTS: Final = 1000
_IN_FLIGHT: Final = 8


async def find_missing(directory: Path, *, calls: int, rounds: int) -> Sequence[Figure]:
    """Calls a second for each kind of store, all of whose blobs are present."""
    blobs = [str(number).encode() for number in range(_DIGESTS)]
    digests = [
        reapi.Digest(hash=hashlib.sha256(blob).hexdigest(), size_bytes=len(blob)) for blob in blobs
    ]
    upload = reapi.BatchUpdateBlobsRequest(
        requests=[
            reapi.BatchUpdateBlobsRequest.Request(digest=digest, data=blob)
            for digest, blob in zip(digests, blobs, strict=True)
        ]
    ).SerializeToString()
    request = reapi.FindMissingBlobsRequest(blob_digests=digests).SerializeToString()

    async def rate(client: bare.BareClient, path: str) -> float:
        started = SYSTEM.monotonic()
        for _ in range(0, calls, _IN_FLIGHT):
            await asyncio.gather(*(client.call(path, request) for _ in range(_IN_FLIGHT)))
        return calls / (SYSTEM.monotonic() - started)

    figures = []
    for store in STORES:
        with cas(store, directory / store, memory_bytes=2**30) as address:
            async with (
                bare.bare_server() as bare_address,
                bare.connected(bare_address) as plain,
                bare.connected(address) as remex,
            ):
                await remex.call(methods.BATCH_UPDATE_BLOBS.path, upload)
                answer = await remex.call(methods.FIND_MISSING_BLOBS.path, request)
                missing = reapi.FindMissingBlobsResponse.FromString(answer).missing_blob_digests
                assert not missing, f"{len(missing)} of the blobs just stored are missing"
                least, most = await in_turns(
                    rounds,
                    lambda: rate(plain, bare.FIND_MISSING),
                    lambda: rate(remex, methods.FIND_MISSING_BLOBS.path),
                )
        name = f"FindMissingBlobs, {_DIGESTS:,} present digests, {store}"
        figures.append(Figure(name, most, "calls/s", least, at_least=0.4))
    return figures
