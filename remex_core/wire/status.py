"""Errors to statuses and back: the only place that knows how the error tree travels.

The message of an error is the status message. Its slug and hint travel in the trailing metadata
`remex-error-bin`, as a google.rpc.ErrorInfo, so that `grpc-status-details-bin` holds what REAPI
clients read and nothing beside it (EXE-15).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from google.protobuf.message import DecodeError, Message

from remex_core import errors
from remex_core.digest import FUNCTIONS, DigestFunctions
from remex_core.errors import Code, MissingBlobs, RemexError, RpcFailed
from remex_core.proto import error_details, rpc_status
from remex_core.resource_names import blob_name, parse_read_name
from remex_core.wire.transport import StatusError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from remex_core.digest import Key
    from remex_core.wire.call import MetadataValue
    from remex_core.wire.methods import Method

M = TypeVar("M", bound=Message)

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
    status = rpc_status.Status(
        code=error.status_code, message=error.message[:_MAX_MESSAGE_CHARACTERS]
    )
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


def past_deadline(address: str, method: Method[Any, Any], timeout: float) -> RpcFailed:
    """What a channel raises when the deadline that its caller gave has passed."""
    return RpcFailed(
        Code.DEADLINE_EXCEEDED,
        f"{address} did not finish {method.service}/{method.name} within {timeout:g} s.",
    )


def to_error(status: rpc_status.Status, *, hint: str = "") -> RemexError:
    """The error of the tree that a status which is not OK stands for.

    Codes without a class of their own become RpcFailed. The keys of missing blobs and the delay
    of what passes by itself are read back from the details.
    """
    code = Code(status.code) if status.code in _CODES else Code.UNKNOWN
    failure = detail(status, error_details.PreconditionFailure)
    if code is Code.FAILED_PRECONDITION and failure is not None:
        keys = [_key(v.subject) for v in failure.violations if v.type == MISSING]
        if keys and None not in keys:
            return MissingBlobs([key for key in keys if key is not None])
    retriable = _RETRIABLE.get(code)
    if retriable is not None:
        info = detail(status, error_details.RetryInfo)
        delay = 1.0 if info is None else info.retry_delay.ToTimedelta().total_seconds()
        return retriable(status.message, hint=hint, retry_after=delay)
    plain = _PLAIN.get(code)
    if plain is not None:
        return plain(status.message, hint=hint)
    return RpcFailed(code, status.message, status=status.SerializeToString(), hint=hint)


_CODES: Final = frozenset(Code)
_RETRIABLE: Final = {error.code: error for error in (errors.ResourceExhausted, errors.Unavailable)}
_PLAIN: Final[dict[Code, type[RemexError]]] = {
    error.code: error
    for error in (
        errors.InvalidArgument,
        errors.NotFound,
        errors.OutOfRange,
        errors.FailedPrecondition,
        errors.Aborted,
        errors.Cancelled,
        errors.DeadlineExceeded,
        errors.DataLoss,
        errors.Internal,
        errors.PermissionDenied,
        errors.Unauthenticated,
        errors.Unimplemented,
    )
}


def _key(subject: str) -> Key | None:
    """The blob that a violation names, or None if it cannot be read."""
    try:
        name = parse_read_name(subject)
        maker = (
            _ANY_FUNCTION.for_name(name.function)
            if name.function
            else (_ANY_FUNCTION.for_length(name.hash))
        )
        return maker.key(name.hash, name.size)
    except errors.InvalidArgument:
        return None


_ANY_FUNCTION: Final = DigestFunctions(tuple(FUNCTIONS))


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


def detail(status: rpc_status.Status, wanted: type[M]) -> M | None:
    """The first detail of this type, or None."""
    for packed in status.details:
        found = wanted()
        if packed.Unpack(found):
            return found
    return None
