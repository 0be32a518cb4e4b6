"""Errors to statuses and back."""

from __future__ import annotations

import pytest

from remex_core import errors
from remex_core.digest import BLAKE3, SHA256
from remex_core.errors import Code, MissingBlobs, RemexError, RpcFailed
from remex_core.proto import error_details, rpc_status
from remex_core.wire.status import (
    DETAILS_HEADER,
    ERROR_HEADER,
    detail,
    from_status,
    to_error,
    to_failure,
    to_status,
    to_status_error,
)

PLAIN = [
    errors.InvalidArgument,
    errors.NotFound,
    errors.OutOfRange,
    errors.FailedPrecondition,
    errors.ResourceExhausted,
    errors.Unavailable,
    errors.Aborted,
    errors.Cancelled,
    errors.DeadlineExceeded,
    errors.DataLoss,
    errors.Internal,
    errors.PermissionDenied,
    errors.Unauthenticated,
    errors.Unimplemented,
]


def trailing(error: RemexError) -> dict[str, str | bytes]:
    return dict(to_status_error(error).trailing)


@pytest.mark.parametrize("kind", PLAIN, ids=lambda kind: kind.slug)
def test_an_error_travels_there_and_back(kind: type[RemexError]) -> None:
    """GEN-13: code, message and hint survive the wire, and the same class comes out."""
    sent = to_status_error(kind("what and why", hint="what next"))
    received = to_failure(sent.code, sent.message, sent.trailing)
    assert (kind.code, "what and why", "what next") == (
        received.remote_code,
        received.message,
        received.hint,
    )
    back = to_error(to_status(received), hint=received.hint)
    assert kind is type(back)
    assert ("what and why", "what next") == (back.message, back.hint)


def test_missing_blobs_are_one_detail_that_names_each() -> None:
    """EXE-13, EXE-15: one PreconditionFailure, only MISSING, the function only where it must be."""
    plain, blake = SHA256.key_of(b"a"), BLAKE3.key_of(b"bc")
    status = to_status(MissingBlobs([plain, blake]))
    (packed,) = status.details
    assert "type.googleapis.com/google.rpc.PreconditionFailure" == packed.type_url
    failure = detail(status, error_details.PreconditionFailure)
    assert failure is not None
    assert [
        ("MISSING", f"blobs/{plain.hash}/1"),
        ("MISSING", f"blobs/blake3/{blake.hash}/2"),
    ] == [(violation.type, violation.subject) for violation in failure.violations]
    back = to_error(status)
    assert isinstance(back, MissingBlobs)
    assert (plain, blake) == back.keys


def test_the_status_of_missing_blobs_has_the_protocols_bytes() -> None:
    """EXE-13: the serialised status is the golden vector's."""
    key = SHA256.key_of(b"hello\n")
    error = MissingBlobs([key])
    error.message = "missing"
    subject = f"blobs/{key.hash}/6".encode()
    failure = b"\x0a\x53\x0a\x07MISSING\x12\x48" + subject
    expected = (
        b"\x08\x09\x12\x07missing\x1a\x8b\x01\x0a\x32"
        b"type.googleapis.com/google.rpc.PreconditionFailure\x12\x55" + failure
    )
    assert expected == to_status(error).SerializeToString(deterministic=True)


@pytest.mark.parametrize("kind", [errors.ResourceExhausted, errors.StoreFull, errors.Unavailable])
def test_what_passes_by_itself_says_when(kind: type[errors.Unavailable]) -> None:
    """GEN-02: RetryInfo has a positive delay, and it is read back."""
    status = to_status(kind("busy", retry_after=0.25))
    info = detail(status, error_details.RetryInfo)
    assert info is not None
    assert 250 == info.retry_delay.ToMilliseconds()
    back = to_error(status)
    assert isinstance(back, errors.ResourceExhausted | errors.Unavailable)
    assert 0.25 == back.retry_after
    never = detail(to_status(kind("busy", retry_after=0)), error_details.RetryInfo)
    assert never is not None
    assert 1 == never.retry_delay.ToMilliseconds()


