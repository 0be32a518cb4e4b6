"""The doctor's checks of a server that runs, against good ones and bad ones."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from google.longrunning import operations_pb2

from remex_core.client import connect
from remex_core.doctor import probe
from remex_core.proto import admin, reapi
from remex_core.services.bytestream import ByteStreamService
from remex_core.services.capabilities import CapabilitiesService
from remex_core.services.cas import CasService
from remex_core.testing.server import serve_handlers
from remex_core.wire import methods
from services_support.recording_store import RecordingStore
from services_support.serving import any_instance

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from remex_core.client import RemoteClient
    from remex_core.wire.call import Call, Handler
    from remex_core.wire.methods import Method


@asynccontextmanager
async def _client(
    replaced: Mapping[Method[Any, Any], Handler] | None = None, *, executes: bool = False
) -> AsyncGenerator[RemoteClient]:
    """A client of a sound cas, some of whose methods may be replaced."""
    instances = any_instance(RecordingStore(), RecordingStore(), executes=executes)
    streams = ByteStreamService(instances)
    services = (CapabilitiesService(instances), CasService(instances), streams)
    handlers = [service.handlers() for service in services]
    async with serve_handlers(*handlers, replaced or {}) as served, connect(served.address) as made:
        yield made
    await streams.close()


class Runs:
    """An execution service that answers every action with one result, cached or not."""

    def __init__(self, cached: list[bool], text: bytes | None = None, exit_code: int = 0) -> None:
        self._cached = cached
        self._text = text
        self._exit_code = exit_code
        self.store: RemoteClient | None = None

    async def execute(
        self, _: Call, request: reapi.ExecuteRequest
    ) -> AsyncGenerator[operations_pb2.Operation]:
        """Copies the input file to the output, unless told to make something else."""
        assert self.store is not None
        key = self.store.key
        action = reapi.Action.FromString(await self.store.download(key(request.action_digest)))
        root = reapi.Directory.FromString(await self.store.download(key(action.input_root_digest)))
        digest = root.files[0].digest
        if self._text is not None:
            made = await self.store.upload(self._text)
            digest = reapi.Digest(hash=made.hash, size_bytes=made.size)
        response = reapi.ExecuteResponse(cached_result=self._cached.pop(0))
        response.result.exit_code = self._exit_code
        response.result.stderr_raw = b"no such thing"
        response.result.execution_metadata.worker = "w1"
        response.result.output_files.add(path="out.txt", digest=digest)
        operation = operations_pb2.Operation(name="operations/1", done=True)
        operation.response.Pack(response)
        yield operation


async def _action(runs: Runs) -> tuple[str, str]:
    async with _client({methods.EXECUTE: runs.execute}, executes=True) as client:
        runs.store = client
        finding = await probe.action(client)
        return finding.status, finding.message


async def test_a_sound_cache_passes() -> None:
    """Everything a cache has to do is ok, and what it does not do is skipped."""
    async with _client() as client:
        told = await probe.capabilities(client, "grpc://cas:8970")
        assert "ok" == told.status
        assert "SHA256" in told.message
        assert "and only caches" in told.message
        assert "ok" == (await probe.blobs(client)).status
        assert "ok" == (await probe.refusals(client)).status
        assert "skip" == (await probe.action(client)).status


async def test_another_service_is_told_from_a_cache() -> None:
    """A port that answers, but speaks no REAPI, is named, with the port to use."""

    async def status(_: Call, __: admin.GetStatusRequest) -> admin.Status:
        return admin.Status()

    async with (
        serve_handlers({methods.GET_STATUS: status}) as served,
        connect(served.address) as client,
    ):
        told = await probe.capabilities(client, "grpc://s:8981")
    assert "fail" == told.status
    assert "grpc://s:8981 answers" in told.message
    assert "8980" in told.remedy


async def test_an_old_version_is_refused() -> None:
    """A server below version 2 is no use to clients of today."""

    async def old(_: Call, __: reapi.GetCapabilitiesRequest) -> reapi.ServerCapabilities:
        return reapi.ServerCapabilities(high_api_version={"major": 1})

    async with _client({methods.GET_CAPABILITIES: old}) as client:
        assert "fail" == (await probe.capabilities(client, "grpc://s:1")).status


async def test_a_lenient_server_is_warned_of() -> None:
    """DIG-08: one that takes a malformed digest for a real one."""

    async def find(_: Call, __: reapi.FindMissingBlobsRequest) -> reapi.FindMissingBlobsResponse:
        return reapi.FindMissingBlobsResponse()

    async with _client({methods.FIND_MISSING_BLOBS: find}) as client:
        assert "warn" == (await probe.refusals(client)).status


async def test_an_action_that_runs_and_is_cached_is_ok() -> None:
    """The first run is on a worker, which is named; the second comes from the cache."""
    status, message = await _action(Runs([False, True]))
    assert "ok" == status
    assert "w1" in message


async def test_an_action_that_is_never_cached_is_warned_of() -> None:
    """A result that is not kept makes every build as slow as the first."""
    assert "warn" == (await _action(Runs([False, False])))[0]


async def test_an_action_that_makes_something_else_fails() -> None:
    """What comes back is compared with what was sent."""
    assert "fail" == (await _action(Runs([False, True], text=b"other")))[0]


async def test_an_action_that_fails_shows_what_it_printed() -> None:
    """The worker and its words are in the finding."""
    status, message = await _action(Runs([False], exit_code=127))
    assert "fail" == status
    assert "127" in message
    assert "w1: no such thing" in message
