"""The kind `grpc`: another server that speaks the Remote Execution API."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

from google.protobuf.message import DecodeError
from pydantic import Field

from remex_core.digest import Key, ac_space
from remex_core.errors import (
    BlobNotFound,
    Code,
    InvalidArgument,
    RemexError,
    RpcFailed,
)
from remex_core.plugins.descriptors import Spec, StoreContext, StoreType
from remex_core.plugins.units import Duration, Size
from remex_core.proto import reapi
from remex_core.store import ops
from remex_core.store.contract import BatchIO, Content, Refreshes, Store
from remex_core.store.pieces import PIECE, cut
from remex_core.store.remote_blobs import RemoteBlobs, digest_of, number_of, wrong_size
from remex_core.store.remote_calls import Calls
from remex_core.wire import methods

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        Collection,
        Coroutine,
        Iterable,
        Mapping,
        Sequence,
    )

    from remex_core.wire.transport import Channel

T = TypeVar("T")

MAX_RESULT_BYTES: Final = 64 * 1024 * 1024
FIND_KEYS: Final = 10_000
BATCH_KEYS: Final = 1000
CALLS_AT_ONCE: Final = 8


class GrpcSpec(Spec):
    """Options of the kind `grpc`.

    `address` is `host:port`, `grpc://host:port` or `unix:/path`. `instance` is the name that
    every request carries; where it is not given, results are looked up in the instance that the
    client named, and blobs in the one without a name. `timeout` is how long the server may be
    silent. `max_batch_bytes` is the server's own limit for one batch call.
    """

    address: str
    instance: str | None = None
    timeout: Duration = 60.0
    max_batch_bytes: Size = Field(default=4_000_000, gt=0)


class GrpcStore(BatchIO, Store):
    """The CAS or the action cache of another server, over a channel.

    Adds: retries of what may pass by itself (five attempts in about 1.5 s), and hashes: what is
    read whole is checked against its digest, and the last piece of a blob that turns out wrong is
    never given. Assumes a server that keeps REAPI's rules, FindMissingBlobs touching what it finds
    among them. Blobs up to 1 MiB travel in batch calls, larger ones by ByteStream; an interrupted
    read goes on where it stopped, an interrupted write of a large blob fails.

    Costs a round trip an operation, and one for each result in `find_missing` on an action cache.
    `discard` is without effect, because REAPI has no call for it: the other server drops what it
    finds damaged. Do not put it in front of clients by itself where a `fast_slow` in front of it
    would keep what they read again and again.
    """

    def __init__(
        self,
        channel: Channel,
        address: str,
        *,
        instance: str | None = None,
        timeout: float = 60.0,
        max_batch_bytes: int = 4_000_000,
    ) -> None:
        self._calls = Calls(channel, address, timeout)
        self._blobs = RemoteBlobs(self._calls, instance or "")
        self._instance = instance
        self._max_batch_bytes = max_batch_bytes
        self._max_single_bytes = min(PIECE, max_batch_bytes)
        self._slots = asyncio.Semaphore(CALLS_AT_ONCE)

    async def find_missing(self, keys: Collection[Key]) -> frozenset[Key]:
        work: list[Coroutine[Any, Any, frozenset[Key]]] = [
            self._blobs.find_missing(function, asked)
            for function, blobs in _by_function(key for key in keys if key.is_cas).items()
            for asked in ops.in_batches(blobs, max_bytes=_ANY_SIZE, max_keys=FIND_KEYS)
        ]
        work += [self._find_missing_result(key) for key in {*keys} if not key.is_cas]
        missing: frozenset[Key] = frozenset()
        for part in await self._all(work):
            missing |= part
        return missing

    def read(self, key: Key, *, offset: int = 0, limit: int | None = None) -> AsyncGenerator[bytes]:
        end = offset + _ANY_SIZE if limit is None else offset + limit
        if key.is_cas:
            return self._blobs.read(key, offset, min(end, key.size))
        return self._read_result(key, offset, end)

    async def write(self, key: Key, chunks: AsyncIterable[bytes]) -> None:
        if key.is_cas and key.size > self._max_single_bytes:
            await self._blobs.write(key, chunks)
            return
        data = await _collect(key, chunks, key.size if key.is_cas else MAX_RESULT_BYTES)
        for error in (await self.write_batch(((key, data),))).values():
            raise error

    async def discard(self, keys: Collection[Key]) -> None:
        return

    # ---- batches

    async def read_batch(
        self, keys: Sequence[Key], max_bytes: int
    ) -> Mapping[Key, bytes | RemexError]:
        small = [key for key in keys if key.is_cas and key.size <= self._max_batch_bytes]
        single = {key for key in keys if not key.is_cas or key.size > self._max_batch_bytes}
        work: list[Coroutine[Any, Any, Mapping[Key, bytes | RemexError]]] = [
            self._blobs.read_batch(function, batch)
            for function, blobs in _by_function(small).items()
            for batch in self._in_batches(blobs)
        ]
        work += [self._read_one(key, max_bytes) for key in single]
        found: dict[Key, bytes | RemexError] = {}
        for part in await self._all(work):
            found.update(part)
        return found

    async def write_batch(self, items: Sequence[tuple[Key, bytes]]) -> Mapping[Key, RemexError]:
        values = dict(items)
        small = [key for key in values if key.is_cas and key.size <= self._max_batch_bytes]
        work: list[Coroutine[Any, Any, Mapping[Key, RemexError]]] = [
            self._blobs.write_batch(function, [(key, values[key]) for key in batch])
            for function, blobs in _by_function(small).items()
            for batch in self._in_batches(blobs)
        ]
        work += [
            self._write_one(key, data)
            for key, data in values.items()
            if not key.is_cas or key.size > self._max_batch_bytes
        ]
        errors: dict[Key, RemexError] = {}
        for part in await self._all(work):
            errors.update(part)
        return errors

    def _in_batches(self, keys: Iterable[Key]) -> Iterable[list[Key]]:
        return ops.in_batches(keys, max_bytes=self._max_batch_bytes, max_keys=BATCH_KEYS)

    async def _all(self, work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Runs everything, a few calls at a time; the first error stops the rest."""
        if len(work) == 1:
            return [await work[0]]

        async def one(part: Coroutine[Any, Any, T]) -> T:
            async with self._slots:
                return await part

        tasks = [asyncio.create_task(one(part)) for part in work]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    # ---- one by one

    async def _read_one(self, key: Key, max_bytes: int) -> Mapping[Key, bytes | RemexError]:
        try:
            return {key: await ops.read_all(self, key, max_bytes=max_bytes)}
        except RemexError as error:
            return {key: error}

    async def _write_one(self, key: Key, data: bytes) -> Mapping[Key, RemexError]:
        try:
            if key.is_cas:
                await self._blobs.write(key, ops.one_chunk(data))
            else:
                await self._write_result(key, data)
        except RemexError as error:
            return {key: error}
        return {}

    # ---- action results

    async def _get_result(self, key: Key) -> bytes:
        request = reapi.GetActionResultRequest(
            instance_name=self._instance_of(key),
            action_digest=digest_of(key),
            digest_function=number_of(key.function),
        )
        try:
            result = await self._calls.call(methods.GET_ACTION_RESULT, request)
        except RpcFailed as failed:
            if failed.status_code is Code.NOT_FOUND:
                raise BlobNotFound(key) from None
            raise self._calls.error(failed) from None
        return result.SerializeToString(deterministic=True)

    async def _find_missing_result(self, key: Key) -> frozenset[Key]:
        try:
            await self._get_result(key)
        except BlobNotFound:
            return frozenset((key,))
        return frozenset()

    async def _read_result(self, key: Key, offset: int, end: int) -> AsyncGenerator[bytes]:
        for piece in cut((await self._get_result(key),), offset, end):
            yield piece

    async def _write_result(self, key: Key, data: bytes) -> None:
        try:
            result = reapi.ActionResult.FromString(data)
        except DecodeError:
            raise InvalidArgument(f"The {len(data)} bytes for {key} are no ActionResult.") from None
        request = reapi.UpdateActionResultRequest(
            instance_name=self._instance_of(key),
            action_digest=digest_of(key),
            action_result=result,
            digest_function=number_of(key.function),
        )
        try:
            await self._calls.call(methods.UPDATE_ACTION_RESULT, request)
        except RpcFailed as failed:
            raise self._calls.error(failed) from None

    def _instance_of(self, key: Key) -> str:
        return key.space.removeprefix(ac_space("")) if self._instance is None else self._instance


