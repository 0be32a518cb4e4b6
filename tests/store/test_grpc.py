"""The kind `grpc`, against real handlers behind real transports."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from remex_core.digest import BLAKE3, SHA256, DigestFunctions, Key
from remex_core.errors import (
    BlobNotFound,
    Code,
    DataLoss,
    DigestMismatch,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    RemexError,
    RpcFailed,
    StoreFull,
    StoreUnavailable,
)
from remex_core.proto import bytestream, reapi
from remex_core.services.bytestream import ByteStreamService
from remex_core.services.cas import CasService
from remex_core.services.instances import Instance, Instances
from remex_core.store import ops, remote_calls
from remex_core.store.contract import BatchIO, Content, Store
from remex_core.store.grpc import GrpcStore
from remex_core.store.memory import MemoryStore, Protect
from remex_core.testing.server import serve_handlers, serve_inproc
from remex_core.testing.store_faults import FlakyStore
from remex_core.testing.stores import Sample, StoreContract, in_chunks, read
from remex_core.wire import methods
from remex_core.wire.grpc_aio import GrpcAioTransport
from remex_core.wire.transport import Target

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping

    from remex_core.testing.server import Served
    from remex_core.wire.call import Call, Handler
    from remex_core.wire.methods import Method

MIB = 1024 * 1024


def memory() -> MemoryStore:
    return MemoryStore(64 * MIB, Protect(hard=0, soft=0))


def sample(size: int = 100) -> Sample:
    return StoreContract().sample(size)


@asynccontextmanager
async def cas_handlers(cas: Store) -> AsyncIterator[tuple[Mapping[Method[Any, Any], Handler], ...]]:
    """The real CAS and ByteStream services over `cas`."""
    instances = Instances(template=Instance("", cas, cas, DigestFunctions()))
    streams = ByteStreamService(instances)
    try:
        yield CasService(instances).handlers(), streams.handlers()
    finally:
        await streams.close()


class Results:
    """An action cache that keeps every result as it came."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int, str, int], reapi.ActionResult] = {}

    def handlers(self) -> Mapping[Method[Any, Any], Handler]:
        return {methods.GET_ACTION_RESULT: self.get, methods.UPDATE_ACTION_RESULT: self.update}

    async def get(self, _: Call, request: reapi.GetActionResultRequest) -> reapi.ActionResult:
        result = self.kept.get(self._name(request))
        if result is None:
            raise NotFound("There is none.")
        return result

    async def update(self, _: Call, request: reapi.UpdateActionResultRequest) -> reapi.ActionResult:
        self.kept[self._name(request)] = request.action_result
        return request.action_result

    def _name(
        self, request: reapi.GetActionResultRequest | reapi.UpdateActionResultRequest
    ) -> tuple[str, int, str, int]:
        digest = request.action_digest
        return (request.instance_name, request.digest_function, digest.hash, digest.size_bytes)


def store_of(served: Served, **options: Any) -> GrpcStore:
    return GrpcStore(served.channel, served.address, **options)


# ---- the contract


class TestContract(StoreContract):
    capabilities = frozenset({BatchIO})
    discards = False

    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        async with cas_handlers(memory()) as handlers, serve_handlers(*handlers) as served:
            yield store_of(served)


