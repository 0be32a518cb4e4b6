"""GetCapabilities: what an instance says of itself, and that it is true."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from remex_core.digest import DigestFunctions
from remex_core.errors import Code
from remex_core.proto import reapi
from remex_core.services.instances import Instance, Instances
from remex_core.wire.methods import BATCH_READ_BLOBS, GET_CAPABILITIES, UPDATE_ACTION_RESULT
from services_support.blobs import digest, refused
from services_support.serving import any_instance, serving

if TYPE_CHECKING:
    from remex_core.wire.stub import Stub
    from services_support.recording_store import RecordingStore

Function = reapi.DigestFunction


async def ask(stub: Stub, name: str = "") -> reapi.ServerCapabilities:
    return await stub.call(GET_CAPABILITIES, reapi.GetCapabilitiesRequest(instance_name=name))


async def test_lone_cache_offers_no_execution(stub: Stub) -> None:
    """CAP-01, CAP-16: a cache has cache capabilities and no execution capabilities."""
    capabilities = await ask(stub)
    assert capabilities.HasField("cache_capabilities")
    assert not capabilities.HasField("execution_capabilities")


async def test_executing_instance_offers_both(cas: RecordingStore, ac: RecordingStore) -> None:
    """CAP-01, CAP-06: where actions run, exec_enabled is set beside the cache's capabilities."""
    async with serving(any_instance(cas, ac, executes=True)) as stub:
        capabilities = await ask(stub)
    assert capabilities.HasField("cache_capabilities")
    assert capabilities.execution_capabilities.exec_enabled


async def test_versions_take_in_old_and_new_clients(stub: Stub) -> None:
    """CAP-02, CAP-03: deprecated <= low <= 2.0 for the oldest clients, high 2.11 for the newest."""
    answer = await ask(stub)
    versions = [answer.deprecated_api_version, answer.low_api_version, answer.high_api_version]
    assert [(2, 0), (2, 0), (2, 11)] == [(v.major, v.minor) for v in versions]


async def test_digest_functions_are_those_of_the_instance(
    cas: RecordingStore, ac: RecordingStore
) -> None:
    """CAP-04, CAP-05, DIG-15: all functions are listed, never UNKNOWN, and the old field is one."""
    async with serving(any_instance(cas, ac, executes=True)) as stub:
        answer = await ask(stub)
    assert [Function.SHA256, Function.BLAKE3] == answer.cache_capabilities.digest_functions
    assert [Function.SHA256, Function.BLAKE3] == answer.execution_capabilities.digest_functions
    assert Function.SHA256 == answer.execution_capabilities.digest_function


async def test_capabilities_are_those_of_the_requested_instance(
    cas: RecordingStore, ac: RecordingStore
) -> None:
    """INS-04: two instances with different functions and limits each get their own answer."""
    instances = Instances(
        [
            Instance("old", cas, ac, DigestFunctions(["sha256"]), max_blob_bytes=7),
            Instance("new", cas, ac, DigestFunctions(["blake3"]), max_batch_bytes=99),
        ]
    )
    async with serving(instances) as stub:
        old = (await ask(stub, "old")).cache_capabilities
        new = (await ask(stub, "new")).cache_capabilities
    assert ([Function.SHA256], 7) == (list(old.digest_functions), old.max_cas_blob_size_bytes)
    assert ([Function.BLAKE3], 99) == (list(new.digest_functions), new.max_batch_total_size_bytes)


async def test_batch_limit_is_announced_and_enforced(stub: Stub) -> None:
    """CAP-07: the batch limit is never 0, and one byte more is refused."""
    limit = (await ask(stub)).cache_capabilities.max_batch_total_size_bytes
    assert limit == 4_000_000
    request = reapi.BatchReadBlobsRequest(
        digests=[reapi.Digest(hash="0" * 64, size_bytes=limit + 1)]
    )
    with refused(Code.INVALID_ARGUMENT, str(limit)):
        await stub.call(BATCH_READ_BLOBS, request)


