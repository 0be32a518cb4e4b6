"""Checks of a server that runs: what it says of itself, and a blob and an action there and back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from remex_core.client.actions import Command
from remex_core.clock import SYSTEM
from remex_core.errors import InvalidArgument, RemexError, Unimplemented
from remex_core.plugins.descriptors import Finding
from remex_core.proto import reapi
from remex_core.wire import methods

if TYPE_CHECKING:
    from collections.abc import Sequence

    from remex_core.client import RemoteClient

_SMALL: Final = 1000
_LARGE: Final = 5_000_000
"""More than a batch takes, so that it travels by ByteStream."""
_SECONDS: Final = 30


async def server(client: RemoteClient, address: str) -> Sequence[Finding]:
    """Everything that is asked of the server at `address`; what it cannot do is not tried."""
    told = await capabilities(client, address)
    if told.status != "ok":
        return (told,)
    return (told, await refusals(client), await blobs(client), await action(client))


async def capabilities(client: RemoteClient, address: str) -> Finding:
    """Whether the server speaks a version of the API that clients understand."""
    try:
        said = await client.capabilities()
    except Unimplemented:
        if await _is_worker_api(client):
            message = f"{address} is a port for workers; clients connect to the other one."
            return Finding("reapi", "skip", message, "Give the port for clients, such as 8980.")
        return Finding(
            "reapi",
            "fail",
            f"{address} answers, but speaks no Remote Execution API.",
            "Give the address of a cas or a scheduler, such as grpc://127.0.0.1:8980.",
        )
    if said.high_api_version.major < 2:
        return Finding(
            "reapi",
            "fail",
            f"{address} speaks the API up to version {said.high_api_version.major} only.",
            "Clients of today need version 2; use a newer server.",
        )
    cache = said.cache_capabilities
    names = [reapi.DigestFunction.Value.Name(number) for number in cache.digest_functions]
    executes = "and runs actions" if said.execution_capabilities.exec_enabled else "and only caches"
    low, high = said.low_api_version, said.high_api_version
    versions = f"{low.major}.{low.minor} to {high.major}.{high.minor}"
    return Finding(
        "reapi", "ok", f"{address} speaks the API {versions} with {', '.join(names)}, {executes}."
    )


async def _is_worker_api(client: RemoteClient) -> bool:
    """A port for workers answers health checks and none of a client's calls."""
    try:
        return await client.serves()
    except Unimplemented:
        return False


async def refusals(client: RemoteClient) -> Finding:
    """Whether a malformed request gets the answer that the API names (DIG-08)."""
    request = reapi.FindMissingBlobsRequest(
        instance_name=client.instance, blob_digests=[reapi.Digest(hash="xyz", size_bytes=1)]
    )
    try:
        await client.call(methods.FIND_MISSING_BLOBS, request)
    except InvalidArgument as error:
        return Finding("refusals", "ok", f"A malformed digest is refused: {error.message}")
    except RemexError as error:
        return Finding(
            "refusals",
            "warn",
            f"A malformed digest is answered by {error.status_code.name}: {error.message}",
            "The API asks for INVALID_ARGUMENT; clients may retry for nothing.",
        )
    return Finding(
        "refusals",
        "warn",
        "A malformed digest is taken for a real one.",
        "The API asks for INVALID_ARGUMENT.",
    )


async def blobs(client: RemoteClient) -> Finding:
    """Whether a small blob and a large one come back as they were sent."""
    started = SYSTEM.monotonic()
    for size in (_SMALL, _LARGE):
        data = os.urandom(size)
        key = await client.upload(data)
        found = (await client.download_many([key]))[key]
        if found != data:
            return Finding(
                "blobs",
                "fail",
                f"A blob of {size:,} bytes came back as another one of {len(found):,}.",
                "The store is damaged or answers for another; look at the cas's own log.",
            )
    took = (SYSTEM.monotonic() - started) * 1000
    return Finding("blobs", "ok", f"A small and a large blob there and back in {took:.0f} ms.")


async def action(client: RemoteClient) -> Finding:
    """Whether an action runs, its output comes back, and its result is cached."""
    said = await client.capabilities()
    if not said.execution_capabilities.exec_enabled:
        return Finding("action", "skip", "This server runs no actions; it only caches.")
    text = os.urandom(8).hex()
    command = Command(
        ("sh", "-c", "cat in.txt > out.txt"),
        {"in.txt": text.encode()},
        outputs=("out.txt",),
        environment={"PATH": "/usr/local/bin:/usr/bin:/bin"},
        timeout=_SECONDS,
    )
    first = await client.run(command)
    result = first.result
    if result.exit_code != 0 or not result.output_files:
        printed = (await client.stderr(result)).decode(errors="replace")
        return Finding(
            "action",
            "fail",
            f"`cat` as an action ended with {result.exit_code} on "
            f"{result.execution_metadata.worker or 'a worker'}: {printed}",
            "Look at that worker's log.",
        )
    made = await client.download(client.key(result.output_files[0].digest))
    if made.decode() != text:
        return Finding(
            "action", "fail", f"An action that copies {text!r} made {made!r}.", "Report this."
        )
    again = await client.run(command)
    if not again.cached:
        return Finding(
            "action",
            "warn",
            "An action ran, but its result was not cached.",
            "Look at the action cache in the configuration and at the cas's log.",
        )
    return Finding(
        "action",
        "ok",
        f"An action ran on {result.execution_metadata.worker}, and was cached the second time.",
    )
