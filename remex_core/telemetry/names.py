"""Every metric and span name, once.

Labels have few values: never a digest, a path or anything else that a client makes up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as Prometheus knows it; `labels` are the names of its labels, in order."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


RPC_CALLS: Final = Metric(
    "remex_rpc_calls_total", "counter", "RPCs that ended.", ("service", "method", "code")
)
RPC_SECONDS: Final = Metric(
    "remex_rpc_seconds", "histogram", "How long RPCs took.", ("service", "method")
)
RPC_OPEN: Final = Metric(
    "remex_rpc_open", "gauge", "RPCs that are being answered.", ("service", "method")
)

STORE_OPERATIONS: Final = Metric(
    "remex_store_operations_total",
    "counter",
    "What the nodes of the store trees did.",
    ("kind", "path", "operation"),
)
STORE_BYTES: Final = Metric(
    "remex_store_bytes_total",
    "counter",
    "Bytes of values that passed the nodes of the store trees.",
    ("kind", "path", "direction"),
)

# Spans of RPCs are named by service and method, `service/method`, as OpenTelemetry has it.
RPC_SERVICE_ATTRIBUTE: Final = "rpc.service"
RPC_METHOD_ATTRIBUTE: Final = "rpc.method"
ERROR_ATTRIBUTE: Final = "error.type"

# What they take from the client's RequestMetadata (RMD-01).
TOOL_ATTRIBUTE: Final = "remex.tool"
INVOCATION_ATTRIBUTE: Final = "remex.invocation"
ACTION_ATTRIBUTE: Final = "remex.action"
MNEMONIC_ATTRIBUTE: Final = "remex.mnemonic"
TARGET_ATTRIBUTE: Final = "remex.target"
