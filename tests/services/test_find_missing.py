"""FindMissingBlobs, and what every request does with its digests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from remex_core.digest import BLAKE3, SHA256, DigestFunctions
from remex_core.errors import Code, DataLoss, StoreUnavailable
from remex_core.proto import reapi
from remex_core.store.memory import MemoryStore, Protect
from remex_core.wire.methods import (
    BATCH_READ_BLOBS,
    BATCH_UPDATE_BLOBS,
    FIND_MISSING_BLOBS,
    GET_ACTION_RESULT,
    GET_TREE,
    UPDATE_ACTION_RESULT,
    WRITE,
)
from services_support.blobs import blob, digest, hash_of, refused, sent, to_digest, write_requests
from services_support.serving import any_instance, serving

if TYPE_CHECKING:
    from remex_core.digest import DigestFunction
    from remex_core.wire.stub import Stub
    from services_support.recording_store import RecordingStore

FUNCTION_NUMBERS = {SHA256: 1, BLAKE3: 9}


async def missing(stub: Stub, digests: Any, **fields: Any) -> list[reapi.Digest]:
    request = reapi.FindMissingBlobsRequest(blob_digests=digests, **fields)
    return list((await stub.call(FIND_MISSING_BLOBS, request)).missing_blob_digests)


async def test_answers_exactly_what_is_not_stored(stub: Stub, cas: RecordingStore) -> None:
    """CAS-01: the missing digests, as they were sent, and nothing else."""
    here, absent = blob(10), blob(11)
    cas.put(SHA256.key_of(here), here)
    cas.put(SHA256.key_of(b"unasked"), b"unasked")
    assert [digest(absent)] == await missing(stub, [digest(here), digest(absent)])


async def test_all_missing_are_answered_in_order(stub: Stub) -> None:
    """CAS-01: where nothing is stored, all digests come back."""
    asked = [reapi.Digest(hash=hash_of(n), size_bytes=n) for n in range(1, 500)]
    assert asked == await missing(stub, asked)


async def test_empty_request_is_fine(stub: Stub, cas: RecordingStore) -> None:
    """CAS-02: no digests, no missing ones, and no question to the store."""
    assert [] == await missing(stub, [])
    assert [] == cas.asked


async def test_duplicates_are_answered_once(stub: Stub, cas: RecordingStore) -> None:
    """CAS-03: a digest that is asked for twice is missing once."""
    here, absent = blob(10), blob(11)
    cas.put(SHA256.key_of(here), here)
    asked = [digest(absent), digest(here), digest(absent), digest(here)]
    assert [digest(absent)] == await missing(stub, asked)
    assert [digest(absent)] == await missing(stub, [digest(absent), digest(absent)])


async def test_one_malformed_digest_fails_the_call(stub: Stub, cas: RecordingStore) -> None:
    """CAS-04: with one bad hash among three the whole call is refused, and no store is asked."""
    asked = [digest(b"a"), reapi.Digest(hash="no-hash", size_bytes=1), digest(b"b")]
    with refused(Code.INVALID_ARGUMENT, "no-hash"):
        await missing(stub, asked)
    assert [] == cas.asked


async def test_found_blobs_are_touched(stub: Stub, cas: RecordingStore) -> None:
    """CAS-05: what is found lives longer; the store is asked in a way that touches."""
    key = cas.put(SHA256.key_of(b"here"), b"here")
    await missing(stub, [digest(b"here"), digest(b"absent")])
    assert [key] == cas.touched


async def test_blob_is_there_after_either_upload(stub: Stub) -> None:
    """CAS-06: what BatchUpdateBlobs or Write has acknowledged is not missing afterwards."""
    batched, streamed = blob(10), blob(200_000)
    entry = reapi.BatchUpdateBlobsRequest.Request(digest=digest(batched), data=batched)
    await stub.call(BATCH_UPDATE_BLOBS, reapi.BatchUpdateBlobsRequest(requests=[entry]))
    await stub.call(WRITE, sent(write_requests(streamed)))
    assert [] == await missing(stub, [digest(batched), digest(streamed)])


async def test_very_many_digests(cas: RecordingStore, ac: RecordingStore) -> None:
    """CAS-07: 100,000 digests in one call, of which every tenth is here."""
    keys = [SHA256.empty_key._replace(hash=hash_of(n), size=n) for n in range(1, 100_001)]
    for key in keys[::10]:
        cas.put(key, b"")
    async with serving(any_instance(cas, ac)) as stub:
        found = await missing(stub, [to_digest(key) for key in keys])
    assert 90_000 == len(found)
    assert to_digest(keys[1]) == found[0]


async def test_unreadable_blob_is_missing_afterwards(stub: Stub, cas: RecordingStore) -> None:
    """CAS-08: a blob that turned out to be damaged when read is missing from then on."""
    key = cas.put(SHA256.key_of(b"rotten"), b"rotten")
    assert [] == await missing(stub, [digest(b"rotten")])
    cas.read_errors[key] = DataLoss("the stored bytes are wrong")
    answer = await stub.call(
        BATCH_READ_BLOBS, reapi.BatchReadBlobsRequest(digests=[digest(b"rotten")])
    )
    assert Code.NOT_FOUND == answer.responses[0].status.code
    assert [digest(b"rotten")] == await missing(stub, [digest(b"rotten")])


async def test_store_that_cannot_tell_is_unavailable(stub: Stub, cas: RecordingStore) -> None:
    """GEN-14: a failing backend is UNAVAILABLE, which clients retry, and never a wrong answer."""
    cas.find_error = StoreUnavailable("the disk is gone")
    with refused(Code.UNAVAILABLE, "the disk is gone"):
        await missing(stub, [digest(b"x")])


@pytest.mark.parametrize(
    ("hash_", "said"),
    [
        ("", "missing or has an empty hash"),
        ("A" * 64, "not lowercase"),
        ("g" * 64, "not lowercase"),
        ("a" * 63, "63 characters"),
        ("a" * 65, "65 characters"),
        ("a" * 40, "40 characters"),
    ],
)
async def test_malformed_hash_is_refused(stub: Stub, hash_: str, said: str) -> None:
    """DIG-01: uppercase, other digits, another length and nothing at all are invalid arguments."""
    for number in (0, 1, 9):
        with refused(Code.INVALID_ARGUMENT, said):
            await missing(stub, [reapi.Digest(hash=hash_, size_bytes=1)], digest_function=number)


async def test_size_is_part_of_the_identity(stub: Stub, cas: RecordingStore) -> None:
    """DIG-02: the right hash with another size is missing."""
    key = cas.put(SHA256.key_of(b"12345"), b"12345")
    wrong = reapi.Digest(hash=key.hash, size_bytes=6)
    assert [wrong] == await missing(stub, [wrong, digest(b"12345")])


async def test_negative_size_is_refused(stub: Stub) -> None:
    """DIG-03: a negative size is an invalid argument."""
    with refused(Code.INVALID_ARGUMENT, "-42"):
        await missing(stub, [reapi.Digest(hash=hash_of(1), size_bytes=-42)])


async def test_no_bytes_of_another_hash_are_missing(stub: Stub) -> None:
    """DIG-04: size 0 with a hash that is not the empty one names nothing that can be here."""
    impossible = reapi.Digest(hash=hash_of(1), size_bytes=0)
    assert [impossible] == await missing(stub, [impossible])


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        (GET_TREE, reapi.GetTreeRequest()),
        (GET_ACTION_RESULT, reapi.GetActionResultRequest()),
        (
            UPDATE_ACTION_RESULT,
            reapi.UpdateActionResultRequest(action_result=reapi.ActionResult(exit_code=1)),
        ),
    ],
)
async def test_absent_digest_is_refused(stub: Stub, method: Any, request_: Any) -> None:
    """DIG-05: a request without the digest it needs is an invalid argument."""
    with refused(Code.INVALID_ARGUMENT, "missing"):
        if method.server_streams:
            _ = [answer async for answer in stub.stream(method, request_)]
        else:
            await stub.call(method, request_)


@pytest.mark.parametrize("function", [SHA256, BLAKE3])
async def test_named_function_is_used(
    stub: Stub, cas: RecordingStore, function: DigestFunction
) -> None:
    """DIG-06: a request that names its function is answered for that function."""
    cas.put(function.key_of(b"data"), b"data")
    number = FUNCTION_NUMBERS[function]
    assert [] == await missing(stub, [digest(b"data", function)], digest_function=number)
    other = 10 - number
    assert 1 == len(await missing(stub, [digest(b"data", function)], digest_function=other))


async def test_unnamed_function_is_inferred(stub: Stub, cas: RecordingStore) -> None:
    """DIG-06: without a name, 64 digits mean SHA256 where both are announced."""
    cas.put(SHA256.key_of(b"data"), b"data")
    cas.put(BLAKE3.key_of(b"other"), b"other")
    asked = [digest(b"data"), digest(b"other", BLAKE3)]
    assert [digest(b"other", BLAKE3)] == await missing(stub, asked)


async def test_blake3_alone_is_inferred(cas: RecordingStore, ac: RecordingStore) -> None:
    """DIG-07: an instance that announces only BLAKE3 reads bare digests as BLAKE3."""
    cas.put(BLAKE3.key_of(b"data"), b"data")
    async with serving(any_instance(cas, ac, functions=DigestFunctions(["blake3"]))) as stub:
        assert [] == await missing(stub, [digest(b"data", BLAKE3)])


@pytest.mark.parametrize("number", [2, 3, 8, 10, 99])
async def test_unannounced_function_is_refused(stub: Stub, number: int) -> None:
    """DIG-08, GEN-11: a function that is not announced, or has no meaning, cannot be used."""
    with refused(Code.INVALID_ARGUMENT, f"function number {number}"):
        await missing(stub, [digest(b"x")], digest_function=number)


async def test_length_must_fit_the_named_function(stub: Stub) -> None:
    """DIG-08: a SHA1-sized hash is refused when the request says SHA256."""
    with refused(Code.INVALID_ARGUMENT, "40 characters"):
        await missing(stub, [reapi.Digest(hash="a" * 40, size_bytes=1)], digest_function=1)


async def test_functions_cannot_be_mixed(stub: Stub) -> None:
    """DIG-09: digests of two lengths in one request are refused."""
    asked = [digest(b"x"), reapi.Digest(hash="a" * 40, size_bytes=1)]
    for order in (asked, asked[::-1]):
        with refused(Code.INVALID_ARGUMENT, "40 characters"):
            await missing(stub, order)


@pytest.mark.parametrize("function", [SHA256, BLAKE3])
async def test_empty_blob_is_always_present(
    stub: Stub, cas: RecordingStore, function: DigestFunction
) -> None:
    """DIG-10: the empty blob is never missing, and no store is asked for it."""
    empty = digest(b"", function)
    number = FUNCTION_NUMBERS[function]
    assert [] == await missing(stub, [empty], digest_function=number)
    assert [digest(b"x")] == await missing(
        stub, [empty, digest(b"x"), empty], digest_function=number
    )
    assert function.empty_key not in cas.asked


async def test_unknown_fields_are_tolerated(stub: Stub) -> None:
    """GEN-11: a request with fields from the future is answered."""
    request = reapi.FindMissingBlobsRequest(blob_digests=[digest(b"x")])
    request.MergeFromString(b"\xa2\x06\x03new")  # field 100
    answer = await stub.call(FIND_MISSING_BLOBS, request)
    assert [digest(b"x")] == answer.missing_blob_digests


async def test_touched_blobs_outlive_others(ac: RecordingStore) -> None:
    """CAS-05: when an LRU store fills up, what FindMissingBlobs found goes last."""
    store = MemoryStore(10_000, Protect(hard=0, soft=0))
    async with serving(any_instance(store, ac)) as stub:
        old, older = blob(3000, 1), blob(3000, 2)
        for data in (older, old):
            await stub.call(WRITE, sent(write_requests(data)))
        await missing(stub, [digest(older)])
        await stub.call(WRITE, sent(write_requests(blob(4000))))
        assert [digest(old)] == await missing(stub, [digest(old), digest(older)])


async def test_sizes_tell_digests_apart(stub: Stub) -> None:
    """CAS-01: digests of one request that differ in size alone are told apart."""
    same = [reapi.Digest(hash=hash_of(7), size_bytes=n) for n in (1, 2, 3)]
    assert same == await missing(stub, same)