def test_errors_without_details_send_none() -> None:
    """EXE-15: no details where REAPI needs none; slug and hint are in a header of our own."""
    sent = trailing(errors.StoreUnavailable("a"))
    assert {DETAILS_HEADER, ERROR_HEADER} == set(sent)
    sent = trailing(errors.MalformedDigest("bad", hint="good"))
    assert {ERROR_HEADER} == set(sent)
    info = error_details.ErrorInfo.FromString(sent[ERROR_HEADER])  # type: ignore[arg-type]
    assert ("malformed-digest", "remex", {"hint": "good"}) == (
        info.reason,
        info.domain,
        dict(info.metadata),
    )


def test_the_details_code_equals_the_status_code() -> None:
    """GEN-03: the serialised Status repeats code and message, as clients check."""
    error = MissingBlobs([SHA256.key_of(b"a")])
    sent = to_status_error(error)
    status = from_status(dict(sent.trailing)[DETAILS_HEADER])  # type: ignore[arg-type]
    assert (sent.code, sent.message) == (status.code, status.message)


def test_a_forwarded_failure_keeps_its_details() -> None:
    """EXE-14: what a server behind this one said reaches the client as it was."""
    origin = to_status_error(MissingBlobs([SHA256.key_of(b"a")]))
    failed = to_failure(origin.code, origin.message, origin.trailing)
    forwarded = to_status_error(failed)
    assert dict(origin.trailing)[DETAILS_HEADER] == dict(forwarded.trailing)[DETAILS_HEADER]
    assert (origin.code, origin.message) == (forwarded.code, forwarded.message)


@pytest.mark.parametrize("count", [1, 20, 40, 1000])
def test_details_fit_into_headers(count: int) -> None:
    """EXE-16: however many blobs are missing, clients that take 8 KiB of headers take these."""
    keys = [SHA256.key_of(b"%d" % n) for n in range(count)]
    sent = to_status_error(MissingBlobs(keys))
    assert sum(len(name) + len(value) * 4 // 3 for name, value in sent.trailing) < 7000
    failed = to_failure(sent.code, sent.message, sent.trailing)
    back = to_error(from_status(failed.status))
    assert isinstance(back, MissingBlobs)
    assert tuple(keys[: len(back.keys)]) == back.keys
    assert len(back.keys) >= min(count, 30)


def test_endless_messages_are_cut() -> None:
    """A message that would not fit into the headers is cut, details or not."""
    sent = to_status_error(errors.Unavailable("x" * 100_000, hint="y" * 100_000))
    assert len(sent.message) <= 1024
    assert sum(len(value) for _, value in sent.trailing) < 4096


def test_foreign_details_that_are_too_long_are_left_out() -> None:
    """Details of another server that would not fit into the headers are dropped whole."""
    status = rpc_status.Status(code=5, message="m")
    status.details.add().Pack(error_details.DebugInfo(detail="x" * 10_000))
    sent = to_status_error(RpcFailed(Code.NOT_FOUND, "m", status=status.SerializeToString()))
    details = from_status(dict(sent.trailing)[DETAILS_HEADER]).details  # type: ignore[arg-type]
    assert [] == list(details)


@pytest.mark.parametrize("garbage", [b"", b"\xff\xff", b"text"])
def test_garbage_in_the_headers_is_no_error(garbage: bytes) -> None:
    """A peer may send anything in the headers; code and message still arrive."""
    failed = to_failure(
        Code.NOT_FOUND, "gone", ((ERROR_HEADER, garbage), (DETAILS_HEADER, garbage), ("x", "y"))
    )
    assert ("gone", "") == (failed.message, failed.hint)
    assert [] == list(to_status(failed).details)


def test_a_precondition_that_is_not_about_blobs_stays_one() -> None:
    """EXE-17: violations of another type, or names that cannot be read, are no missing blobs."""
    for kind, subject in (("INVALID", "blobs/aa/1"), ("MISSING", "nonsense"), ("MISSING", "")):
        status = rpc_status.Status(code=Code.FAILED_PRECONDITION, message="m")
        failure = error_details.PreconditionFailure()
        failure.violations.add(type=kind, subject=subject)
        status.details.add().Pack(failure)
        assert errors.FailedPrecondition is type(to_error(status))


@pytest.mark.parametrize("code", [2, 6, 77, -1])
def test_codes_without_a_class(code: int) -> None:
    """A code that the tree has no class for, or that does not exist, is still an error."""
    error = to_error(rpc_status.Status(code=code, message="m"))
    assert isinstance(error, RpcFailed)
    assert (Code.ALREADY_EXISTS if code == 6 else Code.UNKNOWN) == error.status_code
