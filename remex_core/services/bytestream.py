"""ByteStream: blobs of any size, read from any place in them and written with a way to resume."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from remex_core.errors import (
    BlobNotFound,
    DataLoss,
    InvalidArgument,
    OutOfRange,
)
from remex_core.proto import bytestream
from remex_core.resource_names import ResourceName, parse_read_name, parse_upload_name
from remex_core.services.blobs import check_blob_size, check_content, is_empty_blob
from remex_core.services.frames import header
from remex_core.services.uploads import Uploads
from remex_core.store import ops
from remex_core.wire import methods

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from remex_core.digest import Key
    from remex_core.services.instances import Instance, Instances
    from remex_core.services.uploads import UploadLimits
    from remex_core.wire.call import Call, Handler
    from remex_core.wire.methods import Method

    _Piece: TypeAlias = tuple[bytes, bool]

_NAME_HEADER: Final = "build.bazel.remote.execution.v2.resource-name"
_HALF_CLOSE_SECONDS: Final = 0.2
_DATA_FIELD: Final = 10


class ByteStreamService:
    """Read, Write and QueryWriteStatus, for every instance."""

    def __init__(self, instances: Instances, limits: UploadLimits | None = None) -> None:
        self._instances = instances
        self._uploads = Uploads(limits)

    def handlers(self) -> Mapping[Method[Any, Any], Handler]:
        """The handlers by method."""
        return {
            methods.READ: self.read,
            methods.WRITE: self.write,
            methods.QUERY_WRITE_STATUS: self.query_write_status,
        }

    async def close(self) -> None:
        """Ends the uploads that wait for their clients."""
        await self._uploads.close()

    async def read(self, call: Call, request: bytestream.ReadRequest) -> AsyncGenerator[bytes]:
        """The bytes [read_offset, read_offset + read_limit) of a blob (BSR-01..14).

        Raises:
            BlobNotFound: before the first message, if the blob is not stored (BSR-02).
            OutOfRange: if the offset is outside the blob (BSR-03).
            DataLoss: if the stored bytes turn out to be wrong (GEN-14).
        """
        name = request.resource_name
        _check_name_header(call, name)
        instance, key = self._locate(parse_read_name(name))
        offset, limit = request.read_offset, request.read_limit
        if not 0 <= offset <= key.size:
            raise OutOfRange(
                f"The offset {offset} is outside the {key.size} bytes of the blob {key.hash}."
            )
        if limit < 0:
            raise InvalidArgument(f"The read limit {limit} is negative; 0 means no limit.")
        if is_empty_blob(key):
            return
        if offset == key.size:
            if not await ops.is_present(instance.cas, key):
                raise BlobNotFound(key)
            return
        due = min(limit, key.size - offset) if limit else key.size - offset
        sent = 0
        try:
            async with aclosing(instance.cas.read(key, offset=offset, limit=due)) as chunks:
                async for chunk in chunks:
                    sent += len(chunk)
                    yield b"".join((header(_DATA_FIELD, len(chunk)), chunk))
            if sent != due:
                raise DataLoss(f"{key} ended {due - sent} bytes early where it is stored.")
        except DataLoss as error:
            await instance.cas.discard((key,))
            if sent:
                raise
            raise BlobNotFound(key) from error

    async def write(
        self, call: Call, requests: AsyncIterator[bytestream.WriteRequest]
    ) -> bytestream.WriteResponse:
        """Stores a blob, or finds that it is stored already (BSW-01..23).

        Raises:
            InvalidArgument: if the stream breaks a rule; what was received before can be resumed.
            DigestMismatch: if the bytes are not what the digest says; nothing is kept (BSW-07).
        """
        first = await anext(requests, None)
        if first is None or not first.resource_name:
            raise InvalidArgument("The first message of a write names no resource.")
        name, offset = first.resource_name, first.write_offset
        _check_name_header(call, name)
        instance, key = self._locate(parse_upload_name(name))
        check_blob_size(instance, key)
        if offset < 0:
            raise InvalidArgument(f"The write offset {offset} is negative.")
        stored = bytestream.WriteResponse(committed_size=key.size)
        if not key.size:
            check_content(key, first.data)
            return stored
        if first.finish_write and offset == 0:
            # The whole blob in one message, the most common write of all: nothing to gather.
            data = first.data
            check_content(key, data)
            await _expect_end(requests)
            await ops.write_bytes(instance.cas, key, data)
            return stored
        if await ops.is_present(instance.cas, key):
            return stored
        with self._uploads.open(name, instance.cas, key, offset) as stream:
            piece: _Piece | None = (first.data, first.finish_write)
            del first  # it has a copy of the data, which would be kept as long as the stream
            while piece is not None:
                data, is_last = piece
                if await stream.append(data):
                    return stored
                if is_last:
                    await _expect_end(requests)
                    await stream.finish()
                    return stored
                offset += len(data)
                piece = await _next_piece(requests, name, offset)
            raise InvalidArgument(
                f"The stream ended after {offset} of {key.size} bytes without finish_write.",
                hint="The bytes sent so far are kept for a while; QueryWriteStatus counts them.",
            )

    async def query_write_status(
        self, _call: Call, request: bytestream.QueryWriteStatusRequest
    ) -> bytestream.QueryWriteStatusResponse:
        """How far an upload got; one that nobody knows is at 0 (BSQ-01..04)."""
        name = request.resource_name
        instance, key = self._locate(parse_upload_name(name))
        if is_empty_blob(key) or await ops.is_present(instance.cas, key):
            return bytestream.QueryWriteStatusResponse(committed_size=key.size, complete=True)
        return bytestream.QueryWriteStatusResponse(committed_size=self._uploads.committed(name))

    def _locate(self, name: ResourceName) -> tuple[Instance, Key]:
        """The instance and key that a resource name stands for.

        Raises:
            InvalidArgument: if the instance, function or compressor is not offered here.
        """
        instance = self._instances.resolve(name.instance)
        if name.compressor:
            raise InvalidArgument(
                f"The compressor {name.compressor!r} is not offered here.",
                hint="GetCapabilities lists what is, in supported_compressors.",
            )
        functions = instance.functions
        maker = (
            functions.for_name(name.function) if name.function else functions.for_length(name.hash)
        )
        return instance, maker.key(name.hash, name.size)


def _check_name_header(call: Call, name: str) -> None:
    """Raises InvalidArgument if the header that repeats the resource name differs (GEN-10)."""
    header_value = call.header(_NAME_HEADER)
    if header_value is not None and header_value != name:
        raise InvalidArgument(
            f"The header {_NAME_HEADER} says {header_value!r}, "
            f"but the first message names the resource {name!r}."
        )


async def _next_piece(
    requests: AsyncIterator[bytestream.WriteRequest], name: str, offset: int
) -> _Piece | None:
    """The data of the next message and whether it is the last, or None if there is none.

    Raises:
        InvalidArgument: if the message does not go on at `offset` (BSW-02, BSW-03).
    """
    message = await anext(requests, None)
    if message is None:
        return None
    if message.resource_name and message.resource_name != name:
        raise InvalidArgument(
            f"A message of the write of {name!r} names another resource, "
            f"{message.resource_name[:300]!r}."
        )
    if message.write_offset != offset:
        raise InvalidArgument(
            f"A message has the write offset {message.write_offset}; {offset} comes next."
        )
    return message.data, message.finish_write


async def _expect_end(requests: AsyncIterator[bytestream.WriteRequest]) -> None:
    """Raises InvalidArgument if anything follows finish_write (BSW-06).

    A client that leaves its side of the stream open is not waited for.
    """
    try:
        async with asyncio.timeout(_HALF_CLOSE_SECONDS):
            message = await anext(requests, None)
    except TimeoutError:
        return
    if message is not None:
        raise InvalidArgument("A message follows the one with finish_write.")
