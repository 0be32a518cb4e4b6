"""Instance names: which are legal, how they are found, and what they keep apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from remex_core.digest import SHA256, DigestFunctions
from remex_core.errors import Code, InvalidArgument, UnknownInstance
from remex_core.proto import bytestream, reapi
from remex_core.resource_names import KEYWORDS, read_name
from remex_core.services.instances import Instance, Instances
from remex_core.wire.methods import (
    FIND_MISSING_BLOBS,
    GET_ACTION_RESULT,
    READ,
    UPDATE_ACTION_RESULT,
    WRITE,
)
from services_support.blobs import blob, digest, refused, sent, write_requests
from services_support.recording_store import RecordingStore
from services_support.serving import any_instance, serving

if TYPE_CHECKING:
    from remex_core.wire.stub import Stub


def named(*names: str) -> Instances:
    return Instances(
        Instance(name, RecordingStore(), RecordingStore(), DigestFunctions()) for name in names
    )


def test_empty_name_is_an_instance() -> None:
    """INS-01: the empty name resolves where it is served."""
    assert "" == named("", "main").resolve("").name


@pytest.mark.parametrize("keyword", sorted(KEYWORDS))
@pytest.mark.parametrize("name", ["{}", "a/{}", "{}/b", "a/{}/b"])
def test_reserved_segment_is_refused(keyword: str, name: str) -> None:
    """INS-02: no segment of an instance name may be one that resource names reserve."""
    with pytest.raises(InvalidArgument, match=f"'{keyword}'"):
        any_instance(RecordingStore(), RecordingStore()).resolve(name.format(keyword))


@pytest.mark.parametrize("name", ["Blobs", "blobs2", "my/upload", "a/b/c", "prod-1/eu"])
def test_other_segments_are_free(name: str) -> None:
    """INS-02: slashes, and segments that only resemble reserved ones, are legal."""
    assert name == any_instance(RecordingStore(), RecordingStore()).resolve(name).name


@pytest.mark.parametrize("name", ["n\0ul", "line\nbreak", "x" * 257])
def test_name_that_no_store_could_hold_is_refused(name: str) -> None:
    """GEN-13: control characters and endless names are the caller's mistake, and named as such."""
    with pytest.raises(InvalidArgument, match="The instance name"):
        any_instance(RecordingStore(), RecordingStore()).resolve(name)


def test_unknown_name_is_refused_with_the_known_ones() -> None:
    """INS-03: an unknown instance is an invalid argument, so that nobody takes it for a miss."""
    with pytest.raises(UnknownInstance, match="'eu', 'us'") as caught:
        named("us", "eu").resolve("asia")
    assert Code.INVALID_ARGUMENT == caught.value.status_code


@pytest.mark.parametrize("name", ["/main", "main/", "//main", "/main//"])
def test_empty_segments_do_not_count(name: str) -> None:
    """INS-05: a leading slash, as one client sends it, names the same instance."""
    instances = named("main")
    assert instances.resolve("main") is instances.resolve(name)


def test_lone_slash_is_the_empty_name() -> None:
    """INS-05: nothing but empty segments is the empty instance name."""
    assert "" == named("").resolve("/").name


@pytest.mark.parametrize("name", ["default", "main", "team/project"])
async def test_any_name_is_served_by_default(stub: Stub, name: str) -> None:
    """INS-06: a client that insists on a name of its own is served under it."""
    request = reapi.FindMissingBlobsRequest(instance_name=name, blob_digests=[digest(b"x")])
    answer = await stub.call(FIND_MISSING_BLOBS, request)
    assert [digest(b"x")] == answer.missing_blob_digests


async def test_resource_names_may_start_with_a_slash(stub: Stub) -> None:
    """INS-05: `/uploads/…` and `/blobs/…` are the empty instance's."""
    data = blob(100)
    requests = list(write_requests(data))
    requests[0].resource_name = "/" + requests[0].resource_name
    await stub.call(WRITE, sent(requests))
    name = "/" + read_name("", SHA256.key_of(data))
    answers = [a.data async for a in stub.stream(READ, bytestream.ReadRequest(resource_name=name))]
    assert data == b"".join(answers)


async def test_action_caches_are_separate_and_content_is_shared(
    stub: Stub, cas: RecordingStore
) -> None:
    """INS-07: a result kept for one instance is none of another's; blobs are everybody's."""
    data = blob(10)
    cas.put(SHA256.key_of(data), data)
    action = digest(b"action")
    result = reapi.ActionResult(exit_code=3)
    await stub.call(
        UPDATE_ACTION_RESULT,
        reapi.UpdateActionResultRequest(
            instance_name="one", action_digest=action, action_result=result
        ),
    )
    for name in ("", "two", "one/two"):
        with refused(Code.NOT_FOUND):
            await stub.call(
                GET_ACTION_RESULT,
                reapi.GetActionResultRequest(instance_name=name, action_digest=action),
            )
        request = reapi.FindMissingBlobsRequest(instance_name=name, blob_digests=[digest(data)])
        assert not (await stub.call(FIND_MISSING_BLOBS, request)).missing_blob_digests
    found = await stub.call(
        GET_ACTION_RESULT, reapi.GetActionResultRequest(instance_name="one", action_digest=action)
    )
    assert 3 == found.exit_code


async def test_illegal_instance_is_refused_by_every_service(
    cas: RecordingStore, ac: RecordingStore
) -> None:
    """INS-02, INS-03: neither resource names nor requests get past an unknown instance."""
    data = blob(10)
    async with serving(Instances([Instance("main", cas, ac, DigestFunctions())])) as stub:
        with refused(Code.INVALID_ARGUMENT, "no instance"):
            await stub.call(
                FIND_MISSING_BLOBS, reapi.FindMissingBlobsRequest(instance_name="other")
            )
        with refused(Code.INVALID_ARGUMENT, "'actions'"):
            await stub.call(
                FIND_MISSING_BLOBS, reapi.FindMissingBlobsRequest(instance_name="main/actions")
            )
        with refused(Code.INVALID_ARGUMENT, "no instance"):
            await stub.call(WRITE, sent(write_requests(data)))
        with refused(Code.INVALID_ARGUMENT, "no instance"):
            request = reapi.GetActionResultRequest(action_digest=digest(b"action"))
            await stub.call(GET_ACTION_RESULT, request)
    assert {} == cas.values