_ANY_SIZE: Final = 2**63


def _by_function(keys: Iterable[Key]) -> Mapping[str, Collection[Key]]:
    """The keys, each once, by digest function: a request names one for all (DIG-09)."""
    groups: dict[str, dict[Key, None]] = {}
    for key in keys:
        groups.setdefault(key.function, {})[key] = None
    return groups


async def _collect(key: Key, chunks: AsyncIterable[bytes], max_bytes: int) -> bytes:
    pieces = []
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > max_bytes:
            raise wrong_size(key, size)
        pieces.append(chunk)
    if key.is_cas and size != key.size:
        raise wrong_size(key, size)
    return b"".join(pieces)


async def _build(spec: GrpcSpec, ctx: StoreContext) -> Store:
    return GrpcStore(
        await ctx.connect(spec.address),
        spec.address,
        instance=spec.instance,
        timeout=spec.timeout,
        max_batch_bytes=spec.max_batch_bytes,
    )


GRPC: Final = StoreType(
    name="grpc",
    spec=GrpcSpec,
    build=_build,
    summary="another server that speaks the Remote Execution API",
    accepts=frozenset({Content.CAS, Content.AC}),
    forwards=frozenset({BatchIO}),
    refreshes=Refreshes.APPROXIMATE,
    shared=True,
)
