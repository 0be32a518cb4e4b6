"""ByteStream.Read: any range of any blob."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from remex_core.digest import BLAKE3, SHA256
from remex_core.errors import Code, DataLoss
from remex_core.proto import bytestream, reapi
from remex_core.resource_names import read_name
from remex_core.store.memory import MemoryStore
from remex_core.wire.methods import BATCH_READ_BLOBS, BATCH_UPDATE_BLOBS, READ, WRITE
from services_support.blobs import UUID, blob, digest, hash_of, refused, sent, write_requests
from services_support.recording_store import RecordingStore
from services_support.serving import any_instance, serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from remex_core.digest import Key
    from remex_core.wire.stub import Stub

MIB = 1024 * 1024


def name_of(data: bytes, instance: str = "") -> str:
    return read_name(instance, SHA256.key_of(data))


async def messages(
    stub: Stub, name: str, offset: int = 0, limit: int = 0, **options: Any
) -> list[bytes]:
    request = bytestream.ReadRequest(resource_name=name, read_offset=offset, read_limit=limit)
    return [answer.data async for answer in stub.stream(READ, request, **options)]


async def read(stub: Stub, name: str, offset: int = 0, limit: int = 0) -> bytes:
    return b"".join(await messages(stub, name, offset, limit))


@pytest.mark.parametrize("instance", ["", "main", "a/b"])
async def test_blob_is_read_by_its_name(stub: Stub, cas: RecordingStore, instance: str) -> None:
    """BSR-01: `[instance/]blobs/hash/size` names the blob."""
    cas.put(SHA256.key_of(b"data"), b"data")
    assert b"data" == await read(stub, name_of(b"data", instance))


async def test_blake3_blob_is_read_by_its_name(stub: Stub, cas: RecordingStore) -> None:
    """BSR-01, DIG-13: a function above number 7 stands in the name."""
    cas.put(BLAKE3.key_of(b"data"), b"data")
    name = read_name("", BLAKE3.key_of(b"data"))
    assert name.startswith("blobs/blake3/")
    assert b"data" == await read(stub, name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "main",
        "blobs",
        f"blobs/{hash_of(1)}",
        f"blobs/{hash_of(1)}/",
        f"blobs/{hash_of(1)}/x",
        f"blobs/{hash_of(1)}/-1",
        f"blobs/{hash_of(1)}/+1",
        f"blobs/{hash_of(1)}/ 1",
        f"blobs/{hash_of(1)}/01",
        f"blobs/{hash_of(1)}/9223372036854775808",
        f"blobs/{hash_of(1)}/1/more",
        f"blobs/{'A' * 64}/1",
        f"blobs/{'a' * 40}/1",
        f"blobs/blake3/{'a' * 40}/1",
        f"blobs/gitsha1/{'a' * 40}/1",
        f"blobs/nosuch/{hash_of(1)}/1",
        f"main/actions/blobs/{hash_of(1)}/1",
        f"compressed-blobs/{hash_of(1)}/1",
    ],
)
async def test_other_names_are_refused(stub: Stub, name: str) -> None:
    """BSR-01, DIG-01, DIG-03, GEN-13: whatever breaks the grammar is an invalid argument."""
    with refused(Code.INVALID_ARGUMENT):
        await messages(stub, name)


async def test_unknown_blob_is_not_found(stub: Stub) -> None:
    """BSR-02: a blob that is not here is NOT_FOUND, at any offset up to its end."""
    for offset in (0, 3, 5):
        with refused(Code.NOT_FOUND, hash_of(1)):
            await messages(stub, f"blobs/{hash_of(1)}/5", offset)


async def test_wrong_size_is_not_found(stub: Stub, cas: RecordingStore) -> None:
    """DIG-02: the right hash with another size never serves data."""
    key = cas.put(SHA256.key_of(b"data"), b"data")
    with refused(Code.NOT_FOUND):
        await messages(stub, f"blobs/{key.hash}/3")


async def test_no_bytes_of_another_hash_are_not_found(stub: Stub) -> None:
    """DIG-04: size 0 with a hash that is not the empty one is NOT_FOUND on a read."""
    with refused(Code.NOT_FOUND):
        await messages(stub, f"blobs/{hash_of(1)}/0")


@pytest.mark.parametrize("offset", [-1, 5, 2**62])
async def test_offset_outside_the_blob_is_out_of_range(
    stub: Stub, cas: RecordingStore, offset: int
) -> None:
    """BSR-03: negative, or beyond the end."""
    cas.put(SHA256.key_of(b"data"), b"data")
    with refused(Code.OUT_OF_RANGE, str(offset)):
        await messages(stub, name_of(b"data"), offset)


async def test_offset_at_the_end_is_no_bytes(stub: Stub, cas: RecordingStore) -> None:
    """BSR-03: reading from the very end is OK and empty."""
    cas.put(SHA256.key_of(b"data"), b"data")
    assert [] == await messages(stub, name_of(b"data"), 4)


async def test_negative_limit_is_refused(stub: Stub, cas: RecordingStore) -> None:
    """BSR-04: a limit below 0 is an invalid argument."""
    cas.put(SHA256.key_of(b"data"), b"data")
    with refused(Code.INVALID_ARGUMENT, "-1"):
        await messages(stub, name_of(b"data"), 0, -1)


@pytest.mark.parametrize("offset", [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB + 99])
@pytest.mark.parametrize("limit", [0, 1, MIB, MIB + 7, 5 * MIB])
async def test_range_is_exact(stub: Stub, cas: RecordingStore, offset: int, limit: int) -> None:
    """BSR-04, BSR-05: the concatenated data is blob[offset : offset + limit], 0 being no limit."""
    data = blob(2 * MIB + 100)
    cas.put(SHA256.key_of(data), data)
    expected = data[offset : offset + limit] if limit else data[offset:]
    assert expected == await read(stub, name_of(data), offset, limit)


async def test_range_of_a_memory_store(ac: RecordingStore) -> None:
    """BSR-05: the same holds over the store that an embedded server has."""
    data = blob(3 * MIB + 5)
    async with serving(any_instance(MemoryStore(64 * MIB), ac)) as stub:
        await stub.call(WRITE, sent(write_requests(data, piece=70_001)))
        assert data == await read(stub, name_of(data))
        assert data[70_000 : 2 * MIB] == await read(stub, name_of(data), 70_000, 2 * MIB - 70_000)


async def test_messages_have_at_most_a_mebibyte(stub: Stub, cas: RecordingStore) -> None:
    """GEN-05: no message of a read is large."""
    data = blob(5 * MIB)
    cas.put(SHA256.key_of(data), data)
    assert max(map(len, await messages(stub, name_of(data)))) <= MIB


async def test_blob_is_readable_both_ways_however_it_came(stub: Stub) -> None:
    """BSR-08: uploads by batch and by stream are read by batch and by stream."""
    batched, streamed = blob(5000, 1), blob(5000, 2)
    entry = reapi.BatchUpdateBlobsRequest.Request(digest=digest(batched), data=batched)
    await stub.call(BATCH_UPDATE_BLOBS, reapi.BatchUpdateBlobsRequest(requests=[entry]))
    await stub.call(WRITE, sent(write_requests(streamed)))
    request = reapi.BatchReadBlobsRequest(digests=[digest(batched), digest(streamed)])
    answer = await stub.call(BATCH_READ_BLOBS, request)
    assert [batched, streamed] == [response.data for response in answer.responses]
    assert [batched, streamed] == [await read(stub, name_of(d)) for d in (batched, streamed)]


@pytest.mark.parametrize("compressor", ["zstd", "deflate", "brotli", "identity", "lz4"])
async def test_compressor_that_is_not_offered_is_refused(
    stub: Stub, cas: RecordingStore, compressor: str
) -> None:
    """BSR-09: names with a compressor that is not announced, or none at all, are refused."""
    cas.put(SHA256.key_of(b"data"), b"data")
    name = name_of(b"data").replace("blobs/", f"compressed-blobs/{compressor}/")
    with refused(Code.INVALID_ARGUMENT, compressor):
        await messages(stub, name)


async def test_empty_blob_is_no_messages(stub: Stub, cas: RecordingStore) -> None:
    """BSR-10, DIG-10: the empty blob is read without a store; only offset 0 is inside it."""
    for function in (SHA256, BLAKE3):
        name = read_name("", function.empty_key)
        assert [] == await messages(stub, name, 0, 10)
        with refused(Code.OUT_OF_RANGE):
            await messages(stub, name, 1)
    assert [] == cas.asked


async def test_download_resumes_where_it_stopped(stub: Stub, cas: RecordingStore) -> None:
    """BSR-11: a client that broke off goes on at the number of bytes it has."""
    data = blob(3 * MIB)
    cas.put(SHA256.key_of(data), data)
    request = bytestream.ReadRequest(resource_name=name_of(data))
    answers = stub.stream(READ, request)
    first = (await anext(answers)).data
    await answers.aclose()
    assert data == first + await read(stub, name_of(data), len(first))


async def test_upload_names_cannot_be_read(stub: Stub) -> None:
    """BSR-13: reading an `uploads/` name is an invalid argument."""
    with refused(Code.INVALID_ARGUMENT, "upload"):
        await messages(stub, f"uploads/{UUID}/blobs/{hash_of(1)}/1")


class Endless(RecordingStore):
    """A blob that would fill any memory, and counts what was read of it."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces = 0
        self.closed = asyncio.Event()

    async def read(
        self, key: Key, *, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes]:
        try:
            while True:
                self.pieces += 1
                yield bytes(MIB)
        finally:
            self.closed.set()


