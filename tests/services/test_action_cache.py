"""GetActionResult and UpdateActionResult."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from remex_core.clock import ManualClock
from remex_core.digest import BLAKE3, SHA256, Key
from remex_core.errors import Code, DataLoss, StoreFull, StoreUnavailable
from remex_core.proto import reapi
from remex_core.services.action_cache import UPLOADER, ActionCacheService
from remex_core.testing.server import serve_handlers
from remex_core.wire.methods import GET_ACTION_RESULT, UPDATE_ACTION_RESULT
from services_support.blobs import NOT_A_HASH, blob, digest, hash_of, refused, to_digest
from services_support.serving import any_instance

if TYPE_CHECKING:
    from remex_core.wire.stub import Stub
    from services_support.recording_store import RecordingStore

MIB = 1024 * 1024
ACTION = digest(b"an action")
OUT = digest(b"an output")

TIMES = [
    "queued_timestamp",
    "worker_start_timestamp",
    "input_fetch_start_timestamp",
    "input_fetch_completed_timestamp",
    "execution_start_timestamp",
    "execution_completed_timestamp",
    "output_upload_start_timestamp",
    "output_upload_completed_timestamp",
    "worker_completed_timestamp",
]


def ac_key(action: reapi.Digest = ACTION, space: str = "ac:") -> Key:
    return Key(space, "sha256", action.hash, action.size_bytes)


def result(*files: reapi.OutputFile, **fields: Any) -> reapi.ActionResult:
    made = reapi.ActionResult(output_files=files, **fields)
    made.execution_metadata.worker = "w1"
    return made


async def get(stub: Stub, action: reapi.Digest = ACTION, **fields: Any) -> reapi.ActionResult:
    request = reapi.GetActionResultRequest(action_digest=action, **fields)
    return await stub.call(GET_ACTION_RESULT, request)


async def update(
    stub: Stub, what: Any, action: reapi.Digest = ACTION, **fields: Any
) -> reapi.ActionResult:
    request = reapi.UpdateActionResultRequest(action_digest=action, action_result=what, **fields)
    return await stub.call(UPDATE_ACTION_RESULT, request)


async def test_miss_is_not_found(stub: Stub) -> None:
    """AC-01: an action without a result is NOT_FOUND, which every client takes for a miss."""
    with refused(Code.NOT_FOUND, ACTION.hash):
        await get(stub)


async def test_result_is_found_again(stub: Stub) -> None:
    """AC-08: what was stored is answered, by the update and by later gets."""
    stored = result(reapi.OutputFile(path="a", digest=OUT, is_executable=True), exit_code=0)
    assert stored == await update(stub, stored)
    assert stored == await get(stub)


async def test_size_and_function_are_part_of_the_key(stub: Stub) -> None:
    """AC-04: the same hash with another size or function is another action."""
    await update(stub, result())
    with refused(Code.NOT_FOUND):
        await get(stub, reapi.Digest(hash=ACTION.hash, size_bytes=ACTION.size_bytes + 1))
    with refused(Code.NOT_FOUND):
        await get(stub, digest_function=9)
    assert result() == await get(stub, digest_function=1)


async def test_blake3_results(stub: Stub) -> None:
    """AC-04, DIG-06: a result under a BLAKE3 action digest has BLAKE3 outputs."""
    action, out = digest(b"action", BLAKE3), digest(b"out", BLAKE3)
    stored = result(reapi.OutputFile(path="a", digest=out))
    await update(stub, stored, action, digest_function=9)
    assert stored == await get(stub, action, digest_function=9)
    with refused(Code.NOT_FOUND):
        await get(stub, action, digest_function=1)


async def test_nothing_is_inlined_unasked(stub: Stub, cas: RecordingStore) -> None:
    """AC-05: without a request for it, neither stdio nor files stand in the result."""
    cas.put(SHA256.key_of(b"text"), b"text")
    text = digest(b"text")
    await update(
        stub,
        result(
            reapi.OutputFile(path="a", digest=text, contents=b"text"),
            stdout_digest=text,
            stderr_raw=b"raw",
        ),
    )
    found = await get(stub)
    assert [b"", b"", b""] == [found.stdout_raw, found.stderr_raw, found.output_files[0].contents]


async def test_what_is_asked_for_is_inlined(stub: Stub, cas: RecordingStore) -> None:
    """AC-06, AC-07: stdout, stderr and named files are filled in, digests stay."""
    for data in (b"out", b"err", b"one", b"two"):
        cas.put(SHA256.key_of(data), data)
    stored = result(
        reapi.OutputFile(path="dir/one", digest=digest(b"one")),
        reapi.OutputFile(path="two", digest=digest(b"two")),
        stdout_digest=digest(b"out"),
        stderr_digest=digest(b"err"),
    )
    await update(stub, stored)
    found = await get(
        stub, inline_stdout=True, inline_stderr=True, inline_output_files=["dir/one", "unknown"]
    )
    assert (b"out", b"err") == (found.stdout_raw, found.stderr_raw)
    assert [b"one", b""] == [file.contents for file in found.output_files]
    assert (digest(b"out"), digest(b"err")) == (found.stdout_digest, found.stderr_digest)
    assert [digest(b"one"), digest(b"two")] == [file.digest for file in found.output_files]


@pytest.mark.parametrize("path", ["ONE", "one/", "./one", "on", "unknown"])
async def test_inlined_paths_match_exactly(stub: Stub, cas: RecordingStore, path: str) -> None:
    """AC-07: a path that is no output of the action is ignored, however similar."""
    cas.put(SHA256.key_of(b"one"), b"one")
    await update(stub, result(reapi.OutputFile(path="one", digest=digest(b"one"))))
    assert b"" == (await get(stub, inline_output_files=[path])).output_files[0].contents


async def test_empty_outputs_are_inlined_as_nothing(stub: Stub, cas: RecordingStore) -> None:
    """AC-07, DIG-10: an empty file or stream has no bytes and size 0; no store is asked."""
    empty = digest(b"")
    await update(stub, result(reapi.OutputFile(path="e", digest=empty), stdout_digest=empty))
    found = await get(stub, inline_stdout=True, inline_output_files=["e"])
    assert (b"", b"") == (found.stdout_raw, found.output_files[0].contents)
    assert 0 == found.output_files[0].digest.size_bytes
    assert [] == cas.asked


async def test_inlining_stops_before_the_message_is_too_large(
    stub: Stub, cas: RecordingStore
) -> None:
    """AC-06, GEN-05: what does not fit into 4 MiB stays out, and later smaller things still fit."""
    large, small = blob(3 * MIB), blob(1000)
    for data in (large, small):
        cas.put(SHA256.key_of(data), data)
    await update(
        stub,
        result(
            reapi.OutputFile(path="large", digest=digest(large)),
            reapi.OutputFile(path="small", digest=digest(small)),
            stdout_digest=digest(large),
        ),
    )
    found = await get(stub, inline_stdout=True, inline_output_files=["large", "small"])
    assert large == found.stdout_raw
    assert [b"", small] == [file.contents for file in found.output_files]
    assert found.ByteSize() < 4 * MIB


async def test_what_cannot_be_read_is_not_inlined(stub: Stub, cas: RecordingStore) -> None:
    """AC-06: inlining is a favour; a missing or failing blob leaves the digest to the client."""
    failing = cas.put(SHA256.key_of(b"failing"), b"failing")
    cas.read_errors[failing] = StoreUnavailable("the disk is gone")
    await update(stub, result(stdout_digest=digest(b"gone"), stderr_digest=to_digest(failing)))
    found = await get(stub, inline_stdout=True, inline_stderr=True)
    assert (b"", b"") == (found.stdout_raw, found.stderr_raw)
    assert digest(b"gone") == found.stdout_digest


async def test_action_itself_need_not_be_stored(stub: Stub, cas: RecordingStore) -> None:
    """AC-09: an update is accepted whether or not Action and Command are in the CAS."""
    await update(stub, result())
    assert [] == cas.asked


FILE = reapi.OutputFile(path="a", digest=OUT)
DIRECTORY = reapi.OutputDirectory(path="d", tree_digest=OUT)
LINK = reapi.OutputSymlink(path="l", target="t")
BAD = reapi.Digest(hash=NOT_A_HASH, size_bytes=1)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"output_files": [reapi.OutputFile(path="a", digest=BAD)]}, "the output file 'a'"),
        ({"output_files": [reapi.OutputFile(path="a")]}, "missing"),
        ({"output_files": [reapi.OutputFile(digest=OUT)]}, "empty path"),
        ({"output_files": [reapi.OutputFile(path="/a", digest=OUT)]}, "absolute"),
        ({"output_files": [reapi.OutputFile(path="a\0b", digest=OUT)]}, "NUL"),
        ({"output_files": [FILE, FILE]}, "twice"),
        ({"output_directories": [reapi.OutputDirectory(path="d", tree_digest=BAD)]}, "'d'"),
        ({"output_directories": [reapi.OutputDirectory(path="d")]}, "missing"),
        ({"output_directories": [reapi.OutputDirectory(path="/d", tree_digest=OUT)]}, "absolute"),
        ({"output_directories": [DIRECTORY, DIRECTORY]}, "twice"),
        (
            {
                "output_directories": [
                    reapi.OutputDirectory(path="d", tree_digest=OUT, root_directory_digest=BAD)
                ]
            },
            "'d'",
        ),
        ({"output_symlinks": [reapi.OutputSymlink(target="t")]}, "empty path"),
        ({"output_symlinks": [reapi.OutputSymlink(path="/l", target="t")]}, "absolute"),
        ({"output_symlinks": [LINK, LINK]}, "twice"),
        ({"output_file_symlinks": [LINK, LINK]}, "twice"),
        ({"output_directory_symlinks": [reapi.OutputSymlink(path="/l")]}, "absolute"),
        (
            {"output_files": [FILE], "output_symlinks": [reapi.OutputSymlink(path="a")]},
            "twice",
        ),
        ({"stdout_digest": BAD}, "stdout"),
        ({"stderr_digest": reapi.Digest(hash=hash_of(1), size_bytes=-1)}, "stderr"),
    ],
)
async def test_malformed_result_is_refused(
    stub: Stub, ac: RecordingStore, bad: Any, said: str
) -> None:
    """AC-10, AC-14, ACT-17: a bad digest or path names itself in the error, and nothing is kept."""
    with refused(Code.INVALID_ARGUMENT, said):
        await update(
            stub, result(**bad) if "output_files" not in bad else reapi.ActionResult(**bad)
        )
    assert {} == ac.values


@pytest.mark.parametrize("action", [BAD, reapi.Digest(hash=ACTION.hash, size_bytes=-1)])
async def test_malformed_action_is_refused(
    stub: Stub, ac: RecordingStore, action: reapi.Digest
) -> None:
    """AC-10, DIG-01, DIG-03: the action's own digest is checked by both methods."""
    with refused(Code.INVALID_ARGUMENT):
        await get(stub, action)
    with refused(Code.INVALID_ARGUMENT):
        await update(stub, result(), action)
    assert {} == ac.values


