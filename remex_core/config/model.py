"""What a configuration may say. Every option here is used; there are no others.

The line below an option is its description in the JSON schema, and so in editors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from remex_core.digest import FUNCTIONS
from remex_core.errors import InvalidArgument
from remex_core.platform import Kind
from remex_core.plugins.descriptors import StoreChild, StoreNode
from remex_core.plugins.units import Duration, Size
from remex_core.wire import addresses

ANY_INSTANCE: Final = "*"
"""The entry for every instance name that has none of its own."""

WORKER_STORE: Final = "worker"
"""What the store of `worker.store` is called among the named ones."""


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, and nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _kind_node(value: object) -> StoreNode:
    try:
        return StoreNode.parse(value)
    except ValueError:
        raise ValueError(
            "write the name of a kind, or a mapping with that name as its one key and the options "
            "below it"
        ) from None


KindNode = Annotated[StoreNode, BeforeValidator(_kind_node)]
"""A mapping with one key, the kind of a policy or executor, and its options."""


def _known_function(value: str) -> str:
    if value not in FUNCTIONS:
        known = ", ".join(FUNCTIONS)
        raise ValueError(f"there is no digest function {value!r}; there are: {known}")
    return value


def _at_least_one(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("there must be one at least")
    return value


Function = Annotated[
    str, AfterValidator(_known_function), WithJsonSchema({"enum": list(FUNCTIONS)})
]
"""The name of a digest function."""


def _address(value: str) -> str:
    try:
        addresses.normalise(value)
    except InvalidArgument as error:
        raise ValueError(f"{error.message} {error.hint}".strip()) from None
    return value


Address = Annotated[str, AfterValidator(_address)]
"""`host:port`, `grpc://host:port` or `unix:/path`."""


class InstanceConfig(Section):
    """What an instance name stands for; the entry `*` is for every name without its own."""

    cas: str = "cas"
    """The store of the blobs, by its name below `stores`."""
    ac: str = "ac"
    """The store of the action results, by its name below `stores`."""
    digest_functions: Annotated[tuple[Function, ...], AfterValidator(_at_least_one)] = (
        "sha256",
        "blake3",
    )
    """What clients may use, the preferred one first."""
    max_batch_bytes: Size = Field(4_000_000, gt=0)
    """How large the blobs of one batch call may be together."""
    max_blob_bytes: Size = 0
    """How large one blob may be; 0 for any size."""
    ac_updates: bool = True
    """Whether clients may write action results."""


class ListenConfig(Section):
    """Addresses, `host:port`; what is left out gets the role's default on 127.0.0.1."""

    public: Address | None = None
    """Where clients connect."""
    worker_api: Address | None = None
    """Where workers connect to a scheduler."""
    http: Address | None = None
    """Where health, metrics and a page for people are."""


class SchedulerConfig(Section):
    """The scheduler's policies and tunables."""

    order: KindNode = StoreNode(kind="fifo")
    """The policy for which action is next."""
    placement: KindNode = StoreNode(kind="least_recently_used")
    """The policy for which worker gets it."""
    max_attempts: int = Field(5, ge=1)
    """How often an action is tried before the loss of its worker is final."""
    lease_timeout: Duration = Field(30.0, gt=0)
    """How long a worker may be silent before its actions go elsewhere."""
    statement_interval: Duration = Field(5.0, gt=0)
    """How often workers say what they have."""
    unsatisfiable_grace: Duration = 30.0
    """How long an action waits for a worker that could run it."""
    default_timeout: Duration | None = 3600.0
    """The time limit of actions that bring none; null for none."""
    max_timeout: Duration | None = 86_400.0
    """The longest time limit that an action may bring; null for any."""
    property_kinds: dict[str, Kind] = {}
    """How platform properties are compared, by name."""
    known_properties: tuple[str, ...] = ()
    """Names that actions may ask for, though no worker had them yet; compared exactly."""


class QueryCommandConfig(Section):
    """A property whose values are the output lines of a shell command."""

    query_cmd: str


