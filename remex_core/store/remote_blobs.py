"""The CAS calls of another server, one digest function a call; see the kind `grpc`."""

from __future__ import annotations

import uuid
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from remex_core.digest import FUNCTIONS, Key
from remex_core.errors import BlobNotFound, Code, DataLoss, DigestMismatch, RpcFailed
from remex_core.proto import bytestream, reapi
from remex_core.resource_names import read_name, upload_name
from remex_core.store.pieces import cut, joined
from remex_core.store.remote_calls import Backoff
from remex_core.wire import methods

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Collection, Mapping, Sequence

    from remex_core.errors import RemexError
    from remex_core.store.remote_calls import Calls


@dataclass(frozen=True, slots=True)
class RemoteBlobs:
    """The blobs of one instance of a server; keys of the CAS alone."""

    calls: Calls
    instance: str

    async def find_missing(self, function: str, keys: Collection[Key]) -> frozenset[Key]:
        """Those of `keys` that the server names as missing, in one call."""
        request = reapi.FindMissingBlobsRequest(
            instance_name=self.instance,
            blob_digests=map(digest_of, keys),
            digest_function=number_of(function),
        )
        try:
            response = await self.calls.call(methods.FIND_MISSING_BLOBS, request)
        except RpcFailed as failed:
            raise self.calls.error(failed) from None
        missing = [Key("", function, d.hash, d.size_bytes) for d in response.missing_blob_digests]
        return frozenset(missing).intersection(keys)

    async def read(self, key: Key, offset: int, end: int) -> AsyncGenerator[bytes]:
        """The bytes `[offset, end)`; goes on where it stopped when the stream breaks.

        Raises:
            BlobNotFound: if the server does not have it.
            DataLoss: before the last piece, if the whole is not what the digest says.
        """
        if offset == end:  # on the wire, a limit of 0 would mean no limit
            if await self.find_missing(key.function, (key,)):
                raise BlobNotFound(key)
            return
        hasher = FUNCTIONS[key.function].new() if (offset, end) == (0, key.size) else None
        backoff = Backoff()
        at = offset
        while True:
            request = bytestream.ReadRequest(
                resource_name=read_name(self.instance, key),
                read_offset=at,
                read_limit=end - at if end < key.size else 0,
            )
            try:
                async with aclosing(self.calls.stream(methods.READ, request)) as responses:
                    async for response in responses:
                        data = response.data
                        for piece in cut((data,), 0, len(data)):
                            at += len(piece)
                            if at > end:
                                raise self._damaged(key)
                            if hasher is not None:
                                hasher.update(piece)
                                if at == end and hasher.hexdigest() != key.hash:
                                    raise self._damaged(key)
                            backoff.progress()
                            yield piece
                if at == end:
                    return
                failed = self.calls.ended_early(f"the read of {key}")
            except RpcFailed as error:
                failed = error
            if failed.status_code is Code.NOT_FOUND:
                raise BlobNotFound(key)
            try:
                await backoff.wait_after(failed)
            except RpcFailed:
                raise self.calls.error(failed) from None

    async def write(self, key: Key, chunks: AsyncIterable[bytes]) -> None:
        """Streams one blob, which is complete only when `chunks` has ended well."""
        name = upload_name(self.instance, str(uuid.uuid4()), key)

        async def requests() -> AsyncGenerator[bytestream.WriteRequest]:
            held = b""
            at = 0
            async with aclosing(joined(chunks)) as pieces:
                async for piece in pieces:
                    if held:
                        yield bytestream.WriteRequest(
                            resource_name="" if at else name, write_offset=at, data=held
                        )
                        at += len(held)
                    held = piece
            if at + len(held) != key.size:
                raise wrong_size(key, at + len(held))
            yield bytestream.WriteRequest(
                resource_name="" if at else name, write_offset=at, data=held, finish_write=True
            )

        try:
            response = await self.calls.send(methods.WRITE, requests())
        except RpcFailed as failed:
            raise self.calls.error(failed) from None
        if response.committed_size not in {key.size, -1}:
            raise self.calls.error(self.calls.ended_early(f"the write of {key}"))

    async def read_batch(
        self, function: str, keys: Collection[Key]
    ) -> Mapping[Key, bytes | RemexError]:
        """Each blob or why it cannot be read, in one call."""
        request = reapi.BatchReadBlobsRequest(
            instance_name=self.instance,
            digests=map(digest_of, keys),
            digest_function=number_of(function),
        )
        try:
            response = await self.calls.call(methods.BATCH_READ_BLOBS, request)
        except RpcFailed as failed:
            return dict.fromkeys(keys, self.calls.error(failed))
        found: dict[Key, bytes | RemexError] = dict.fromkeys(keys, self._unanswered())
        for answer in response.responses:
            key = Key("", function, answer.digest.hash, answer.digest.size_bytes)
            if key in found:
                found[key] = self._value_of(key, answer)
        return found

    async def write_batch(
        self, function: str, items: Sequence[tuple[Key, bytes]]
    ) -> Mapping[Key, RemexError]:
        """Stores every blob in one call; answers the errors."""
        request = reapi.BatchUpdateBlobsRequest(
            instance_name=self.instance, digest_function=number_of(function)
        )
        for key, data in items:
            request.requests.add(digest=digest_of(key), data=data)
        try:
            response = await self.calls.call(methods.BATCH_UPDATE_BLOBS, request)
        except RpcFailed as failed:
            return dict.fromkeys([key for key, _ in items], self.calls.error(failed))
        errors: dict[Key, RemexError] = {key: self._unanswered() for key, _ in items}
        for answer in response.responses:
            key = Key("", function, answer.digest.hash, answer.digest.size_bytes)
            if not answer.status.code:
                errors.pop(key, None)
            elif key in errors:
                errors[key] = self.calls.error_of(answer.status.code, answer.status.message)
        return errors

    def _value_of(
        self, key: Key, answer: reapi.BatchReadBlobsResponse.Response
    ) -> bytes | RemexError:
        code = answer.status.code
        if code == Code.NOT_FOUND:
            return BlobNotFound(key)
        if code:
            return self.calls.error_of(code, answer.status.message)
        data = answer.data
        if answer.compressor or FUNCTIONS[key.function].key_of(data) != key:
            return self._damaged(key)
        return data

    def _damaged(self, key: Key) -> DataLoss:
        return DataLoss(f"What {self.calls.address} gave for {key} is something else.")

    def _unanswered(self) -> RemexError:
        return self.calls.error(self.calls.ended_early("the answer to a batch"))


def digest_of(key: Key) -> reapi.Digest:
    """The digest that a key stands for on the wire."""
    return reapi.Digest(hash=key.hash, size_bytes=key.size)


def number_of(function: str) -> reapi.DigestFunction.Value:
    """The digest function of this name on the wire (DIG-06)."""
    return cast("reapi.DigestFunction.Value", FUNCTIONS[function].number)


def wrong_size(key: Key, size: int) -> DigestMismatch:
    """What a write fails with whose chunks have, or exceed, `size` bytes (DIG-02)."""
    return DigestMismatch(f"{size} bytes came for {key}, which is not what it may have.")