async def test_update_needs_a_result(stub: Stub) -> None:
    """AC-10: an update without a result has nothing to keep."""
    with refused(Code.INVALID_ARGUMENT, "no action result"):
        await stub.call(UPDATE_ACTION_RESULT, reapi.UpdateActionResultRequest(action_digest=ACTION))


async def test_usual_shapes_are_accepted(stub: Stub) -> None:
    """AC-10, OUT-05, OUT-17, OUT-18: `..`, the empty directory path, and repeated link lists."""
    stored = result(
        reapi.OutputFile(path="../up", digest=OUT),
        output_directories=[
            reapi.OutputDirectory(path="", tree_digest=OUT, root_directory_digest=OUT),
            reapi.OutputDirectory(path="only-root", root_directory_digest=OUT),
        ],
        output_symlinks=[LINK],
        output_file_symlinks=[LINK],
    )
    await update(stub, stored)
    assert stored == await get(stub)


async def test_full_store_is_resource_exhausted(stub: Stub, ac: RecordingStore) -> None:
    """AC-11: where there is no room, the client is told to retry."""
    ac.write_error = StoreFull("no room")
    with refused(Code.RESOURCE_EXHAUSTED, "no room"):
        await update(stub, result())


async def test_metadata_is_added_to_an_update_without(
    cas: RecordingStore, ac: RecordingStore
) -> None:
    """AC-13, MET-01: a client's own result gets a worker and all times, monotonic and not zero."""
    clock = ManualClock(wall=1_700_000_000.25)
    service = ActionCacheService(any_instance(cas, ac), clock)
    async with serve_handlers(service.handlers()) as served:
        await update(served.stub, reapi.ActionResult(exit_code=0))
        metadata = (await get(served.stub)).execution_metadata
    assert UPLOADER == metadata.worker
    expected = [1_700_000_000_250_000_000] * len(TIMES)
    assert expected == [getattr(metadata, name).ToNanoseconds() for name in TIMES]