async def test_slow_reader_holds_the_server_back(ac: RecordingStore) -> None:
    """BSR-14, GEN-15: a reader that stops holds the server back; its cancel closes the store."""
    store = Endless()
    async with serving(any_instance(store, ac)) as stub:
        request = bytestream.ReadRequest(resource_name=f"blobs/{hash_of(1)}/{2**50}")
        answers = stub.stream(READ, request)
        await anext(answers)
        before = -1
        while store.pieces != before:  # until flow control has stopped the server
            before = store.pieces
            for _ in range(200):
                await asyncio.sleep(0)
        assert store.pieces < 64
        await answers.aclose()
        await store.closed.wait()


async def test_damage_before_the_first_byte_is_a_miss(stub: Stub, cas: RecordingStore) -> None:
    """GEN-14: a blob that proves damaged before anything was sent is NOT_FOUND, and dropped."""
    key = cas.put(SHA256.key_of(b"rotten"), b"rotten")
    cas.read_errors[key] = DataLoss("the stored bytes are wrong")
    with refused(Code.NOT_FOUND):
        await messages(stub, name_of(b"rotten"))
    assert {} == cas.values


class Short(RecordingStore):
    """Every blob ends after its first mebibyte."""

    async def read(
        self, key: Key, *, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes]:
        yield bytes(MIB)


