"""The transport between roles of one process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from remex_core.errors import RpcFailed
from remex_core.proto import bytestream, reflection
from remex_core.testing.echo import MANY_TO_MANY, MANY_TO_ONE, ONE_TO_ONE, Echo
from remex_core.testing.server import serve_inproc
from remex_core.testing.transport import TransportContract
from remex_core.wire.inproc import InprocTransport
from remex_core.wire.stub import Stub
from remex_core.wire.transport import Listener, Target

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from remex_core.testing.transport import Endpoint
    from remex_core.wire.call import Call


class TestContract(TransportContract):
    hands_over_objects = True

    @pytest.fixture
    def endpoint(self) -> Endpoint:
        return InprocTransport(), "inproc:test"


async def test_objects_are_handed_over() -> None:
    """Requests and responses are the very objects of the other side; nothing is serialised."""
    seen: list[object] = []
    answer = bytestream.QueryWriteStatusResponse(committed_size=1)

    async def handler(
        _call: Call, request: bytestream.QueryWriteStatusRequest
    ) -> bytestream.QueryWriteStatusResponse:
        seen.append(request)
        return answer

    async def many(
        _call: Call, requests: AsyncIterator[reflection.ServerReflectionRequest]
    ) -> AsyncGenerator[reflection.ServerReflectionResponse]:
        async for request in requests:
            seen.append(request)
            response = reflection.ServerReflectionResponse(valid_host=request.host)
            seen.append(response)
            yield response

    request = bytestream.QueryWriteStatusRequest(resource_name="x")
    question = reflection.ServerReflectionRequest(host="h")

    async def questions() -> AsyncIterator[reflection.ServerReflectionRequest]:
        yield question

    async with serve_inproc({ONE_TO_ONE: handler, MANY_TO_MANY: many}) as served:
        assert await served.stub.call(ONE_TO_ONE, request) is answer
        responses = [r async for r in served.stub.stream(MANY_TO_MANY, questions())]
    assert seen[0] is request
    assert seen[1] is question
    assert seen[2] is responses[0]


async def test_a_handler_may_answer_in_bytes() -> None:
    """A handler that has its answer serialised is understood here as well."""

    async def handler(_call: Call, _request: object) -> bytes:
        return bytestream.QueryWriteStatusResponse(committed_size=5).SerializeToString()

    async with serve_inproc({ONE_TO_ONE: handler}) as served:
        answer = await served.stub.call(ONE_TO_ONE, bytestream.QueryWriteStatusRequest())
    assert 5 == answer.committed_size


async def test_names_belong_to_one_transport_object() -> None:
    """Two transports know nothing of each other, as two processes would not."""
    here, elsewhere = InprocTransport(), InprocTransport()
    server = await here.serve(Listener("inproc:name"), {})
    channel = await elsewhere.connect(Target("inproc:name"))
    with pytest.raises(RpcFailed, match="Nobody answers"):
        await Stub(channel).call(ONE_TO_ONE, bytestream.QueryWriteStatusRequest())
    await channel.close()
    await server.close()


async def test_the_callers_iterator_is_closed() -> None:
    """An iterator that the handler did not read to its end is closed when the call ends."""
    closed = []

    async def requests() -> AsyncGenerator[bytestream.WriteRequest]:
        try:
            while True:
                yield bytestream.WriteRequest()
        finally:
            closed.append(True)

    async with serve_inproc(Echo(read_requests=False).handlers()) as served:
        await served.stub.call(MANY_TO_ONE, requests())
    assert [True] == closed


async def test_a_handler_that_refuses_to_be_cancelled() -> None:
    """A caller that is cancelled goes on at once, though the handler still cleans up."""
    gate, cleaned = asyncio.Event(), asyncio.Event()

    async def handler(_call: Call, _request: object) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            await gate.wait()
            cleaned.set()
        return b""

    async with serve_inproc({ONE_TO_ONE: handler}) as served:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await served.stub.call(ONE_TO_ONE, bytestream.QueryWriteStatusRequest())
        assert not cleaned.is_set()
        gate.set()
    assert cleaned.is_set()