async def test_metadata_of_the_client_is_kept(stub: Stub) -> None:
    """AC-13, MET-04: metadata that is there is answered as it was sent."""
    stored = reapi.ActionResult()
    stored.execution_metadata.worker = "elsewhere"
    stored.execution_metadata.queued_timestamp.seconds = 5
    await update(stub, stored)
    assert stored == await get(stub)


async def test_metadata_is_added_to_what_others_wrote(stub: Stub, ac: RecordingStore) -> None:
    """AC-13: an entry that came into the store without metadata is answered with some."""
    ac.put(ac_key(), reapi.ActionResult(exit_code=2).SerializeToString())
    found = await get(stub)
    assert found.HasField("execution_metadata")
    assert 2 == found.exit_code


@pytest.mark.parametrize("field", ["stdout", "stderr"])
async def test_raw_stdio_becomes_a_blob(stub: Stub, cas: RecordingStore, field: str) -> None:
    """AC-15: bytes in the result go to the CAS, and the digest stands for them."""
    await update(stub, result(**{f"{field}_raw": b"said"}))
    assert b"said" == cas.values[SHA256.key_of(b"said")]
    wish: dict[str, Any] = {f"inline_{field}": True}
    found = await get(stub, **wish)
    assert b"said" == getattr(found, f"{field}_raw")
    assert digest(b"said") == getattr(found, f"{field}_digest")


