"""Errors to statuses and back: the only place that knows how the error tree travels.

The message of an error is the status message. Its slug and hint travel in the trailing metadata
`remex-error-bin`, as a google.rpc.ErrorInfo, so that `grpc-status-details-bin` holds what REAPI
clients read and nothing beside it (EXE-15).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError, Message

from remex_core import errors
from remex_core.errors import Code, MissingBlobs, RemexError, RpcFailed
from remex_core.proto import error_details, rpc_status
from remex_core.resource_names import blob_name
from remex_core.wire.transport import StatusError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from remex_core.wire.call import MetadataValue

DETAILS_HEADER: Final = "grpc-status-details-bin"
ERROR_HEADER: Final = "remex-error-bin"
DOMAIN: Final = "remex"
MISSING: Final = "MISSING"

# Clients refuse more than 8 KiB of headers by default, and base64 adds a third.
_MAX_DETAILS_BYTES: Final = 4096
_MAX_MESSAGE_CHARACTERS: Final = 1024


def to_status(error: RemexError) -> rpc_status.Status:
    """The google.rpc.Status of an error, as results and batch responses carry it.

    Details are one PreconditionFailure for missing blobs (EXE-13, EXE-15), one RetryInfo for
    what passes by itself (GEN-02), what the other side said for a forwarded failure, else none.
    """
    status = rpc_status.Status(code=error.status_code, message=error.message)
    if isinstance(error, MissingBlobs):
        failure = error_details.PreconditionFailure()
        for key in error.keys:
            failure.violations.add(type=MISSING, subject=blob_name(key))
        status.details.add().Pack(failure)
    elif isinstance(error, errors.Unavailable | errors.ResourceExhausted):
        info = error_details.RetryInfo()
        info.retry_delay.FromMilliseconds(max(1, round(error.retry_after * 1000)))
        status.details.add().Pack(info)
    elif isinstance(error, RpcFailed):
        status.details.extend(from_status(error.status).details)
    return status


def to_status_error(error: RemexError) -> StatusError:
    """How a route ends with this error: code, message and trailing metadata."""
    status = to_status(error)
    trailing: list[tuple[str, MetadataValue]] = []
    if status.details:
        _shorten(status)
        trailing.append((DETAILS_HEADER, status.SerializeToString()))
    info = error_details.ErrorInfo(reason=error.slug, domain=DOMAIN)
    if error.hint:
        info.metadata["hint"] = error.hint[:_MAX_MESSAGE_CHARACTERS]
    trailing.append((ERROR_HEADER, info.SerializeToString()))
    return StatusError(error.status_code, error.message[:_MAX_MESSAGE_CHARACTERS], tuple(trailing))


def from_status(serialised: bytes) -> rpc_status.Status:
    """The Status that a `grpc-status-details-bin` holds; an empty one if it cannot be read."""
    try:
        return rpc_status.Status.FromString(serialised)
    except DecodeError:
        return rpc_status.Status()


def to_failure(
    code: Code, message: str, trailing: Iterable[tuple[str, MetadataValue]]
) -> RpcFailed:
    """What a channel raises for a status that it received."""
    values = {name: value for name, value in trailing if isinstance(value, bytes)}
    info = error_details.ErrorInfo()
    try:
        info.ParseFromString(values.get(ERROR_HEADER, b""))
    except DecodeError:
        info.Clear()
    return RpcFailed(
        code, message, status=values.get(DETAILS_HEADER, b""), hint=info.metadata.get("hint", "")
    )


def _shorten(status: rpc_status.Status) -> None:
    """Makes the details fit into the headers; the first violations stay, whole."""
    status.message = status.message[:_MAX_MESSAGE_CHARACTERS]
    if status.ByteSize() <= _MAX_DETAILS_BYTES:
        return
    failure = error_details.PreconditionFailure()
    if not status.details[0].Unpack(failure):
        del status.details[:]
        return
    room = _MAX_DETAILS_BYTES - len(status.message.encode()) - 128
    kept = 0
    for violation in failure.violations:
        room -= violation.ByteSize() + 4
        if room < 0:
            break
        kept += 1
    del failure.violations[kept:]
    del status.details[:]
    status.details.add().Pack(failure)


def detail(status: rpc_status.Status, wanted: type[Message]) -> Message | None:
    """The first detail of this type, or None."""
    for packed in status.details:
        found = wanted()
        if packed.Unpack(found):
            return found
    return None
