"""Traces through the wire."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from remex_core import errors
from remex_core.proto import bytestream, reapi
from remex_core.telemetry import tracing
from remex_core.testing.echo import ONE_TO_MANY, ONE_TO_ONE, Echo
from remex_core.wire.call import REQUEST_METADATA_HEADER, Call
from remex_core.wire.compose import compose
from remex_core.wire.inproc import InprocTransport
from remex_core.wire.stub import Stub
from remex_core.wire.transport import Listener, Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from opentelemetry.sdk.trace import ReadableSpan

ASK = bytestream.QueryWriteStatusRequest()


class Traced:
    """A server whose calls are traced, and a client of it."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = provider.get_tracer("test")
        self.echo = Echo()
        self.stub: Stub

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
async def traced() -> AsyncIterator[Traced]:
    traced = Traced()
    transport = InprocTransport()
    routes = compose(traced.echo.handlers(), tracer=traced.tracer)
    server = await transport.serve(Listener("inproc:traced"), routes)
    channel = await transport.connect(Target("inproc:traced"))
    traced.stub = Stub(channel)
    yield traced
    await channel.close()
    await server.close()


async def test_a_call_continues_its_callers_trace(traced: Traced) -> None:
    """The trace context goes out with a call and the handler's span hangs below the caller's."""
    with traced.tracer.start_as_current_span("build"):
        await traced.stub.call(ONE_TO_ONE, ASK)
        async for _ in traced.stub.stream(ONE_TO_MANY, bytestream.ReadRequest()):
            pass
    above = traced.spans["build"].context
    for method in (ONE_TO_ONE, ONE_TO_MANY):
        span = traced.spans[f"{method.service}/{method.name}"]
        assert above is not None
        assert span.context is not None
        assert span.parent is not None
        assert (above.trace_id, above.span_id) == (span.context.trace_id, span.parent.span_id)
        assert SpanKind.SERVER is span.kind
    assert all(call.traceparent.startswith("00-") for call in traced.echo.calls)


async def test_no_trace_is_made_up(traced: Traced) -> None:
    """Outside of a trace nothing goes out, and the handler's span begins a trace of its own."""
    assert () == tracing.outgoing()
    await traced.stub.call(ONE_TO_ONE, ASK)
    (span,) = traced.spans.values()
    assert None is span.parent
    assert "" == traced.echo.calls[0].traceparent


async def test_request_metadata_describes_the_span(traced: Traced) -> None:
    """RMD-01: what the client says of itself becomes attributes."""
    told = reapi.RequestMetadata(
        tool_details=reapi.ToolDetails(tool_name="bazel"),
        tool_invocation_id="i",
        action_id="a",
        action_mnemonic="m",
        target_id="t",
    )
    metadata = ((REQUEST_METADATA_HEADER, told.SerializeToString()),)
    await traced.stub.call(ONE_TO_ONE, ASK, metadata=metadata)
    (span,) = traced.spans.values()
    assert {
        "rpc.service": ONE_TO_ONE.service,
        "rpc.method": ONE_TO_ONE.name,
        "remex.tool": "bazel",
        "remex.invocation": "i",
        "remex.action": "a",
        "remex.mnemonic": "m",
        "remex.target": "t",
    } == dict(span.attributes or {})


@pytest.mark.parametrize(
    ("error", "status", "events"),
    [
        (errors.NotFound("x"), StatusCode.UNSET, 0),
        (errors.StoreUnavailable("x"), StatusCode.ERROR, 0),
        (ZeroDivisionError("x"), StatusCode.ERROR, 1),
    ],
    ids=["client", "server", "bug"],
)
async def test_errors_in_spans(
    traced: Traced, error: Exception, status: StatusCode, events: int
) -> None:
    """What the client did wrong is named; what the server did wrong makes the span an error."""

    async def hook(_: Call) -> None:
        raise error

    traced.echo.hook = hook
    with pytest.raises(errors.RpcFailed):
        await traced.stub.call(ONE_TO_ONE, ASK)
    (span,) = traced.spans.values()
    assert (status, events) == (span.status.status_code, len(span.events))
    if isinstance(error, errors.RemexError):
        assert error.slug == (span.attributes or {})["error.type"]


@pytest.mark.parametrize(
    ("environment", "exporter"),
    [
        ({}, ""),
        ({"OTEL_TRACES_EXPORTER": "none"}, ""),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4317"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x:4317"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, ""),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"}, ""),
        ({"OTEL_SERVICE_NAME": "x"}, ""),
    ],
)
def test_when_traces_are_wanted(environment: dict[str, str], exporter: str) -> None:
    """Traces are made when an exporter or an endpoint is named, and not otherwise."""
    assert exporter == tracing.wanted(environment)


def test_an_exporter_that_is_not_installed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A process runs without traces rather than not at all, and says what to install."""
    assert None is tracing.configure({"OTEL_TRACES_EXPORTER": "no-such-exporter"})
    assert "'no-such-exporter'" in caplog.text
    assert "install" in caplog.text


def python(program: str, **environment: str) -> str:
    done: Any = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={"OTEL_SERVICE_NAME": "remex", **environment},
    )
    return str(done.stdout)


def test_the_environment_sets_up_the_sdk() -> None:
    """With an exporter named, spans are exported when the process ends."""
    program = (
        "from remex_core.telemetry import tracing\n"
        "end = tracing.configure()\n"
        "with tracing.tracer().start_as_current_span('hello'): pass\n"
        "end()\n"
    )
    assert '"name": "hello"' in python(program, OTEL_TRACES_EXPORTER="console")


def test_without_a_wish_the_sdk_is_not_imported() -> None:
    """A process that makes no traces does not pay for the SDK."""
    program = (
        "import sys\nfrom remex_core.telemetry import tracing\n"
        "print(tracing.configure(), 'opentelemetry.sdk' in sys.modules)\n"
    )
    assert "None False" == python(program).strip()