async def test_inlined_files_become_blobs(stub: Stub, cas: RecordingStore) -> None:
    """AC-15, AC-05: contents in an update are stored under their digest."""
    await update(stub, result(reapi.OutputFile(path="a", digest=digest(b"x"), contents=b"x")))
    assert {SHA256.key_of(b"x"): b"x"} == cas.values


@pytest.mark.parametrize(
    "bad",
    [
        {"stdout_raw": b"said", "stdout_digest": OUT},
        {"stderr_raw": b"said", "stderr_digest": OUT},
        {"output_files": [reapi.OutputFile(path="a", digest=OUT, contents=b"said")]},
    ],
)
async def test_bytes_must_match_the_digest_beside_them(
    stub: Stub, cas: RecordingStore, ac: RecordingStore, bad: Any
) -> None:
    """AC-15, DIG-02: bytes and digest that disagree are refused, and nothing is kept."""
    with refused(Code.INVALID_ARGUMENT):
        await update(stub, reapi.ActionResult(**bad))
    assert ({}, {}) == (cas.values, ac.values)


async def test_last_writer_wins(stub: Stub) -> None:
    """AC-16: an update replaces what was there."""
    for code in (1, 2, 3):
        await update(stub, result(exit_code=code))
    assert 3 == (await get(stub)).exit_code


async def test_concurrent_updates_leave_one_whole_value(stub: Stub) -> None:
    """AC-16: of many updates at once one complete result remains."""
    stored = [
        result(*(reapi.OutputFile(path=f"{n}-{m}", digest=OUT) for m in range(50)), exit_code=n)
        for n in range(20)
    ]
    await asyncio.gather(*(update(stub, one) for one in stored))
    assert await get(stub) in stored


async def test_any_priority_is_accepted(stub: Stub) -> None:
    """AC-16, CAP-10: results_cache_policy changes nothing yet, whatever its priority."""
    for priority in (-(2**31), 2**31 - 1):
        policy = reapi.ResultsCachePolicy(priority=priority)
        await update(stub, result(), results_cache_policy=policy)


async def test_failed_result_is_stored_as_given(stub: Stub) -> None:
    """AC-17: a client that stores a non-zero exit gets it back."""
    await update(stub, result(exit_code=42))
    assert 42 == (await get(stub)).exit_code


@pytest.mark.parametrize("value", [b"\xff\xff no result", None])
async def test_unusable_entry_is_a_miss(
    stub: Stub, ac: RecordingStore, value: bytes | None
) -> None:
    """GEN-13, GEN-14: an entry that cannot be parsed or is damaged is NOT_FOUND, and dropped."""
    key = ac.put(ac_key(), value or b"")
    if value is None:
        ac.read_errors[key] = DataLoss("the stored bytes are wrong")
    with refused(Code.NOT_FOUND):
        await get(stub)
    assert {} == ac.values


async def test_failing_store_is_no_miss(stub: Stub, ac: RecordingStore) -> None:
    """GEN-14: a cache that cannot be read now is UNAVAILABLE."""
    key = ac.put(ac_key(), b"")
    ac.read_errors[key] = StoreUnavailable("the disk is gone")
    with refused(Code.UNAVAILABLE):
        await get(stub)


async def test_reading_touches(stub: Stub, ac: RecordingStore) -> None:
    """AC-19: an entry that is used lives longer; the store is read in a way that touches."""
    await update(stub, result())
    await get(stub)
    assert [ac_key()] == ac.touched


async def test_result_larger_than_a_message_is_refused(stub: Stub, ac: RecordingStore) -> None:
    """GEN-05: a result that no client could receive is not kept."""
    files = [reapi.OutputFile(path=f"{n:090d}", digest=OUT) for n in range(30_000)]
    with refused(Code.INVALID_ARGUMENT, "more than a message may have"):
        await update(stub, result(*files))
    assert {} == ac.values