def _property(value: object) -> list[str] | QueryCommandConfig:
    if isinstance(value, QueryCommandConfig):
        return value
    if isinstance(value, dict) and [*value] == ["query_cmd"] and _is_scalar(value["query_cmd"]):
        return QueryCommandConfig(query_cmd=str(value["query_cmd"]))
    values = value if isinstance(value, list) else [value]
    if not values or not all(map(_is_scalar, values)):
        raise ValueError(
            "a property is a value, a list of values, or `query_cmd` and the command that prints "
            "its values"
        )
    return [str(each).lower() if isinstance(each, bool) else str(each) for each in values]


def _is_scalar(value: object) -> bool:
    return isinstance(value, (str, int, float))


_SCALAR: Final = {"type": ["string", "number", "boolean"]}
Property = Annotated[
    list[str] | QueryCommandConfig,
    BeforeValidator(_property),
    WithJsonSchema(
        {
            "anyOf": [
                _SCALAR,
                {"type": "array", "items": _SCALAR, "minItems": 1},
                {
                    "type": "object",
                    "properties": {"query_cmd": {"type": "string"}},
                    "required": ["query_cmd"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
"""The values of a platform property, or the command that prints them."""


class LimitsConfig(Section):
    """What one action may use."""

    kill_grace: Duration = 3.0
    """How long after SIGTERM the SIGKILL comes."""
    max_stdio_bytes: Size = 64 * 1024 * 1024
    """How much of stdout and of stderr is kept."""
    max_memory_bytes: Size | None = Field(None, gt=0)
    """How much memory its processes may use together; null for any."""
    max_processes: int | None = Field(None, ge=1)
    """How many processes it may have at once; null for any."""


class WorkerConfig(Section):
    """One worker."""

    scheduler: Address | None = None
    """The scheduler's worker API; not needed where this process is the scheduler."""
    name: str | None = None
    """Unique among the workers of a scheduler; the host's name by default."""
    slots: int | None = Field(None, ge=1)
    """How many actions run at once; as many as there are CPUs by default."""
    prefetch: int = Field(1, ge=0)
    """How many further actions have their inputs fetched meanwhile."""
    properties: dict[str, Property] = {}
    """What the worker offers, by name."""
    instances: tuple[str, ...] = ()
    """The instance names that it serves; all if there are none."""
    executor: KindNode = StoreNode(kind="local")
    """What runs the commands."""
    store: StoreChild | None = None
    """Where inputs come from and outputs go; the store `cas` of this process by default."""
    work_dir: Path | None = None
    """Where actions run; on the mount of the local store by default, where links are possible."""
    limits: LimitsConfig = LimitsConfig()
    """What one action may use."""


class TelemetryConfig(Section):
    """What the process tells about itself; REMEX_LOG wins over it."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines that are written."""
    log_format: Literal["console", "json"] = "console"
    """Lines for people or for machines."""

    @property
    def log(self) -> str:
        """The same in the words of REMEX_LOG."""
        return f"{self.log_level},{self.log_format}"


class Config(Section):
    """A whole remex.yaml."""

    version: Literal[1]
    """The version of this format."""
    instances: dict[str, InstanceConfig] = {ANY_INSTANCE: InstanceConfig()}
    """What the instance names of clients stand for; by default any name is served."""
    stores: dict[str, StoreChild] = {}
    """Stores by name; `cas` and `ac` are those of the cas and scheduler roles."""
    listen: ListenConfig = ListenConfig()
    """Where this process listens."""
    scheduler: SchedulerConfig = SchedulerConfig()
    """For the scheduler role."""
    worker: WorkerConfig = WorkerConfig()
    """For the worker role."""
    telemetry: TelemetryConfig = TelemetryConfig()
    """Log lines."""

    @property
    def store_nodes(self) -> dict[str, StoreNode]:
        """Every named store, the worker's own among them as `worker`."""
        nodes: dict[str, Any] = dict(self.stores)
        if self.worker.store is not None:
            nodes[WORKER_STORE] = self.worker.store
        return nodes
