"""Traces: one build is one trace, from the client through scheduler and worker.

Only the API of OpenTelemetry is used, which does nothing until an SDK is set up. `configure` does
that, if the `OTEL_*` environment asks for it and the SDK is installed; until then handlers are
not wrapped and cost nothing.
"""

from __future__ import annotations

import logging
import os
from contextlib import aclosing, contextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from remex_core.errors import Code, RemexError
from remex_core.telemetry import names

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping

    from opentelemetry.trace import Span, Tracer

    from remex_core.wire.call import Call, Handler, Metadata
    from remex_core.wire.methods import Method

log = logging.getLogger("remex.telemetry")

_W3C: Final = TraceContextTextMapPropagator()
_EXPORTER: Final = "OTEL_TRACES_EXPORTER"
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_SERVER_FAULTS: Final = frozenset((Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS, Code.UNAVAILABLE))


def wanted(environment: Mapping[str, str] = os.environ) -> str:
    """The name of the exporter that the environment asks for, or empty for none."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return ""
    named = environment.get(_EXPORTER, "")
    if named:
        return "" if named == "none" else named
    return "otlp" if any(environment.get(name) for name in _ENDPOINTS) else ""


def configure(environment: Mapping[str, str] = os.environ) -> Callable[[], None] | None:
    """Sets up the SDK if it is asked for; answers what flushes and ends it, or None.

    Service name, resource attributes and the head sampler come from the `OTEL_*` environment. An
    SDK or exporter that is asked for and not installed is logged, with what to install; the
    process then runs without traces.
    """
    exporter = wanted(environment)
    if not exporter:
        return None
    try:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("%s; install remex-core[telemetry] to send them.", _asked(exporter))
        return None
    found = list(entry_points(group="opentelemetry_traces_exporter", name=exporter))
    if not found:
        log.warning(
            "%s, and no exporter of that name is installed; "
            "install opentelemetry-exporter-otlp to send them by OTLP.",
            _asked(exporter),
        )
        return None
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(found[0].load()()))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def tracer() -> Tracer:
    """The tracer for all spans of remex."""
    return trace.get_tracer("remex")


def outgoing() -> Metadata:
    """The headers that carry the current trace to the other side; none outside of a trace."""
    if not trace.get_current_span().get_span_context().is_valid:
        return ()
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return tuple(carrier.items())


def traced(method: Method[Any, Any], handler: Handler, tracer: Tracer) -> Handler:
    """The handler in a span that continues the caller's trace; of the same shape."""

    async def one(call: Call, request: Any) -> Any:
        with _span(method, call, tracer):
            return await handler(call, request)  # type: ignore[misc] # by its method

    async def many(call: Call, request: Any) -> AsyncGenerator[Any]:
        with _span(method, call, tracer):
            answers: Any = handler(call, request)
            async with aclosing(answers):
                async for answer in answers:
                    yield answer

    return many if method.server_streams else one


@contextmanager
def _span(method: Method[Any, Any], call: Call, tracer: Tracer) -> Iterator[None]:
    above = _W3C.extract(
        {name: value for name in ("traceparent", "tracestate") if (value := call.header(name))}
    )
    with tracer.start_as_current_span(
        f"{method.service}/{method.name}",
        above,
        trace.SpanKind.SERVER,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        if span.is_recording():
            _describe(span, method, call)
        try:
            yield
        except RemexError as error:
            span.set_attribute(names.ERROR_ATTRIBUTE, error.slug)
            if error.status_code in _SERVER_FAULTS:
                span.set_status(trace.StatusCode.ERROR, error.message)
            raise
        except Exception as error:
            span.record_exception(error)
            span.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise


def _describe(span: Span, method: Method[Any, Any], call: Call) -> None:
    span.set_attribute(names.RPC_SERVICE_ATTRIBUTE, method.service)
    span.set_attribute(names.RPC_METHOD_ATTRIBUTE, method.name)
    told = call.request_metadata
    if told is not None:
        span.set_attribute(names.TOOL_ATTRIBUTE, told.tool_details.tool_name)
        span.set_attribute(names.INVOCATION_ATTRIBUTE, told.tool_invocation_id)
        span.set_attribute(names.ACTION_ATTRIBUTE, told.action_id)
        span.set_attribute(names.MNEMONIC_ATTRIBUTE, told.action_mnemonic)
        span.set_attribute(names.TARGET_ATTRIBUTE, told.target_id)


def _asked(exporter: str) -> str:
    return f"The environment asks for traces by the exporter {exporter!r}"
