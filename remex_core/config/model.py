"""What a configuration may say. Every option here is used; there are no others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from remex_core.digest import FUNCTIONS
from remex_core.platform import Kind
from remex_core.plugins.descriptors import StoreChild, StoreNode
from remex_core.plugins.units import Duration, Size


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, and nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _kind_node(value: object) -> object:
    return StoreNode.parse(value)


KindNode = Annotated[StoreNode, BeforeValidator(_kind_node)]
"""A mapping with one key, the kind of a policy or executor, and its options."""


def _known_function(value: object) -> object:
    if value not in FUNCTIONS:
        raise ValueError(f"there are {', '.join(FUNCTIONS)}")
    return value


class InstanceConfig(Section):
    """What an instance name stands for; the entry `*` is for every name without its own."""

    cas: str = "cas"
    ac: str = "ac"
    digest_functions: tuple[Annotated[str, BeforeValidator(_known_function)], ...] = Field(
        ("sha256", "blake3"), min_length=1
    )
    max_batch_bytes: Size = 4_000_000
    max_blob_bytes: Size = 0
    ac_updates: bool = True


class ListenConfig(Section):
    """Addresses, `host:port`; None stands for the role's default."""

    public: str | None = None
    worker_api: str | None = None
    http: str | None = None


class SchedulerConfig(Section):
    """The scheduler's policies and tunables; see `scheduler.options`."""

    order: KindNode = StoreNode(kind="fifo")
    placement: KindNode = StoreNode(kind="least_recently_used")
    max_attempts: int = Field(5, ge=1)
    lease_timeout: Duration = 30.0
    statement_interval: Duration = 5.0
    unsatisfiable_grace: Duration = 30.0
    default_timeout: Duration | None = 3600.0
    max_timeout: Duration | None = 86_400.0
    property_kinds: dict[str, Kind] = {}
    known_properties: tuple[str, ...] = ()


class QueryCommandConfig(Section):
    """A property whose values are the output lines of a shell command."""

    query_cmd: str


class LimitsConfig(Section):
    """What one action may use."""

    kill_grace: Duration = 3.0
    max_stdio_bytes: Size = 64 * 1024 * 1024
    max_memory_bytes: Size | None = None
    max_processes: int | None = Field(None, ge=1)


class WorkerConfig(Section):
    """One worker. `store` is its CAS; None stands for the one of this process."""

    scheduler: str | None = None
    name: str | None = None
    slots: int | None = Field(None, ge=1)
    prefetch: int = Field(1, ge=0)
    properties: dict[str, str | list[str] | QueryCommandConfig] = {}
    instances: tuple[str, ...] = ()
    executor: KindNode = StoreNode(kind="local")
    store: StoreChild | None = None
    work_dir: Path | None = None
    limits: LimitsConfig = LimitsConfig()


class TelemetryConfig(Section):
    """What the process tells about itself; `log` is what REMEX_LOG may say, which wins over it."""

    log: str = "info"


class Config(Section):
    """A whole remex.yaml."""

    version: Literal[1]
    instances: dict[str, InstanceConfig] = {"*": InstanceConfig()}
    stores: dict[str, StoreChild] = {}
    listen: ListenConfig = ListenConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    worker: WorkerConfig = WorkerConfig()
    telemetry: TelemetryConfig = TelemetryConfig()

    @property
    def store_nodes(self) -> dict[str, StoreNode]:
        """Every named store, the worker's own among them as `worker`."""
        nodes: dict[str, Any] = dict(self.stores)
        if self.worker.store is not None:
            nodes["worker"] = self.worker.store
        return nodes
