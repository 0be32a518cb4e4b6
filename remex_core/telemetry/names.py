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

RPC_SPAN_PREFIX: Final = "remex.rpc"
"""Spans of RPCs are named by this and the method's full name."""
