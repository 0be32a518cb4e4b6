"""ByteStream.Write: the rules of one stream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from remex_core.digest import BLAKE3, SHA256
from remex_core.errors import Code, StoreFull
from remex_core.proto import bytestream
from remex_core.resource_names import upload_name
from remex_core.store.memory import MemoryStore
from remex_core.wire.methods import QUERY_WRITE_STATUS, WRITE
from services_support.blobs import UUID, blob, hash_of, refused, sent, write_requests
from services_support.serving import any_instance, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from remex_core.wire.stub import Stub
    from services_support.recording_store import RecordingStore

MIB = 1024 * 1024
Request = bytestream.WriteRequest


def name_of(data: bytes, instance: str = "") -> str:
    return upload_name(instance, UUID, SHA256.key_of(data))


async def write(stub: Stub, requests: Iterable[Request], **options: Any) -> int:
    return (await stub.call(WRITE, sent(requests), **options)).committed_size


async def status(stub: Stub, name: str) -> tuple[int, bool]:
    request = bytestream.QueryWriteStatusRequest(resource_name=name)
    answer = await stub.call(QUERY_WRITE_STATUS, request)
    return answer.committed_size, answer.complete


@pytest.mark.parametrize("size", [1, 100, 65_536, 65_537, 600_000, 3 * MIB + 1])
@pytest.mark.parametrize("piece", [16_384, MIB, 4 * MIB])
async def test_blob_is_stored(stub: Stub, cas: RecordingStore, size: int, piece: int) -> None:
    """BSW-04, BSW-23: after finish_write the blob is there, and committed_size is its size."""
    data = blob(size)
    assert size == await write(stub, write_requests(data, piece=piece))
    assert {SHA256.key_of(data): data} == cas.values


async def test_blake3_blob_is_stored(stub: Stub, cas: RecordingStore) -> None:
    """BSW-04, DIG-13: a name with the segment `blake3` is checked and stored as such."""
    data = blob(1000)
    name = upload_name("main", UUID, BLAKE3.key_of(data))
    assert 1000 == await write(stub, write_requests(data, name=name))
    assert [BLAKE3.key_of(data)] == list(cas.values)


async def test_redundant_function_segment_is_tolerated(stub: Stub, cas: RecordingStore) -> None:
    """DIG-13: `sha256` in a name says nothing new, and does no harm."""
    data = blob(10)
    name = name_of(data).replace("blobs/", "blobs/sha256/")
    assert 10 == await write(stub, write_requests(data, name=name))
    assert [SHA256.key_of(data)] == list(cas.values)


async def test_stream_without_messages_is_refused(stub: Stub) -> None:
    """BSW-01: an empty stream names nothing."""
    with refused(Code.INVALID_ARGUMENT, "names no resource"):
        await write(stub, [])


async def test_first_message_must_name_the_resource(stub: Stub) -> None:
    """BSW-01: a name in the second message comes too late."""
    data = blob(10)
    requests = [Request(data=data[:5]), Request(resource_name=name_of(data), write_offset=5)]
    with refused(Code.INVALID_ARGUMENT, "names no resource"):
        await write(stub, requests)


async def test_name_may_be_repeated(stub: Stub, cas: RecordingStore) -> None:
    """BSW-02: clients that put the name into every message are understood."""
    data = blob(100)
    requests = list(write_requests(data, piece=30))
    for request in requests:
        request.resource_name = name_of(data)
    assert 100 == await write(stub, requests)


async def test_name_may_not_change(stub: Stub, cas: RecordingStore) -> None:
    """BSW-02: another name in a later message is refused, and nothing is stored."""
    data = blob(100)
    requests = list(write_requests(data, piece=30))
    requests[2].resource_name = name_of(b"other")
    with refused(Code.INVALID_ARGUMENT, "another resource"):
        await write(stub, requests)
    assert {} == cas.values


@pytest.mark.parametrize("offset", [0, 29, 31, 60, -1])
async def test_offsets_must_follow(stub: Stub, cas: RecordingStore, offset: int) -> None:
    """BSW-03: each write_offset is the first one plus the bytes since."""
    data = blob(100)
    requests = list(write_requests(data, piece=30))
    requests[1].write_offset = offset
    with refused(Code.INVALID_ARGUMENT, f"offset {offset}"):
        await write(stub, requests)
    assert {} == cas.values


async def test_stream_must_finish(stub: Stub, cas: RecordingStore) -> None:
    """BSW-05: half-closing without finish_write is refused; what was sent can be resumed."""
    data = blob(100)
    requests = list(write_requests(data, piece=40))
    with refused(Code.INVALID_ARGUMENT, "without finish_write"):
        await write(stub, requests[:2])
    assert {} == cas.values
    assert (80, False) == await status(stub, name_of(data))
    assert 100 == await write(stub, write_requests(data, start=80))


async def test_all_bytes_without_finish_are_not_stored(stub: Stub, cas: RecordingStore) -> None:
    """BSW-04, BSW-05: it is finish_write that completes an upload, not the number of bytes."""
    data = blob(100)
    request = Request(resource_name=name_of(data), data=data)
    with refused(Code.INVALID_ARGUMENT, "without finish_write"):
        await write(stub, [request])
    assert {} == cas.values


@pytest.mark.parametrize("piece", [40, 100])
async def test_nothing_may_follow_finish_write(stub: Stub, cas: RecordingStore, piece: int) -> None:
    """BSW-06: a message after the one with finish_write is refused, even an empty one."""
    data = blob(100)
    requests = [*write_requests(data, piece=piece), Request(write_offset=100)]
    with refused(Code.INVALID_ARGUMENT, "follows"):
        await write(stub, requests)
    assert {} == cas.values


async def test_client_that_keeps_its_side_open_is_answered(stub: Stub, cas: RecordingStore) -> None:
    """BSW-04: a client that waits for the answer before it half-closes gets it."""
    data = blob(100)
    answered = asyncio.Event()

    async def requests() -> AsyncIterator[Request]:
        for request in write_requests(data, piece=60):
            yield request
        await answered.wait()

    answer = await stub.call(WRITE, requests())
    answered.set()
    assert 100 == answer.committed_size


@pytest.mark.parametrize("size", [100, 700_000, 3 * MIB])
@pytest.mark.parametrize("piece", [30_000, 8 * MIB])
async def test_wrong_content_is_never_visible(
    stub: Stub, cas: RecordingStore, size: int, piece: int
) -> None:
    """BSW-07: what does not hash to its digest is refused and kept nowhere."""
    data = blob(size)
    name = name_of(data)
    changed = data[:-1] + bytes([data[-1] ^ 1])
    with refused(Code.INVALID_ARGUMENT, "hash"):
        await write(stub, write_requests(changed, piece=piece, name=name))
    assert (0, False) == await status(stub, name)
    await cas.until_open_writes(0)
    assert {} == cas.values


@pytest.mark.parametrize("size", [100, 700_000])
async def test_more_than_declared_is_refused_at_once(
    stub: Stub, cas: RecordingStore, size: int
) -> None:
    """BSW-08: the first byte too many ends the upload, whatever else would come."""
    data = blob(size)
    name = name_of(data)

    async def requests() -> AsyncIterator[Request]:
        yield Request(resource_name=name, data=data)
        yield Request(write_offset=size, data=b"x")
        await asyncio.Event().wait()

    with refused(Code.INVALID_ARGUMENT, f"{size} bytes"):
        await stub.call(WRITE, requests())
    assert (0, False) == await status(stub, name)
    await cas.until_open_writes(0)
    assert {} == cas.values


@pytest.mark.parametrize("size", [100, 700_000])
@pytest.mark.parametrize("pieces", [1, 2])
async def test_fewer_than_declared_are_refused(
    stub: Stub, cas: RecordingStore, size: int, pieces: int
) -> None:
    """BSW-08: finish_write before the declared size is refused."""
    data = blob(size)
    short = data[:-1]
    requests = write_requests(short, piece=-(-len(short) // pieces), name=name_of(data))
    with refused(Code.INVALID_ARGUMENT, f"{size - 1} bytes"):
        await write(stub, requests)
    assert (0, False) == await status(stub, name_of(data))
    assert {} == cas.values


async def test_negative_first_offset_is_refused(stub: Stub) -> None:
    """BSW-09: no upload starts before its blob."""
    request = Request(resource_name=name_of(blob(10)), write_offset=-1, finish_write=True)
    with refused(Code.INVALID_ARGUMENT, "-1"):
        await write(stub, [request])


async def test_first_offset_of_an_unknown_upload_is_zero(stub: Stub) -> None:
    """BSW-09: to go on in the middle, there must be something to go on with."""
    data = blob(100)
    with refused(Code.INVALID_ARGUMENT, "0 bytes of this upload are committed"):
        await write(stub, write_requests(data, start=50))


@pytest.mark.parametrize("size", [100, 5 * MIB])
async def test_present_blob_is_answered_without_waiting(
    stub: Stub, cas: RecordingStore, size: int
) -> None:
    """BSW-10, BSW-11: a blob that is there is OK after the first message, with its whole size."""
    data = blob(size)
    cas.put(SHA256.key_of(data), data)

    async def requests() -> AsyncIterator[Request]:
        yield Request(resource_name=name_of(data), data=data[:10])
        await asyncio.Event().wait()

    assert size == (await stub.call(WRITE, requests())).committed_size


async def test_present_blob_is_answered_wherever_the_client_resumes(
    stub: Stub, cas: RecordingStore
) -> None:
    """BSW-10: somebody else completed the blob while this client was away."""
    data = blob(100)
    cas.put(SHA256.key_of(data), data)
    assert 100 == await write(stub, write_requests(data, start=50))


async def test_blob_that_appears_midway_ends_the_upload(stub: Stub, cas: RecordingStore) -> None:
    """BSW-10: when the store finds it has the blob meanwhile, the client need not send the rest."""
    data = blob(10 * MIB)

    async def requests() -> AsyncIterator[Request]:
        yield Request(resource_name=name_of(data), data=data[:1000])
        while await status(stub, name_of(data)) != (1000, False):
            pass
        cas.put(SHA256.key_of(data), data)
        yield Request(write_offset=1000, data=data[1000:MIB])
        yield Request(write_offset=MIB, data=data[MIB : 4 * MIB])
        await asyncio.Event().wait()

    assert len(data) == (await stub.call(WRITE, requests())).committed_size


async def test_client_that_keeps_sending_sees_the_early_answer(
    stub: Stub, cas: RecordingStore
) -> None:
    """BSW-12: 100 MiB sent at a blob that is there do not hide the OK."""
    data = blob(100)
    key = SHA256.key_of(data)._replace(size=100 * MIB)
    cas.put(key, b"")
    name = upload_name("", UUID, key)
    requests = (
        Request(resource_name=name, write_offset=n * MIB, data=bytes(MIB), finish_write=n == 99)
        for n in range(100)
    )
    assert 100 * MIB == await write(stub, requests)


@pytest.mark.parametrize(
    "uuid",
    ["", "x", "1234", UUID[:-1], UUID + "0", UUID.replace("-", ""), UUID.replace("4", "g")],
)
async def test_upload_needs_a_uuid(stub: Stub, uuid: str) -> None:
    """BSW-15: what follows `uploads/` has the form of a UUID."""
    data = blob(10)
    with refused(Code.INVALID_ARGUMENT, "UUID"):
        await write(stub, write_requests(data, name=name_of(data).replace(UUID, uuid)))


async def test_any_version_and_case_of_uuid(stub: Stub, cas: RecordingStore) -> None:
    """BSW-15: version bits and letter case do not matter."""
    data = blob(10)
    name = name_of(data).replace(UUID, "FFFFFFFF-ffff-0000-FFFF-00000000000A")
    assert 10 == await write(stub, write_requests(data, name=name))


@pytest.mark.parametrize("metadata", ["/foo/bar/baz.cc", "/blobs/uploads/x", "/", "/ü"])
async def test_metadata_after_the_size_is_ignored(
    stub: Stub, cas: RecordingStore, metadata: str
) -> None:
    """BSW-16: whatever follows the size, keywords too, changes nothing."""
    data = blob(10)
    assert 10 == await write(stub, write_requests(data, name=name_of(data, "a/b") + metadata))
    assert [SHA256.key_of(data)] == list(cas.values)


async def test_blob_above_the_limit_is_refused_at_once(
    cas: RecordingStore, ac: RecordingStore
) -> None:
    """BSW-17, CAP-13: the first message tells that the blob is too large."""
    data = blob(101)

    async def requests() -> AsyncIterator[Request]:
        yield Request(resource_name=name_of(data), data=data[:1])
        await asyncio.Event().wait()

    async with serving(any_instance(cas, ac, max_blob_bytes=100)) as stub:
        with refused(Code.INVALID_ARGUMENT, "100 bytes"):
            await stub.call(WRITE, requests())
        assert 100 == await write(stub, write_requests(blob(100)))


async def test_empty_blob_is_accepted(stub: Stub, cas: RecordingStore) -> None:
    """BSW-18, DIG-10: one message without data; no store is asked for it."""
    request = Request(resource_name=name_of(b""), finish_write=True)
    assert 0 == await write(stub, [request])
    assert [] == cas.asked


async def test_no_bytes_of_another_hash_are_refused(stub: Stub) -> None:
    """DIG-04, BSW-07: size 0 is only right with the hash of nothing."""
    name = f"uploads/{UUID}/blobs/{hash_of(1)}/0"
    with refused(Code.INVALID_ARGUMENT, "hash"):
        await write(stub, [Request(resource_name=name, finish_write=True)])


async def test_bytes_for_the_empty_blob_are_refused(stub: Stub) -> None:
    """BSW-08: the empty blob takes no bytes."""
    with refused(Code.INVALID_ARGUMENT, "1 bytes"):
        await write(stub, [Request(resource_name=name_of(b""), data=b"x", finish_write=True)])


async def test_empty_messages_keep_a_stream_alive(stub: Stub, cas: RecordingStore) -> None:
    """BSW-19: messages without data are accepted anywhere, and one may finish."""
    data = blob(100)
    requests = [
        Request(resource_name=name_of(data)),
        Request(write_offset=0, data=data[:60]),
        Request(write_offset=60),
        Request(write_offset=60, data=data[60:]),
        Request(write_offset=100),
        Request(write_offset=100, finish_write=True),
    ]
    assert 100 == await write(stub, requests)
    assert [data] == list(cas.values.values())


@pytest.mark.parametrize("size", [100, 5 * MIB])
@pytest.mark.parametrize("piece", [MIB, 8 * MIB])
async def test_full_store_is_resource_exhausted(
    stub: Stub, cas: RecordingStore, size: int, piece: int
) -> None:
    """BSW-20: where there is no room the client is told to retry, and nothing is kept."""
    cas.write_error = StoreFull("no room")
    data = blob(size)
    with refused(Code.RESOURCE_EXHAUSTED, "no room"):
        await write(stub, write_requests(data, piece=piece))
    assert (0, False) == await status(stub, name_of(data))
    assert ({}, 0) == (cas.values, cas.open_writes)


@pytest.mark.parametrize(
    "name",
    [
        f"blobs/{hash_of(1)}/1",
        f"main/blobs/{hash_of(1)}/1",
        f"main/logstreams/{UUID}",
        f"uploads/{UUID}",
        f"uploads/{UUID}/{hash_of(1)}/1",
        f"uploads/{UUID}/blobs/{hash_of(1)}",
        f"uploads/{UUID}/blobs/{hash_of(1)}/-1",
        f"uploads/{UUID}/blobs/{hash_of(1)}/01",
        f"uploads/{UUID}/blobs/{'a' * 40}/1",
        f"uploads/{UUID}/compressed-blobs/zstd/{hash_of(1)}/1",
        f"uploads/{UUID}/compressed-blobs/identity/{hash_of(1)}/1",
        f"uploads/{UUID}/compressed-blobs/{hash_of(1)}/1",
    ],
)
async def test_names_that_cannot_be_written_are_refused(stub: Stub, name: str) -> None:
    """BSW-21, BSQ-04, DIG-03: read names, other names and malformed ones are invalid arguments."""
    with refused(Code.INVALID_ARGUMENT):
        await write(stub, [Request(resource_name=name, data=b"x", finish_write=True)])
    with refused(Code.INVALID_ARGUMENT):
        await status(stub, name)


async def test_name_header_must_match(stub: Stub) -> None:
    """GEN-10: a header that repeats the resource name is fine, one that differs is refused."""
    data = blob(10)
    header = "build.bazel.remote.execution.v2.resource-name"
    assert 10 == await write(stub, write_requests(data), metadata=((header, name_of(data)),))
    with refused(Code.INVALID_ARGUMENT, "header"):
        await write(stub, write_requests(data), metadata=((header, name_of(b"other")),))


async def test_one_uuid_serves_many_blobs(stub: Stub, cas: RecordingStore) -> None:
    """BSW-14: the upload is known by its whole name, so a client may reuse its UUID."""
    blobs = [blob(200_000, seed) for seed in range(8)]
    await asyncio.gather(*(write(stub, write_requests(data, piece=7_777)) for data in blobs))
    assert {SHA256.key_of(data): data for data in blobs} == cas.values


async def test_large_blob_into_a_memory_store(ac: RecordingStore) -> None:
    """BSW-04: a large blob arrives whole where the store keeps the pieces it is given."""
    data = blob(20 * MIB + 3)
    store = MemoryStore(64 * MIB)
    async with serving(any_instance(store, ac)) as stub:
        assert len(data) == await write(stub, write_requests(data, piece=MIB))
    pieces = [piece async for piece in store.read(SHA256.key_of(data))]
    assert data == b"".join(pieces)
