"""QueryWriteStatus, and what is left of a write whose stream broke."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from remex_core.digest import BLAKE3, SHA256
from remex_core.errors import Code, StoreFull
from remex_core.proto import bytestream
from remex_core.resource_names import upload_name
from remex_core.services.uploads import UploadLimits
from remex_core.wire.methods import QUERY_WRITE_STATUS, WRITE
from services_support.blobs import UUID, blob, hash_of, refused, sent, write_requests
from services_support.serving import any_instance, serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable

    from remex_core.wire.stub import Stub
    from services_support.recording_store import RecordingStore

MIB = 1024 * 1024
Request = bytestream.WriteRequest

# Below half a mebibyte an upload is only gathered; above, its store's write is under way.
SIZES = [100_000, 3 * MIB]


def name_of(data: bytes) -> str:
    return upload_name("", UUID, SHA256.key_of(data))


async def write(stub: Stub, requests: Iterable[Request]) -> int:
    return (await stub.call(WRITE, sent(requests))).committed_size


async def status(stub: Stub, name: str) -> tuple[int, bool]:
    request = bytestream.QueryWriteStatusRequest(resource_name=name)
    answer = await stub.call(QUERY_WRITE_STATUS, request)
    return answer.committed_size, answer.complete


async def until_committed(stub: Stub, name: str, size: int) -> None:
    while await status(stub, name) != (size, False):
        pass


@asynccontextmanager
async def open_write(
    stub: Stub, data: bytes, upto: int, *, start: int = 0
) -> AsyncGenerator[asyncio.Task[bytestream.WriteResponse]]:
    """A write that has sent data[start:upto] and is still open; it is cut when the block ends."""

    async def requests() -> AsyncIterator[Request]:
        for offset in range(start, upto, 64 * 1024):
            yield Request(
                resource_name=name_of(data),
                write_offset=offset,
                data=data[offset : min(offset + 64 * 1024, upto)],
            )
        await asyncio.Event().wait()

    call = asyncio.create_task(stub.call(WRITE, requests()))
    try:
        await until_committed(stub, name_of(data), upto)
        yield call
    finally:
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call


async def break_write(stub: Stub, data: bytes, upto: int, *, start: int = 0) -> None:
    """Sends data[start:upto] and cuts the stream."""
    async with open_write(stub, data, upto, start=start):
        pass


async def test_open_upload_tells_what_it_has(stub: Stub) -> None:
    """BSQ-01: while a stream is open, committed_size counts what would survive it."""
    data = blob(100_000)
    async with open_write(stub, data, 70_000):
        assert (70_000, False) == await status(stub, name_of(data))


@pytest.mark.parametrize("size", SIZES)
async def test_committed_size_never_decreases(stub: Stub, size: int) -> None:
    """BSQ-01: each part adds to it, whether streams break or not."""
    data = blob(size)
    seen = []
    for start, upto in ((0, size // 4), (size // 4, size // 2), (size // 2, size - 1)):
        await break_write(stub, data, upto, start=start)
        seen.append((await status(stub, name_of(data)))[0])
    assert [size // 4, size // 2, size - 1] == seen


async def test_finished_upload_is_complete(stub: Stub) -> None:
    """BSQ-02: after the upload, its name answers the size and complete."""
    data = blob(100_000)
    await write(stub, write_requests(data))
    assert (100_000, True) == await status(stub, name_of(data))


async def test_present_blob_is_complete_under_any_upload_name(
    stub: Stub, cas: RecordingStore
) -> None:
    """BSQ-02: a blob that came another way is complete for everybody."""
    for function in (SHA256, BLAKE3):
        key = cas.put(function.key_of(b"data"), b"data")
        assert (4, True) == await status(stub, upload_name("any", UUID, key))


async def test_empty_blob_is_complete(stub: Stub, cas: RecordingStore) -> None:
    """BSQ-02, DIG-10: the empty blob needs no upload."""
    assert (0, True) == await status(stub, name_of(b""))
    assert [] == cas.asked


async def test_unknown_upload_is_at_zero(stub: Stub) -> None:
    """BSQ-03, BSQ-05: a name nobody wrote to is {0, false}, not an error that ends the client."""
    assert (0, False) == await status(stub, f"uploads/{UUID}/blobs/{hash_of(1)}/1000")


@pytest.mark.parametrize("size", SIZES)
async def test_broken_upload_resumes_where_it_was(
    stub: Stub, cas: RecordingStore, size: int
) -> None:
    """BSW-13, BSW-09: what was committed survives the stream, and the rest completes the blob."""
    data = blob(size)
    await break_write(stub, data, size - 1000)
    assert (size - 1000, False) == await status(stub, name_of(data))
    assert {} == cas.values
    assert size == await write(stub, write_requests(data, start=size - 1000))
    assert {SHA256.key_of(data): data} == cas.values
    assert (size, True) == await status(stub, name_of(data))


@pytest.mark.parametrize("size", SIZES)
async def test_broken_upload_resumes_many_times(stub: Stub, cas: RecordingStore, size: int) -> None:
    """BSW-13: an upload may break again and again."""
    data = blob(size)
    cuts = [size * n // 10 for n in range(10)]
    for start, upto in pairwise(cuts):
        await break_write(stub, data, upto, start=start)
    assert size == await write(stub, write_requests(data, start=cuts[-1]))
    assert {SHA256.key_of(data): data} == cas.values


@pytest.mark.parametrize("size", SIZES)
async def test_broken_upload_may_start_again(stub: Stub, cas: RecordingStore, size: int) -> None:
    """BSW-09: offset 0 discards what there was; the same name then completes."""
    data = blob(size)
    await break_write(stub, data, size // 2)
    assert size == await write(stub, write_requests(data, piece=10_000))
    assert {SHA256.key_of(data): data} == cas.values
    await cas.until_open_writes(0)


@pytest.mark.parametrize("size", SIZES)
async def test_broken_upload_takes_no_other_offset(
    stub: Stub, cas: RecordingStore, size: int
) -> None:
    """BSW-09: neither before nor after what is committed; the upload stays as it was."""
    data = blob(size)
    await break_write(stub, data, 50_000)
    for offset in (1, 49_999, 50_001, size):
        with refused(Code.INVALID_ARGUMENT, "50000 bytes of this upload are committed"):
            await write(stub, [Request(resource_name=name_of(data), write_offset=offset)])
    assert (50_000, False) == await status(stub, name_of(data))
    assert size == await write(stub, write_requests(data, start=50_000))


async def test_finish_alone_completes_a_broken_upload(stub: Stub, cas: RecordingStore) -> None:
    """BSW-13: when only finish_write was lost, an empty message with it is enough."""
    data = blob(100_000)
    await break_write(stub, data, len(data))
    last = Request(resource_name=name_of(data), write_offset=len(data), finish_write=True)
    assert len(data) == await write(stub, [last])
    assert {SHA256.key_of(data): data} == cas.values


@pytest.mark.parametrize("size", SIZES)
async def test_wrong_bytes_before_the_break_are_found(
    stub: Stub, cas: RecordingStore, size: int
) -> None:
    """BSW-07: a resumed upload is checked from its first byte on, and then forgotten."""
    data = blob(size)
    name = name_of(data)
    wrong = bytes(1) + data[1:]
    with refused(Code.INVALID_ARGUMENT, "without finish_write"):
        await write(stub, [Request(resource_name=name, data=wrong[:1000])])
    with refused(Code.INVALID_ARGUMENT, "hash"):
        await write(stub, write_requests(data, name=name, start=1000))
    assert (0, False) == await status(stub, name)
    await cas.until_open_writes(0)
    assert size == await write(stub, write_requests(data))


@pytest.mark.parametrize("size", SIZES)
async def test_two_live_streams_from_the_start_both_succeed(
    stub: Stub, cas: RecordingStore, size: int
) -> None:
    """BSW-14: a second stream of the same name that starts anew does not disturb the first."""
    data = blob(size)
    go_on = asyncio.Event()

    async def slow() -> AsyncIterator[Request]:
        for n, request in enumerate(write_requests(data, piece=size // 3)):
            if n == 1:
                await until_committed(stub, name_of(data), size // 3)
                go_on.set()
                await second
            yield request

    async def late() -> int:
        await go_on.wait()
        return await write(stub, write_requests(data, piece=10_000))

    second = asyncio.create_task(late())
    assert size == (await stub.call(WRITE, slow())).committed_size
    assert size == await second
    assert {SHA256.key_of(data): data} == cas.values


@pytest.mark.parametrize("size", SIZES)
async def test_stream_that_goes_on_takes_the_upload_over(
    stub: Stub, cas: RecordingStore, size: int
) -> None:
    """BSW-14: a client that resumes need not wait until its dead stream is noticed."""
    data = blob(size)
    upto = size // 2
    resume = asyncio.Event()

    async def lost() -> AsyncIterator[Request]:
        yield Request(resource_name=name_of(data), data=data[:upto])
        await resume.wait()
        yield Request(write_offset=upto, data=data[upto:])

    first = asyncio.create_task(stub.call(WRITE, lost()))
    await until_committed(stub, name_of(data), upto)
    async with open_write(stub, data, upto + 10, start=upto):
        resume.set()
        with refused(Code.ABORTED, "Another stream"):
            await first
        assert (upto + 10, False) == await status(stub, name_of(data))
    assert size == await write(stub, write_requests(data, start=upto + 10))
    assert {SHA256.key_of(data): data} == cas.values


async def test_metadata_makes_another_upload(stub: Stub, cas: RecordingStore) -> None:
    """BSW-14: what is known of an upload is known under its whole name."""
    data = blob(100_000)
    await break_write(stub, data, 50_000)
    assert (0, False) == await status(stub, name_of(data) + "/other")


async def test_protocol_mistake_leaves_the_upload(stub: Stub, cas: RecordingStore) -> None:
    """BSW-05, BSW-13: a stream that ends in an error of its own form loses no bytes."""
    data = blob(100_000)
    requests = list(write_requests(data, piece=30_000))
    requests[2].write_offset = 7
    with refused(Code.INVALID_ARGUMENT, "offset 7"):
        await write(stub, requests)
    assert (60_000, False) == await status(stub, name_of(data))


async def test_store_that_fails_while_nobody_looks(stub: Stub, cas: RecordingStore) -> None:
    """BSQ-01: an upload whose store gave up is at 0 again, and can start anew."""
    data = blob(3 * MIB)
    cas.gate.clear()
    await break_write(stub, data, MIB)
    cas.write_error = StoreFull("no room")
    cas.gate.set()
    await cas.until_open_writes(0)
    assert (0, False) == await status(stub, name_of(data))
    cas.write_error = None
    assert len(data) == await write(stub, write_requests(data))


async def test_slow_store_holds_the_client_back(stub: Stub, cas: RecordingStore) -> None:
    """GEN-15, BSW-22: while its store is behind, an upload takes no more than some MiB."""
    data = blob(32 * MIB)
    cas.gate.clear()
    call = asyncio.create_task(write(stub, write_requests(data, piece=256 * 1024)))
    await cas.until_open_writes(1)
    before = -1
    while (now := (await status(stub, name_of(data)))[0]) != before:
        before = now
    assert before < 4 * MIB
    cas.gate.set()
    assert len(data) == await call
    assert [data] == list(cas.values.values())


async def test_idle_upload_expires(cas: RecordingStore, ac: RecordingStore) -> None:
    """BSW-22: an upload that nobody comes back for ends, and its store's write with it."""
    data = blob(3 * MIB)
    async with serving(any_instance(cas, ac), limits=UploadLimits(idle_seconds=0)) as stub:
        call = asyncio.create_task(stub.call(WRITE, sent_and_held(data, 2 * MIB)))
        await cas.until_open_writes(1)
        call.cancel()
        await cas.until_open_writes(0)
        assert (0, False) == await status(stub, name_of(data))
        assert len(data) == await write(stub, write_requests(data))