class TestContractInProcess(TestContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        async with cas_handlers(memory()) as handlers, serve_inproc(*handlers) as served:
            yield store_of(served, instance="main")


class TestActionCache(StoreContract):
    content = Content.AC
    capabilities = frozenset({BatchIO})
    discards = False

    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        async with serve_handlers(Results().handlers()) as served:
            yield store_of(served)


# ---- a server that can be told to fail


class Server:
    """The real services over a memory store, noting every call; calls fail as they are told to.

    `faults` holds, by method, what the next calls of it fail with, first come first served.
    """

    def __init__(self) -> None:
        self.cas = FlakyStore(memory())
        self.results = Results()
        self.calls: list[tuple[str, Any]] = []
        self.faults: dict[Method[Any, Any], list[RemexError]] = {}
        self.store: GrpcStore

    def noting(
        self, handlers: Iterable[Mapping[Method[Any, Any], Handler]]
    ) -> Mapping[Method[Any, Any], Handler]:
        return {
            method: self._noting(method, handler)
            for group in handlers
            for method, handler in group.items()
        }

    def _noting(self, method: Method[Any, Any], handler: Handler) -> Handler:
        async def unary(call: Call, request: Any) -> Any:
            self._enter(method, request)
            return await handler(call, request)  # type: ignore[misc] # by its method

        async def stream(call: Call, request: Any) -> AsyncGenerator[Any]:
            self._enter(method, request)
            answers: Any = handler(call, request)
            async with aclosing(answers):
                async for answer in answers:
                    yield answer

        return stream if method.server_streams else unary

    def _enter(self, method: Method[Any, Any], request: Any) -> None:
        self.calls.append((method.name, request))
        if self.faults.get(method):
            raise self.faults[method].pop(0)

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without waiting."""
    monkeypatch.setattr(remote_calls, "FIRST_DELAY", 0.0001)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with cas_handlers(server.cas) as handlers:
        noting = server.noting([*handlers, server.results.handlers()])
        async with serve_handlers(noting) as served:
            server.store = store_of(served)
            yield server


def times(count: int, error: RemexError) -> list[RemexError]:
    return [error] * count


class TestCalls:
    async def test_small_blobs_travel_in_one_call(self, server: Server) -> None:
        """CAS-11, CAS-22: a batch of blobs up to 1 MiB is one call in each direction."""
        samples = [sample(size) for size in range(1, 400)]
        assert {} == await ops.write_many(server.store, samples)
        found = await ops.read_many(server.store, [key for key, _ in samples], max_bytes=MIB)
        assert dict(samples) == found
        assert ["BatchUpdateBlobs", "BatchReadBlobs"] == server.names()

    async def test_batches_stay_below_the_limit(self, server: Server) -> None:
        """CAS-10, CAS-21: no batch is larger than the server takes, in bytes or in number."""
        samples = [sample(900_000) for _ in range(9)] + [sample(5_000_000)]
        assert {} == await ops.write_many(server.store, samples)
        found = await ops.read_many(server.store, [key for key, _ in samples], max_bytes=64 * MIB)
        assert dict(samples) == found
        assert {
            "BatchUpdateBlobs": 3,
            "Write": 1,
            "BatchReadBlobs": 3,
            "Read": 1,
        } == {name: server.names().count(name) for name in server.names()}

    async def test_many_small_blobs_fit_into_the_answers(self, server: Server) -> None:
        """CAS-29: batches of many blobs leave room for what the answer adds to each."""
        samples = [sample(3990) for _ in range(1500)]
        assert {} == await ops.write_many(server.store, samples)
        found = await ops.read_many(server.store, [key for key, _ in samples], max_bytes=64 * MIB)
        assert dict(samples) == found

    async def test_find_missing_asks_in_bounded_calls(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """CAS-07, DIG-09: at most 10,000 digests of one function in a call."""
        monkeypatch.setattr("remex_core.store.grpc.FIND_KEYS", 10)
        present = sample()
        await ops.write_bytes(server.store, *present)
        absent = {SHA256.key_of(b"%d" % n) for n in range(24)} | {BLAKE3.key_of(b"x")}
        assert absent == await server.store.find_missing([present.key, *absent])
        calls = [request for name, request in server.calls if name == "FindMissingBlobs"]
        assert [(1, 5), (1, 10), (1, 10), (9, 1)] == sorted(
            (call.digest_function, len(call.blob_digests)) for call in calls
        )

    async def test_large_blob_is_streamed(self, server: Server) -> None:
        """BSW-03, GEN-05: large blobs travel in messages of 1 MiB, whatever their chunks were."""
        key, value = sample(2 * MIB + 5)
        await server.store.write(key, in_chunks(value, 10_000))
        assert value == await read(server.cas.inner, key)
        assert ["Write"] == server.names()

    async def test_range_asks_for_no_more_than_itself(self, server: Server) -> None:
        """BSR-04: the server is asked for the range alone; an empty one asks only for presence."""
        key, value = sample(2 * MIB)
        await ops.write_bytes(server.cas.inner, key, value)
        assert value[7:17] == await read(server.store, key, offset=7, limit=10)
        assert value[9:] == await read(server.store, key, offset=9)
        assert b"" == await read(server.store, key, offset=5, limit=0)
        (_, first), (_, second), (name, _) = server.calls
        assert (7, 10) == (first.read_offset, first.read_limit)
        assert (9, 0) == (second.read_offset, second.read_limit)
        assert name == "FindMissingBlobs"

    async def test_present_blob_is_not_sent_whole(self, server: Server) -> None:
        """BSW-10: when the server has the blob, the write ends well before its source does."""
        key, value = sample(40 * MIB)
        await ops.write_bytes(server.cas.inner, key, value)
        server.calls.clear()
        consumed = 0

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal consumed
            async for chunk in in_chunks(value):
                consumed += 1
                yield chunk
                await asyncio.sleep(0)

        await server.store.write(key, chunks())
        assert consumed < 40


class TestInstances:
    async def test_results_go_to_the_instance_of_their_key(self, server: Server) -> None:
        """INS-07: without an instance of its own, the store passes on the client's."""
        for instance in ("", "main", "a/b"):
            key = Key(f"ac:{instance}", "sha256", "a" * 64, 1)
            await ops.write_bytes(server.store, key, b"")
        assert {"", "main", "a/b"} == {name for name, *_ in server.results.kept}

    async def test_configured_instance_is_used_for_everything(self, server: Server) -> None:
        """A server that knows one instance is always asked for that one."""
        channel = server.store._calls.channel
        store = GrpcStore(channel, "test", instance="prod/linux")
        key, value = sample(2 * MIB)
        await ops.write_bytes(store, key, value)
        await read(store, key)
        small = sample()
        await ops.write_many(store, [small])
        await ops.read_many(store, [small.key], max_bytes=MIB)
        await store.find_missing([key])
        result = Key("ac:main", "sha256", "a" * 64, 1)
        await ops.write_bytes(store, result, b"")
        await read(store, result)
        names = {
            getattr(request, "instance_name", None)
            or getattr(request, "resource_name", "prod/linux").partition("/blobs")[0]
            for _, request in server.calls
        }
        assert {"prod/linux"} == names


class TestErrors:
    @pytest.mark.parametrize(
        ("answered", "expected"),
        [
            (StoreFull("No room."), StoreFull),
            (InvalidArgument("Unknown instance."), InvalidArgument),
            (FailedPrecondition("Upload the action first."), FailedPrecondition),
            (PermissionDenied("Read only."), PermissionDenied),
            (RpcFailed(Code.UNAUTHENTICATED, "Who are you?"), PermissionDenied),
            (RpcFailed(Code.UNIMPLEMENTED, "What?"), StoreUnavailable),
            (StoreUnavailable("Later."), StoreUnavailable),
            (NotFound("No such instance."), StoreUnavailable),
        ],
    )
    async def test_codes_become_errors_of_stores(
        self, server: Server, answered: RemexError, expected: type[RemexError]
    ) -> None:
        """GEN-14, CAS-13: each way to refuse keeps its meaning and names the server."""
        for method in (
            methods.FIND_MISSING_BLOBS,
            methods.BATCH_UPDATE_BLOBS,
            methods.WRITE,
            methods.UPDATE_ACTION_RESULT,
        ):
            server.faults[method] = times(5, answered)
        small, large = sample(), sample(3 * MIB)
        for doing in (
            server.store.find_missing([small.key]),
            ops.write_bytes(server.store, *small),
            ops.write_bytes(server.store, *large),
            ops.write_bytes(server.store, Key("ac:", "sha256", "a" * 64, 1), b""),
        ):
            with pytest.raises(expected) as raised:
                await doing
            assert answered.message in raised.value.message
            assert server.store._calls.address in raised.value.message

    async def test_refused_batch_is_refused_key_by_key(self, server: Server) -> None:
        """CAS-11: when a whole call fails, each of its keys has that error."""
        server.faults[methods.BATCH_UPDATE_BLOBS] = times(5, StoreUnavailable("Later."))
        server.faults[methods.BATCH_READ_BLOBS] = times(5, StoreUnavailable("Later."))
        samples = [sample(), sample()]
        errors = await ops.write_many(server.store, samples)
        assert [StoreUnavailable] * 2 == [type(error) for error in errors.values()]
        found = await ops.read_many(server.store, [key for key, _ in samples], max_bytes=MIB)
        assert [StoreUnavailable] * 2 == [type(error) for error in found.values()]

    async def test_one_refused_blob_does_not_disturb_the_others(self, server: Server) -> None:
        """CAS-12, CAS-13: the answer for each blob is its own."""
        server.cas.inner = MemoryStore(5000)
        small, large, wrong = sample(100), sample(6000), Sample(sample(4).key, b"abcd")
        errors = await ops.write_many(server.store, [small, large, wrong])
        assert {large.key: StoreFull, wrong.key: InvalidArgument} == {
            key: type(error) for key, error in errors.items()
        }

    async def test_unreachable_server(self) -> None:
        """GEN-14: a server that does not answer is an unavailable store, with its address."""
        async with serve_handlers(Results().handlers()) as served:
            pass
        async with serve_handlers() as other:
            store = GrpcStore(other.channel, served.address)
            with pytest.raises(StoreUnavailable, match=served.address):
                await store.find_missing([sample().key])

    async def test_silent_server(self) -> None:
        """GEN-14: a server that says nothing for too long is an unavailable store."""

        async def hang(call: Call, request: Any) -> Any:
            await asyncio.Event().wait()

        async def hang_streaming(call: Call, request: Any) -> AsyncGenerator[Any]:
            await asyncio.Event().wait()
            yield bytestream.ReadResponse()

        handlers: dict[Method[Any, Any], Handler] = {
            methods.FIND_MISSING_BLOBS: hang,
            methods.WRITE: hang,
            methods.READ: hang_streaming,
        }
        async with serve_handlers(handlers) as served:
            store = store_of(served, timeout=0.05)
            key, value = sample(2 * MIB)
            for doing in (
                store.find_missing([key]),
                ops.write_bytes(store, key, value),
                read(store, key),
            ):
                with pytest.raises(StoreUnavailable):
                    await doing

    async def test_wrong_size_is_refused_here(self, server: Server) -> None:
        """DIG-02: bytes of another number than the key says are not sent to be stored."""
        for size in (100, 3 * MIB):
            key, value = sample(size)
            for wrong in (value[:-1], value + b"x"):
                with pytest.raises(DigestMismatch):
                    await ops.write_bytes(server.store, key, wrong)
            assert not await ops.is_present(server.cas.inner, key)

    async def test_value_that_is_no_result_is_refused_here(self, server: Server) -> None:
        """AC-10: bytes that are no ActionResult are not sent."""
        with pytest.raises(InvalidArgument):
            await ops.write_bytes(server.store, Key("ac:", "sha256", "a" * 64, 1), b"\xff")


class TestRetries:
    @pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.ABORTED, Code.INTERNAL, Code.UNKNOWN])
    async def test_what_may_pass_is_tried_again(self, server: Server, code: Code) -> None:
        """GEN-13: a failure that may pass by itself is not seen when it does."""
        for method in (
            methods.FIND_MISSING_BLOBS,
            methods.BATCH_UPDATE_BLOBS,
            methods.BATCH_READ_BLOBS,
            methods.READ,
            methods.UPDATE_ACTION_RESULT,
            methods.GET_ACTION_RESULT,
        ):
            server.faults[method] = times(4, RpcFailed(code, "Not now."))
        key, value = sample()
        await ops.write_bytes(server.store, key, value)
        assert frozenset() == await server.store.find_missing([key])
        assert {key: value} == await ops.read_many(server.store, [key], max_bytes=MIB)
        assert value == await read(server.store, key)
        result = Key("ac:", "sha256", "a" * 64, 1)
        await ops.write_bytes(server.store, result, b"")
        assert b"" == await read(server.store, result)

    async def test_attempts_are_bounded(self, server: Server) -> None:
        """A failure that does not pass ends the call after five attempts."""
        server.faults[methods.FIND_MISSING_BLOBS] = times(9, StoreUnavailable("Not now."))
        with pytest.raises(StoreUnavailable):
            await server.store.find_missing([sample().key])
        assert ["FindMissingBlobs"] * 5 == server.names()

    async def test_what_cannot_pass_is_not_tried_again(self, server: Server) -> None:
        """GEN-13: a permanent refusal is taken at its word."""
        server.faults[methods.FIND_MISSING_BLOBS] = [InvalidArgument("Never.")]
        with pytest.raises(InvalidArgument):
            await server.store.find_missing([sample().key])
        assert ["FindMissingBlobs"] == server.names()

    async def test_interrupted_read_goes_on_where_it_stopped(self) -> None:
        """BSR-05: a stream that breaks, or ends early, is resumed at the next byte."""
        key, value = sample(3 * MIB)
        offsets = []

        async def broken(call: Call, request: bytestream.ReadRequest) -> AsyncGenerator[Any]:
            offsets.append(request.read_offset)
            start = request.read_offset
            yield bytestream.ReadResponse(data=value[start : start + 1_000_000])
            if len(offsets) % 2:
                raise StoreUnavailable("The server restarts.")

        async with serve_handlers({methods.READ: broken}) as served:
            assert value == await read(store_of(served), key)
        assert [0, 1_000_000, 2_000_000, 3_000_000] == offsets


