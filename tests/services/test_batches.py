"""BatchUpdateBlobs and BatchReadBlobs: many small blobs, each with its own outcome."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from remex_core.digest import BLAKE3, SHA256
from remex_core.errors import Code, DataLoss, StoreFull, StoreUnavailable
from remex_core.proto import reapi
from remex_core.store.memory import MemoryStore
from remex_core.wire.methods import BATCH_READ_BLOBS, BATCH_UPDATE_BLOBS, WRITE
from services_support.blobs import NOT_A_HASH, blob, digest, hash_of, refused, sent, write_requests
from services_support.serving import any_instance, serving

if TYPE_CHECKING:
    from remex_core.wire.stub import Stub
    from services_support.recording_store import RecordingStore

Entry = reapi.BatchUpdateBlobsRequest.Request
MIB = 1024 * 1024


def entry(data: bytes, **fields: Any) -> Entry:
    return Entry(**{"digest": digest(data), "data": data, **fields})


async def update(
    stub: Stub, *entries: Any, **fields: Any
) -> list[reapi.BatchUpdateBlobsResponse.Response]:
    request = reapi.BatchUpdateBlobsRequest(requests=entries, **fields)
    return list((await stub.call(BATCH_UPDATE_BLOBS, request)).responses)


async def read(
    stub: Stub, *digests: reapi.Digest, **fields: Any
) -> list[reapi.BatchReadBlobsResponse.Response]:
    request = reapi.BatchReadBlobsRequest(digests=digests, **fields)
    return list((await stub.call(BATCH_READ_BLOBS, request)).responses)


def codes(responses: Any) -> list[int]:
    return [response.status.code for response in responses]


# ---- BatchUpdateBlobs


async def test_oversized_batch_is_refused_whole(cas: RecordingStore, ac: RecordingStore) -> None:
    """CAS-10: one byte above the limit, and nothing of the batch is stored."""
    async with serving(any_instance(cas, ac, max_batch_bytes=100)) as stub:
        with refused(Code.INVALID_ARGUMENT, "101 bytes"):
            await update(stub, entry(blob(50)), entry(blob(51)))
        assert {} == cas.values
        assert [0, 0] == codes(await update(stub, entry(blob(50)), entry(blob(49))))


async def test_declared_sizes_count_too(cas: RecordingStore, ac: RecordingStore) -> None:
    """CAS-10: an entry counts with what it declares where that is more than what it brings."""
    lying = Entry(digest=reapi.Digest(hash=hash_of(1), size_bytes=101), data=b"x")
    async with serving(any_instance(cas, ac, max_batch_bytes=100)) as stub:
        with refused(Code.INVALID_ARGUMENT, "101 bytes"):
            await update(stub, lying)


async def test_every_request_has_its_response(stub: Stub, cas: RecordingStore) -> None:
    """CAS-11: one response for each request, with its digest and a status that is there."""
    blobs = [blob(size) for size in (1, 1000, 70_000)]
    responses = await update(stub, *map(entry, blobs))
    assert [digest(data) for data in blobs] == [response.digest for response in responses]
    assert all(response.HasField("status") for response in responses)
    assert [0, 0, 0] == codes(responses)
    assert {SHA256.key_of(data): data for data in blobs} == cas.values


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (Entry(digest=digest(b"right"), data=b"wrong"), "hash"),
        (Entry(digest=digest(b"right"), data=b"right!"), "6 bytes"),
        (Entry(digest=digest(b"right"), data=b""), "0 bytes"),
    ],
)
async def test_mismatch_fails_its_entry_alone(
    stub: Stub, cas: RecordingStore, bad: Any, said: str
) -> None:
    """CAS-12, DIG-02: content that is not what the digest says is refused, the rest is stored."""
    responses = await update(stub, entry(b"before"), bad, entry(b"after"))
    assert [0, Code.INVALID_ARGUMENT, 0] == codes(responses)
    assert said in responses[1].status.message
    assert {b"before", b"after"} == set(cas.values.values())


async def test_full_store_fails_its_entries(stub: Stub, cas: RecordingStore) -> None:
    """CAS-13: where there is no room, the entry is RESOURCE_EXHAUSTED and the call is OK."""
    cas.write_error = StoreFull("no room")
    responses = await update(stub, entry(b"some"), entry(b""))
    assert [Code.RESOURCE_EXHAUSTED, 0] == codes(responses)
    assert "no room" in responses[0].status.message


@pytest.mark.parametrize("hash_", [NOT_A_HASH, "", "ab", "a" * 40])
@pytest.mark.parametrize("first", [True, False])
async def test_malformed_digest_fails_its_entry_alone(
    stub: Stub, cas: RecordingStore, hash_: str, first: bool
) -> None:
    """CAS-14: a malformed digest spoils its own entry only, wherever it stands."""
    bad = Entry(digest=reapi.Digest(hash=hash_, size_bytes=1), data=b"x")
    order = [bad, entry(b"good")] if first else [entry(b"good"), bad]
    expected = [Code.INVALID_ARGUMENT, 0] if first else [0, Code.INVALID_ARGUMENT]
    assert expected == codes(await update(stub, *order))
    assert [b"good"] == list(cas.values.values())


async def test_unannounced_function_fails_the_call(stub: Stub, cas: RecordingStore) -> None:
    """CAS-14: a wrong digest_function is the call's fault, not an entry's."""
    with refused(Code.INVALID_ARGUMENT, "function number 3"):
        await update(stub, entry(b"x"), digest_function=3)
    assert {} == cas.values


@pytest.mark.parametrize("compressor", [1, 2, 3, 77])
async def test_compressor_that_is_not_offered_fails_its_entry(stub: Stub, compressor: Any) -> None:
    """CAS-15, GEN-11: IDENTITY is accepted, any other compressor is an invalid argument."""
    request = reapi.BatchUpdateBlobsRequest(requests=[entry(b"plain"), entry(b"packed")])
    request.requests[1].compressor = compressor
    answer = await stub.call(BATCH_UPDATE_BLOBS, request)
    assert [0, Code.INVALID_ARGUMENT] == codes(answer.responses)
    assert str(compressor) in answer.responses[1].status.message


async def test_blob_above_the_limit_fails_its_entry(
    cas: RecordingStore, ac: RecordingStore
) -> None:
    """CAS-17, CAP-13: a blob larger than max_cas_blob_size_bytes is refused."""
    async with serving(any_instance(cas, ac, max_blob_bytes=10)) as stub:
        responses = await update(stub, entry(blob(10)), entry(blob(11)))
    assert [0, Code.INVALID_ARGUMENT] == codes(responses)


async def test_repeated_present_and_empty_blobs_are_fine(stub: Stub, cas: RecordingStore) -> None:
    """CAS-18: the same digest twice, a blob that is there, and the empty blob all succeed."""
    cas.put(SHA256.key_of(b"here"), b"here")
    responses = await update(stub, entry(b"new"), entry(b"new"), entry(b"here"), entry(b""))
    assert [0, 0, 0, 0] == codes(responses)
    assert {b"new", b"here"} == set(cas.values.values())


async def test_no_bytes_of_another_hash_are_refused(stub: Stub) -> None:
    """DIG-04: size 0 is only right with the hash of nothing."""
    bad = Entry(digest=reapi.Digest(hash=hash_of(1), size_bytes=0))
    assert [Code.INVALID_ARGUMENT] == codes(await update(stub, bad))


@pytest.mark.parametrize("count", [0, 4000])
async def test_many_entries_or_none(stub: Stub, cas: RecordingStore, count: int) -> None:
    """CAS-19: an empty request and one with 4,000 entries both work."""
    responses = await update(stub, *[entry(b"%d" % n) for n in range(count)])
    assert [0] * count == codes(responses)
    assert count == len(cas.values)


async def test_concurrent_uploads_of_the_same_blob_succeed(ac: RecordingStore) -> None:
    """CAS-20: the same content by batches and streams at once; each is told that it is stored."""
    data = blob(300_000)
    async with serving(any_instance(MemoryStore(64 * MIB), ac)) as stub:
        batches = [update(stub, entry(data)) for _ in range(5)]
        streams = [stub.call(WRITE, sent(write_requests(data, piece=9_999))) for _ in range(5)]
        updated, written = await asyncio.gather(asyncio.gather(*batches), asyncio.gather(*streams))
        assert [[0]] * 5 == [codes(answer) for answer in updated]
        assert [len(data)] * 5 == [answer.committed_size for answer in written]
        assert [data] == [response.data for response in await read(stub, digest(data))]


async def test_blake3_batch(stub: Stub, cas: RecordingStore) -> None:
    """DIG-06: with digest_function BLAKE3 content is checked and stored as such."""
    right = Entry(digest=digest(b"data", BLAKE3), data=b"data")
    wrong = Entry(digest=digest(b"data", SHA256), data=b"data")
    responses = await update(stub, right, wrong, digest_function=9)
    assert [0, Code.INVALID_ARGUMENT] == codes(responses)
    assert [BLAKE3.key_of(b"data")] == list(cas.values)


# ---- BatchReadBlobs


async def test_oversized_read_is_refused_before_reading(
    cas: RecordingStore, ac: RecordingStore
) -> None:
    """CAS-21: above the limit the call is refused, and no store is asked."""
    async with serving(any_instance(cas, ac, max_batch_bytes=100)) as stub:
        with refused(Code.INVALID_ARGUMENT, "101 bytes"):
            await read(stub, digest(blob(50)), digest(blob(51)))
    assert [] == cas.asked


async def test_each_failure_stands_in_its_entry(stub: Stub, cas: RecordingStore) -> None:
    """CAS-22: missing, malformed and failing blobs each say so, and the call is OK."""
    cas.put(SHA256.key_of(b"here"), b"here")
    failing = cas.put(SHA256.key_of(b"failing"), b"failing")
    cas.read_errors[failing] = StoreUnavailable("the disk is gone")
    malformed = reapi.Digest(hash=NOT_A_HASH, size_bytes=1)
    responses = await read(stub, malformed, digest(b"here"), digest(b"gone"), digest(b"failing"))
    expected = [Code.INVALID_ARGUMENT, Code.OK, Code.NOT_FOUND, Code.UNAVAILABLE]
    assert expected == codes(responses)
    assert [b"", b"here", b"", b""] == [response.data for response in responses]


async def test_identity_is_always_answered(stub: Stub, cas: RecordingStore) -> None:
    """CAS-23, CAS-26, GEN-11: whatever compressors a client accepts, it gets the plain bytes."""
    cas.put(SHA256.key_of(b"here"), b"here")
    for acceptable in ([], [1], [3, 2, 1], [0, 1, 55]):
        (response,) = await read(stub, digest(b"here"), acceptable_compressors=acceptable)
        assert (b"here", 0) == (response.data, response.compressor)


async def test_responses_are_in_the_order_of_the_request(stub: Stub, cas: RecordingStore) -> None:
    """CAS-24: one response for each digest, in order, duplicates too."""
    for data in (b"a", b"b"):
        cas.put(SHA256.key_of(data), data)
    asked = [digest(data) for data in (b"b", b"gone", b"a", b"b")]
    responses = await read(stub, *asked)
    assert asked == [response.digest for response in responses]
    assert [b"b", b"", b"a", b"b"] == [response.data for response in responses]


async def test_empty_blob_is_read_without_a_store(stub: Stub, cas: RecordingStore) -> None:
    """CAS-25, DIG-10: the empty blob is there, empty and OK."""
    (response,) = await read(stub, digest(b""))
    assert (b"", 0) == (response.data, response.status.code)
    assert [] == cas.asked
    (response,) = await read(stub, reapi.Digest(hash=hash_of(1), size_bytes=0))
    assert Code.NOT_FOUND == response.status.code


async def test_status_is_present_even_when_ok(stub: Stub, cas: RecordingStore) -> None:
    """CAS-27: a client that takes an absent status for an error sees one in every response."""
    cas.put(SHA256.key_of(b"here"), b"here")
    responses = await read(stub, digest(b"here"), digest(b""), digest(b"gone"))
    assert [True, True, True] == [response.HasField("status") for response in responses]


async def test_reading_touches(stub: Stub, cas: RecordingStore) -> None:
    """CAS-28: a blob that was read lives longer."""
    key = cas.put(SHA256.key_of(b"here"), b"here")
    await read(stub, digest(b"here"))
    assert [key] == cas.touched


async def test_damaged_blob_is_dropped_and_missing(stub: Stub, cas: RecordingStore) -> None:
    """GEN-14: a blob whose stored bytes are wrong is NOT_FOUND, so that it is uploaded again."""
    key = cas.put(SHA256.key_of(b"rotten"), b"rotten")
    cas.read_errors[key] = DataLoss("the stored bytes are wrong")
    assert [Code.NOT_FOUND] == codes(await read(stub, digest(b"rotten")))
    assert {} == cas.values


async def test_full_batch_fits_into_a_default_message(stub: Stub, cas: RecordingStore) -> None:
    """CAS-29, GEN-05: a batch at the limit encodes to less than 4 MiB."""
    blobs = [blob(1_000_000, seed) for seed in range(4)]
    for data in blobs:
        cas.put(SHA256.key_of(data), data)
    request = reapi.BatchReadBlobsRequest(digests=map(digest, blobs))
    answer = await stub.call(BATCH_READ_BLOBS, request)
    assert blobs == [response.data for response in answer.responses]
    assert answer.ByteSize() < 4 * MIB


async def test_what_exceeds_a_message_is_refused_entry_by_entry(
    cas: RecordingStore, ac: RecordingStore
) -> None:
    """CAS-29, GEN-05: so many blobs that their digests overflow 4 MiB are not all answered."""
    blobs = [b"%01000d" % n for n in range(4000)]
    for data in blobs:
        cas.put(SHA256.key_of(data), data)
    request = reapi.BatchReadBlobsRequest(digests=map(digest, blobs))
    async with serving(any_instance(cas, ac)) as stub:
        answer = await stub.call(BATCH_READ_BLOBS, request)
    assert answer.ByteSize() <= 4 * MIB
    assert list(request.digests) == [response.digest for response in answer.responses]
    assert {Code.OK, Code.RESOURCE_EXHAUSTED} == set(codes(answer.responses))
    for data, response in zip(blobs, answer.responses, strict=True):
        assert response.data == (b"" if response.status.code else data)
