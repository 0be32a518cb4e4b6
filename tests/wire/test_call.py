"""What a handler can read of its call."""

from __future__ import annotations

import pytest

from remex_core.proto import reapi
from remex_core.wire import methods
from remex_core.wire.call import REQUEST_METADATA_HEADER, Call

PANTS_HEADER = "google.devtools.remoteexecution.v1test.requestmetadata-bin"
BAZEL = reapi.RequestMetadata(
    tool_details=reapi.ToolDetails(tool_name="bazel", tool_version="8.0.0"), action_id="x"
)


def call(*metadata: tuple[str, str | bytes]) -> Call:
    return Call(methods.READ, metadata)  # type: ignore[arg-type] # Method is invariant


@pytest.mark.parametrize("header", [REQUEST_METADATA_HEADER, PANTS_HEADER])
def test_request_metadata_is_read_from_either_header(header: str) -> None:
    """GEN-07, GEN-09: the old name of the header, which Pants sends, is read like the new one."""
    told = call(("user-agent", "x"), (header, BAZEL.SerializeToString())).request_metadata
    assert BAZEL == told


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        ((REQUEST_METADATA_HEADER, b""),),
        ((REQUEST_METADATA_HEADER, b"\xff\xff\xff"),),
        ((REQUEST_METADATA_HEADER, "text"),),
        (("x-other-bin", BAZEL.SerializeToString()),),
    ],
    ids=["absent", "empty", "garbage", "text", "unknown"],
)
def test_request_metadata_that_cannot_be_read_is_none(
    metadata: tuple[tuple[str, str | bytes], ...],
) -> None:
    """GEN-07, GEN-09: a header that is absent, empty, broken or unknown is no error."""
    assert None is call(*metadata).request_metadata


@pytest.mark.parametrize("action", ["capabilities", "lease-extension", "bes-upload", "ü" * 1000])
def test_an_action_id_may_be_anything(action: str) -> None:
    """RMD-02: the action id is text, and nobody takes it for a digest."""
    sent = reapi.RequestMetadata(action_id=action).SerializeToString()
    told = call((REQUEST_METADATA_HEADER, sent)).request_metadata
    assert told is not None
    assert action == told.action_id


def test_every_field_of_request_metadata_is_there() -> None:
    """RMD-01: all seven fields come through."""
    sent = reapi.RequestMetadata(
        tool_details=reapi.ToolDetails(tool_name="t", tool_version="1"),
        action_id="a",
        tool_invocation_id="i",
        correlated_invocations_id="c",
        action_mnemonic="CppCompile",
        target_id="//x",
        configuration_id="k8",
    )
    assert sent == call((REQUEST_METADATA_HEADER, sent.SerializeToString())).request_metadata


def test_headers() -> None:
    """The first value of a header counts; one that is absent is None, no trace context empty."""
    made = call(("a", "1"), ("a", "2"), ("traceparent", "00-abc-def-01"))
    assert "1" == made.header("a")
    assert None is made.header("b")
    assert "00-abc-def-01" == made.traceparent
    assert "" == call().traceparent