class TestHashes:
    def serving(self, answers: list[bytes]) -> dict[Method[Any, Any], Handler]:
        async def stream(call: Call, request: Any) -> AsyncGenerator[Any]:
            for answer in answers:
                yield bytestream.ReadResponse(data=answer)

        async def batch(call: Call, request: reapi.BatchReadBlobsRequest) -> Any:
            response = reapi.BatchReadBlobsResponse()
            for digest in request.digests:
                response.responses.add(digest=digest, data=b"".join(answers))
            return response

        return {methods.READ: stream, methods.BATCH_READ_BLOBS: batch}

    async def test_wrong_bytes_are_never_given_whole(self) -> None:
        """A blob that is not what its digest says ends in DataLoss before its last piece."""
        key, value = sample(2 * MIB)
        wrong = value[:-1] + bytes([value[-1] ^ 1])
        async with serve_handlers(self.serving([wrong[:MIB], wrong[MIB:]])) as served:
            pieces = store_of(served).read(key)
            assert wrong[:MIB] == await anext(pieces)
            with pytest.raises(DataLoss, match="something else"):
                await anext(pieces)

    async def test_wrong_bytes_in_a_batch(self) -> None:
        """A blob of a batch that is not what its digest says is DataLoss, by itself."""
        right = sample()
        wrong = sample().key
        async with serve_handlers(self.serving([right.value])) as served:
            found = await ops.read_many(store_of(served), [right.key, wrong], max_bytes=MIB)
        assert right.value == found[right.key]
        assert isinstance(found[wrong], DataLoss)

    async def test_too_many_bytes(self) -> None:
        """More bytes than were asked for are never given."""
        key, value = sample(100)
        async with serve_handlers(self.serving([value, b"x"])) as served:
            with pytest.raises(DataLoss):
                await read(store_of(served), key)
            with pytest.raises(DataLoss):
                await read(store_of(served), key, limit=50)

    async def test_large_messages_are_cut(self) -> None:
        """GEN-05: a server that sends messages above 1 MiB does not make pieces of that size."""
        key, value = sample(3 * MIB)
        async with (
            serve_handlers(self.serving([value])) as served,
            aclosing(store_of(served).read(key)) as pieces,
        ):
            sizes = [len(piece) async for piece in pieces]
        assert [MIB] * 3 == sizes

    async def test_silent_batch(self) -> None:
        """CAS-24: a blob that the answer leaves out is neither there nor missing."""

        async def read_nothing(call: Call, request: Any) -> Any:
            return reapi.BatchReadBlobsResponse()

        async def write_nothing(call: Call, request: Any) -> Any:
            return reapi.BatchUpdateBlobsResponse()

        handlers: dict[Method[Any, Any], Handler] = {
            methods.BATCH_READ_BLOBS: read_nothing,
            methods.BATCH_UPDATE_BLOBS: write_nothing,
        }
        key, value = sample()
        async with serve_handlers(handlers) as served:
            store = store_of(served)
            found = await ops.read_many(store, [key], max_bytes=MIB)
            assert isinstance(found[key], StoreUnavailable)
            errors = await ops.write_many(store, [(key, value)])
            assert isinstance(errors[key], StoreUnavailable)

    async def test_foreign_digests_are_ignored(self) -> None:
        """CAS-01: a server that names blobs nobody asked about is not believed."""

        async def foreign(call: Call, request: reapi.FindMissingBlobsRequest) -> Any:
            other = reapi.Digest(hash="0" * 64, size_bytes=1)
            return reapi.FindMissingBlobsResponse(missing_blob_digests=[other])

        async with serve_handlers({methods.FIND_MISSING_BLOBS: foreign}) as served:
            assert frozenset() == await store_of(served).find_missing([sample().key])

    @pytest.mark.parametrize("committed", [-1, None])
    async def test_committed_size_of_a_write(self, committed: int | None) -> None:
        """BSW-10, BSW-23: the size of the blob, or -1 where the server has it, is a success."""

        async def commit(call: Call, requests: Any) -> Any:
            size = 0
            async for request in requests:
                size += len(request.data)
            return bytestream.WriteResponse(committed_size=size if committed is None else committed)

        key, value = sample(2 * MIB)
        async with serve_handlers({methods.WRITE: commit}) as served:
            await ops.write_bytes(store_of(served), key, value)

    async def test_partly_committed_write_has_failed(self) -> None:
        """BSW-04: a write of which only a part was taken is no success."""

        async def commit(call: Call, requests: Any) -> Any:
            return bytestream.WriteResponse(committed_size=17)

        key, value = sample(2 * MIB)
        async with serve_handlers({methods.WRITE: commit}) as served:
            with pytest.raises(StoreUnavailable):
                await ops.write_bytes(store_of(served), key, value)

    async def test_blob_that_vanishes_is_not_found(self, server: Server) -> None:
        """BSR-02: what the server no longer has is not here either."""
        key, _ = sample(3 * MIB)
        with pytest.raises(BlobNotFound):
            await read(server.store, key)
        with pytest.raises(BlobNotFound):
            await read(server.store, key, offset=MIB)
        with pytest.raises(BlobNotFound):
            await read(server.store, key, offset=3 * MIB)


async def test_a_server_that_goes_and_comes_back_is_two_lines(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many calls fail, the log says once that a store is away, and once that it is back."""
    monkeypatch.setattr(remote_calls, "FIRST_DELAY", 0.0)
    caplog.set_level(logging.INFO, remote_calls.log.name)
    item = sample()
    async with cas_handlers(memory()) as handlers:
        async with serve_handlers(*handlers) as served:
            address = served.address
            channel = await GrpcAioTransport().connect(Target(address))
            store = GrpcStore(channel, address)
            await store.find_missing([item.key])
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await store.find_missing([item.key])
        async with serve_handlers(*handlers, address=address), asyncio.timeout(30):
            while True:
                with suppress(StoreUnavailable):
                    await store.find_missing([item.key])
                    break
        await channel.close()
    lost, found = (record.getMessage() for record in caplog.records)
    assert lost.startswith(f"The store at {address} cannot be reached: ")
    assert f"The store at {address} answers again." == found
