"""Every error that remex raises on purpose, with what a caller and a user need of it.

The tree::

    RemexError                      code INTERNAL
    ├── InvalidArgument             INVALID_ARGUMENT
    │   ├── MalformedDigest
    │   ├── DigestMismatch          the bytes are not what the digest says
    │   └── UnknownInstance
    ├── NotFound                    NOT_FOUND
    │   ├── BlobNotFound
    │   └── OperationNotFound
    ├── OutOfRange                  OUT_OF_RANGE
    ├── FailedPrecondition          FAILED_PRECONDITION
    │   ├── MissingBlobs            carries the keys; becomes MISSING violations
    │   └── Unsatisfiable           no worker can ever run it
    ├── ResourceExhausted           RESOURCE_EXHAUSTED, with retry_after
    │   └── StoreFull
    ├── Unavailable                 UNAVAILABLE, with retry_after
    │   └── StoreUnavailable
    ├── Aborted  Cancelled  DeadlineExceeded  DataLoss  Internal
    ├── PermissionDenied  Unauthenticated  Unimplemented
    ├── RpcFailed                   what a remote side answered; any code
    ├── ConfigError                 exit code 3
    ├── PluginError                 exit code 4
    └── Unreachable                 exit code 5

The message of an error is a sentence for the person who reads it: what happened (with the
value), and why. The hint says what to do next. The slug is stable and made to be searched for.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from remex_core.digest import Key


class Code(IntEnum):
    """The gRPC status codes, which are also the numbers of google.rpc.Code."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RemexError(Exception):
    """The root of the tree.

    Args:
        message: what happened, with the value, and why; becomes the status message.
        hint: what the reader can do next; empty when there is nothing to add.
    """

    code: ClassVar[Code] = Code.INTERNAL
    slug: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def status_code(self) -> Code:
        """The code this very error travels with."""
        return self.code


class InvalidArgument(RemexError):
    """The request itself is wrong; sending it again cannot help."""

    code = Code.INVALID_ARGUMENT
    slug = "invalid-argument"


class MalformedDigest(InvalidArgument):
    """A digest that breaks a rule of its form (REAPI rules DIG-01, DIG-03, DIG-05, DIG-08)."""

    slug = "malformed-digest"


class DigestMismatch(InvalidArgument):
    """Bytes whose hash or size is not the one that was declared (BSW-07, CAS-12)."""

    slug = "digest-mismatch"


class UnknownInstance(InvalidArgument):
    """An instance name that this server does not serve (INS-03)."""

    slug = "unknown-instance"


class NotFound(RemexError):
    """What was asked for is not here."""

    code = Code.NOT_FOUND
    slug = "not-found"
    exit_code = 6


class BlobNotFound(NotFound):
    """A store has no content under this key."""

    slug = "blob-not-found"

    def __init__(self, key: Key) -> None:
        super().__init__(f"{key} is not stored here")
        self.key = key


class OperationNotFound(NotFound):
    """No operation of this name, or it was forgotten (OP-02)."""

    slug = "operation-not-found"


class OutOfRange(RemexError):
    """An offset outside the blob (BSR-03)."""

    code = Code.OUT_OF_RANGE
    slug = "out-of-range"


class FailedPrecondition(RemexError):
    """The system is not in the state that the request needs."""

    code = Code.FAILED_PRECONDITION
    slug = "failed-precondition"


class MissingBlobs(FailedPrecondition):
    """Blobs that an action needs are not in the CAS (EXE-13, EXE-15, EXE-16).

    Becomes one PreconditionFailure whose violations are all of type MISSING, so the client
    uploads them and tries again.
    """

    slug = "missing-blobs"

    def __init__(self, keys: Sequence[Key]) -> None:
        first = ", ".join(f"{key.hash}/{key.size}" for key in keys[:3])
        more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
        super().__init__(f"{len(keys)} blob(s) are missing from the CAS: {first}{more}")
        self.keys = tuple(keys)


class Unsatisfiable(FailedPrecondition):
    """No worker offers what the action asks for (EXE-19)."""

    slug = "unsatisfiable"


class _Retriable(RemexError):
    """An error that passes; `retry_after` is in seconds and becomes RetryInfo (GEN-02)."""

    def __init__(self, message: str, *, hint: str = "", retry_after: float = 1.0) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class ResourceExhausted(_Retriable):
    """A bound was reached: disk, memory, queue or quota."""

    code = Code.RESOURCE_EXHAUSTED
    slug = "resource-exhausted"


class StoreFull(ResourceExhausted):
    """A store cannot take this content now (CAS-13, BSW-20)."""

    slug = "store-full"


class Unavailable(_Retriable):
    """Something this call depends on does not answer now."""

    code = Code.UNAVAILABLE
    slug = "unavailable"


class StoreUnavailable(Unavailable):
    """A store's backend fails (GEN-14)."""

    slug = "store-unavailable"


class Aborted(RemexError):
    """Another call won; this one may be repeated."""

    code = Code.ABORTED
    slug = "aborted"


class Cancelled(RemexError):
    """Somebody asked for this to stop."""

    code = Code.CANCELLED
    slug = "cancelled"


class DeadlineExceeded(RemexError):
    """It took longer than it was given."""

    code = Code.DEADLINE_EXCEEDED
    slug = "deadline-exceeded"


class DataLoss(RemexError):
    """Stored bytes turned out to be wrong in the middle of a read (GEN-14)."""

    code = Code.DATA_LOSS
    slug = "data-loss"


class Internal(RemexError):
    """A bug or a broken invariant; the message carries an incident id."""

    slug = "internal"
    exit_code = 70


class PermissionDenied(RemexError):
    """The caller is known and may not do this."""

    code = Code.PERMISSION_DENIED
    slug = "permission-denied"


class Unauthenticated(RemexError):
    """The caller brought no valid credential."""

    code = Code.UNAUTHENTICATED
    slug = "unauthenticated"


class Unimplemented(RemexError):
    """The method or feature is not offered here."""

    code = Code.UNIMPLEMENTED
    slug = "unimplemented"


class RpcFailed(RemexError):
    """What the other side of a call answered instead of a result.

    Args:
        code: the status code of the answer.
        message: the status message of the answer.
        status: the serialised google.rpc.Status of `grpc-status-details-bin`, or empty.
        answered: False where nobody answered, so that code and message are the caller's own.
    """

    slug = "rpc-failed"

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        status: bytes = b"",
        hint: str = "",
        answered: bool = True,
    ) -> None:
        super().__init__(message, hint=hint)
        self.remote_code = code
        self.status = status
        self.answered = answered

    @property
    def status_code(self) -> Code:
        return self.remote_code


class ConfigError(RemexError):
    """A configuration that cannot be used; lists every fault found, each with its place."""

    code = Code.INVALID_ARGUMENT
    slug = "config"
    exit_code = 3


class PluginError(RemexError):
    """A plugin that is needed and cannot be used."""

    code = Code.FAILED_PRECONDITION
    slug = "plugin"
    exit_code = 4


class Unreachable(RemexError):
    """An address where nobody answers."""

    code = Code.UNAVAILABLE
    slug = "unreachable"
    exit_code = 5