async def test_damage_in_the_middle_is_data_loss(ac: RecordingStore) -> None:
    """GEN-14: a blob that ends early is never taken for a whole one; it is dropped."""
    store = Short()
    data = blob(2 * MIB)
    key = store.put(SHA256.key_of(data), data)
    async with serving(any_instance(store, ac)) as stub:
        with refused(Code.DATA_LOSS, "ended"):
            await messages(stub, name_of(data))
    assert key not in store.values


async def test_name_header_must_match(stub: Stub, cas: RecordingStore) -> None:
    """GEN-10: a header that repeats the resource name is fine, one that differs is refused."""
    cas.put(SHA256.key_of(b"data"), b"data")
    header = "build.bazel.remote.execution.v2.resource-name"
    name = name_of(b"data")
    assert [b"data"] == await messages(stub, name, metadata=((header, name),))
    with refused(Code.INVALID_ARGUMENT, "other"):
        await messages(stub, name, metadata=((header, "other"),))


async def test_reading_touches(stub: Stub, cas: RecordingStore) -> None:
    """CAS-28: a blob that is read lives longer, also when only its end is asked for."""
    key = cas.put(SHA256.key_of(b"data"), b"data")
    await messages(stub, name_of(b"data"))
    await messages(stub, name_of(b"data"), 4)
    assert [key, key] == cas.touched
