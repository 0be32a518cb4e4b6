"""ContentAddressableStorage: which blobs are missing, and small blobs in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from remex_core.errors import Code, InvalidArgument, RemexError
from remex_core.proto import reapi, rpc_status
from remex_core.services.blobs import check_blob_size, check_content, read_blobs
from remex_core.services.frames import MAX_RESPONSE_BYTES, header
from remex_core.services.tree import get_tree
from remex_core.store import ops
from remex_core.wire import methods
from remex_core.wire.status import to_status

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Iterable, Mapping

    from remex_core.digest import Key, KeyMaker
    from remex_core.services.instances import Instance, Instances
    from remex_core.wire.call import Call, Handler
    from remex_core.wire.methods import Method

_OK: Final = header(3, 0)
_FULL_STATUS: Final = rpc_status.Status(
    code=Code.RESOURCE_EXHAUSTED, message="The response is full."
).SerializeToString()
_FULL: Final = header(3, len(_FULL_STATUS)) + _FULL_STATUS

_FULL_ENTRY_BYTES: Final = 128
"""At least what an entry takes that only says that the response is full."""


class CasService:
    """The methods of ContentAddressableStorage, for every instance."""

    def __init__(self, instances: Instances) -> None:
        self._instances = instances

    def handlers(self) -> Mapping[Method[Any, Any], Handler]:
        """The handlers by method."""
        return {
            methods.FIND_MISSING_BLOBS: self.find_missing_blobs,
            methods.BATCH_UPDATE_BLOBS: self.batch_update_blobs,
            methods.BATCH_READ_BLOBS: self.batch_read_blobs,
            methods.GET_TREE: self.get_tree,
        }

    async def find_missing_blobs(
        self, _call: Call, request: reapi.FindMissingBlobsRequest
    ) -> reapi.FindMissingBlobsResponse | bytes:
        """Which of the digests are not stored, each once; touches the others (CAS-01..08).

        Raises:
            MalformedDigest: if any digest is malformed (CAS-04).
        """
        instance = self._instances.resolve(request.instance_name)
        digests = request.blob_digests
        maker = instance.functions.for_request(request.digest_function, (d.hash for d in digests))
        keys = maker.keys(digests)
        asked = set(keys)
        asked.discard(maker.function.empty_key)
        missing = await instance.cas.find_missing(asked) if asked else ()
        if not missing:
            return b""
        response = reapi.FindMissingBlobsResponse()
        if len(missing) == len(keys):
            response.missing_blob_digests.MergeFrom(digests)
        else:
            places = {key: place for place, key in enumerate(keys)}
            response.missing_blob_digests.extend(
                [digests[place] for key, place in places.items() if key in missing]
            )
        return response

    async def batch_update_blobs(
        self, _call: Call, request: reapi.BatchUpdateBlobsRequest
    ) -> reapi.BatchUpdateBlobsResponse:
        """Stores each blob whose bytes are what its digest says, and answers for each (CAS-11).

        Raises:
            InvalidArgument: if the blobs exceed the batch limit; none is stored (CAS-10).
        """
        instance = self._instances.resolve(request.instance_name)
        entries = [(entry.digest, entry.data, entry.compressor) for entry in request.requests]
        _check_batch(instance, (max(len(data), d.size_bytes) for d, data, _ in entries))
        maker = instance.functions.for_request(
            request.digest_function, (digest.hash for digest, _, _ in entries)
        )
        outcomes: list[Key | RemexError] = []
        accepted: dict[Key, bytes] = {}
        for digest, data, compressor in entries:
            try:
                key = _check_entry(instance, maker, digest, data, compressor)
            except RemexError as error:
                outcomes.append(error)
            else:
                outcomes.append(key)
                if key.size:
                    accepted[key] = data
        failed = await ops.write_many(instance.cas, list(accepted.items())) if accepted else {}
        response = reapi.BatchUpdateBlobsResponse()
        for (digest, _, _), outcome in zip(entries, outcomes, strict=True):
            answer = response.responses.add(digest=digest)
            failure = outcome if isinstance(outcome, RemexError) else failed.get(outcome)
            if failure is None:
                answer.status.SetInParent()
            else:
                answer.status.CopyFrom(to_status(failure))
        return response

    async def batch_read_blobs(self, _call: Call, request: reapi.BatchReadBlobsRequest) -> bytes:
        """Each blob, or why it cannot be read, in the order of the request (CAS-22, CAS-24).

        Raises:
            InvalidArgument: if the blobs exceed the batch limit; none is read (CAS-21).
        """
        instance = self._instances.resolve(request.instance_name)
        digests = request.digests
        _check_batch(instance, (max(0, digest.size_bytes) for digest in digests))
        maker = instance.functions.for_request(request.digest_function, (d.hash for d in digests))
        wanted: list[Key | RemexError] = []
        for digest in digests:
            try:
                wanted.append(maker.key(digest.hash, digest.size_bytes))
            except RemexError as error:
                wanted.append(error)
        values = await read_blobs(
            instance.cas,
            [key for key in wanted if not isinstance(key, RemexError)],
            max_bytes=instance.max_batch_bytes,
        )
        return _batch_read_response(
            [
                (digest.SerializeToString(), key if isinstance(key, RemexError) else values[key])
                for digest, key in zip(digests, wanted, strict=True)
            ]
        )

    def get_tree(self, _call: Call, request: reapi.GetTreeRequest) -> AsyncGenerator[bytes]:
        """The directories below the root, in pages (TREE-01..08); see `tree.get_tree`."""
        return get_tree(self._instances.resolve(request.instance_name), request)


def _check_batch(instance: Instance, sizes: Iterable[int]) -> None:
    total = sum(sizes)
    if total > instance.max_batch_bytes:
        raise InvalidArgument(
            f"The blobs of this batch have {total} bytes together; "
            f"at most {instance.max_batch_bytes} are allowed.",
            hint="Send smaller batches, or use ByteStream for large blobs.",
        )


def _check_entry(
    instance: Instance, maker: KeyMaker, digest: reapi.Digest, data: bytes, compressor: int
) -> Key:
    """The key of a blob to be stored, after every check (CAS-12, CAS-14, CAS-15, CAS-17)."""
    key = maker.key(digest.hash, digest.size_bytes)
    if compressor != reapi.Compressor.IDENTITY:
        raise InvalidArgument(
            f"Compressor number {compressor} is not offered here for batch updates.",
            hint="GetCapabilities lists what is, in supported_batch_update_compressors.",
        )
    check_blob_size(instance, key)
    check_content(key, data)
    return key


def _batch_read_response(entries: Collection[tuple[bytes, bytes | RemexError]]) -> bytes:
    """A BatchReadBlobsResponse of (serialised digest, value or error), below 4 MiB (CAS-29)."""
    pieces: list[bytes] = []
    room = MAX_RESPONSE_BYTES - _FULL_ENTRY_BYTES * len(entries)
    for digest, value in entries:
        entry = _entry(digest, *_outcome(value))
        length = sum(map(len, entry))
        if length > room + _FULL_ENTRY_BYTES:
            entry = _entry(digest, _FULL)
            length = sum(map(len, entry))
        room -= length - _FULL_ENTRY_BYTES
        pieces += entry
    return b"".join(pieces)


def _entry(digest: bytes, *outcome: bytes) -> tuple[bytes, ...]:
    """One `responses` field: the digest, and the fields that say what became of it."""
    head = header(1, len(digest))
    return header(1, len(head) + len(digest) + sum(map(len, outcome))), head, digest, *outcome


def _outcome(value: bytes | RemexError) -> tuple[bytes, ...]:
    """The fields `data` and `status` of one entry; the status is there even when OK (CAS-27)."""
    if isinstance(value, RemexError):
        status = to_status(value).SerializeToString()
        return header(3, len(status)), status
    return header(2, len(value)), value, _OK