async def test_absolute_symlinks_are_allowed(stub: Stub) -> None:
    """CAP-08: the strategy is ALLOWED, never UNKNOWN."""
    caches = (await ask(stub)).cache_capabilities
    assert reapi.SymlinkAbsolutePathStrategy.ALLOWED == caches.symlink_absolute_path_strategy


@pytest.mark.parametrize("enabled", [True, False])
async def test_update_flag_matches_behaviour(
    cas: RecordingStore, ac: RecordingStore, enabled: bool
) -> None:
    """CAP-09, AC-12: update_enabled says whether UpdateActionResult is permitted."""
    request = reapi.UpdateActionResultRequest(
        action_digest=digest(b"action"), action_result=reapi.ActionResult(exit_code=1)
    )
    async with serving(any_instance(cas, ac, ac_updates=enabled)) as stub:
        caches = (await ask(stub)).cache_capabilities
        assert enabled == caches.action_cache_update_capabilities.update_enabled
        if enabled:
            await stub.call(UPDATE_ACTION_RESULT, request)
        else:
            with refused(Code.PERMISSION_DENIED, "takes no results"):
                await stub.call(UPDATE_ACTION_RESULT, request)
    assert enabled == bool(ac.values)


async def test_every_priority_is_in_the_announced_range(
    cas: RecordingStore, ac: RecordingStore
) -> None:
    """CAP-10: one inclusive range holds every int32, for execution and for the cache."""
    async with serving(any_instance(cas, ac, executes=True)) as stub:
        answer = await ask(stub)
    for offered in (
        answer.execution_capabilities.execution_priority_capabilities,
        answer.cache_capabilities.cache_priority_capabilities,
    ):
        assert [(-(2**31), 2**31 - 1)] == [
            (r.min_priority, r.max_priority) for r in offered.priorities
        ]


async def test_nothing_is_announced_that_is_not_offered(stub: Stub) -> None:
    """CAP-11, CAP-12, CAP-14: no compressor, no splitting, no splicing, no chunking parameters."""
    caches = (await ask(stub)).cache_capabilities
    assert not caches.supported_compressors
    assert not caches.supported_batch_update_compressors
    assert [False, False] == [caches.split_blob_support, caches.splice_blob_support]
    assert not caches.HasField("fast_cdc_2020_params")
    assert not caches.HasField("rep_max_cdc_params")


async def test_blob_limit_is_announced(cas: RecordingStore, ac: RecordingStore) -> None:
    """CAP-13: max_cas_blob_size_bytes is the instance's bound, and 0 where it has none."""
    for limit in (0, 1234):
        async with serving(any_instance(cas, ac, max_blob_bytes=limit)) as stub:
            assert limit == (await ask(stub)).cache_capabilities.max_cas_blob_size_bytes


async def test_capabilities_ask_no_store(
    stub: Stub, cas: RecordingStore, ac: RecordingStore
) -> None:
    """CAP-16, CAP-17: the call is served, and cheap: it touches neither store."""
    await ask(stub, "any/name")
    assert [] == cas.asked + ac.asked


async def test_unknown_instance_is_refused(cas: RecordingStore, ac: RecordingStore) -> None:
    """INS-03: GetCapabilities of an unknown instance is an invalid argument, as everywhere."""
    async with serving(Instances([Instance("main", cas, ac, DigestFunctions())])) as stub:
        with refused(Code.INVALID_ARGUMENT, "'main'"):
            await ask(stub, "other")
        assert (await ask(stub, "main")).HasField("cache_capabilities")


async def test_no_node_property_is_announced(cas: RecordingStore, ac: RecordingStore) -> None:
    """CAP-15: a worker refuses every requested node property, so none is announced."""
    async with serving(any_instance(cas, ac, executes=True)) as stub:
        assert [] == (await ask(stub)).execution_capabilities.supported_node_properties