async def sent_and_held(data: bytes, upto: int) -> AsyncIterator[Request]:
    yield Request(resource_name=name_of(data), data=data[:upto])
    await asyncio.Event().wait()


async def test_oldest_idle_upload_makes_room(cas: RecordingStore, ac: RecordingStore) -> None:
    """BSW-22: idle uploads are bounded in number."""
    blobs = [blob(10_000, seed) for seed in range(4)]
    async with serving(any_instance(cas, ac), limits=UploadLimits(idle_uploads=2)) as stub:
        for data in blobs:
            await break_write(stub, data, 5_000)
        left = [(await status(stub, name_of(data)))[0] for data in blobs]
    assert [0, 0, 5_000, 5_000] == left


async def test_idle_uploads_are_bounded_in_bytes(cas: RecordingStore, ac: RecordingStore) -> None:
    """BSW-22: what idle uploads have received counts against a quota."""
    blobs = [blob(10_000, seed) for seed in range(4)]
    async with serving(any_instance(cas, ac), limits=UploadLimits(idle_bytes=12_000)) as stub:
        for data in blobs:
            await break_write(stub, data, 5_000)
        left = [(await status(stub, name_of(data)))[0] for data in blobs]
    assert [0, 0, 5_000, 5_000] == left


async def test_crowded_uploads_go_to_their_stores_at_once(
    cas: RecordingStore, ac: RecordingStore
) -> None:
    """GEN-15: when all uploads hold as much as memory allows, each message goes on to the store."""
    data = blob(100_000)
    async with serving(any_instance(cas, ac), limits=UploadLimits(gathered_bytes=0)) as stub:
        async with open_write(stub, data, 10_000):
            await cas.until_open_writes(1)
        assert len(data) == await write(stub, write_requests(data, start=10_000))
    assert [data] == list(cas.values.values())


async def test_closing_the_service_leaves_nothing(cas: RecordingStore, ac: RecordingStore) -> None:
    """GEN-15: when the server ends, so do the writes that waited for their clients."""
    async with serving(any_instance(cas, ac)) as stub:
        for seed in range(3):
            await break_write(stub, blob(3 * MIB, seed), 2 * MIB)
        await cas.until_open_writes(3)
    assert (0, {}) == (cas.open_writes, cas.values)


@pytest.mark.parametrize("size", [100_000, 1_200_000])
async def test_a_thousand_cancelled_writes_leave_nothing(
    cas: RecordingStore, ac: RecordingStore, size: int
) -> None:
    """GEN-15: however many clients vanish, no more than the bound stays, and then nothing."""
    limits = UploadLimits(idle_uploads=4)
    data = blob(size)
    names = [upload_name("", UUID[:-4] + f"{n:04x}", SHA256.key_of(data)) for n in range(1000)]

    async def vanish(stub: Stub, name: str) -> None:
        received = asyncio.Event()

        async def requests() -> AsyncIterator[Request]:
            yield Request(resource_name=name, data=data[: size // 2])
            received.set()
            await asyncio.Event().wait()

        call = asyncio.create_task(stub.call(WRITE, requests()))
        await received.wait()
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call

    async with serving(any_instance(cas, ac), limits=limits) as stub:
        for at in range(0, 1000, 20):
            await asyncio.gather(*(vanish(stub, name) for name in names[at : at + 20]))
        while len([name for name in names if (await status(stub, name))[0]]) > 4:
            pass
        while cas.open_writes > 4:
            await status(stub, names[0])
        assert size == await write(stub, write_requests(data))
    assert 0 == cas.open_writes
