"""What a plugin registers: one frozen descriptor for each kind of thing.

Hooks yield descriptors and do no work; objects are built from them later, when a configuration
asks for the kind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, Protocol, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict

from remex_core.store.contract import Content, Refreshes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from remex_core.clock import Clock
    from remex_core.scheduler.policy import OrderPolicy, PlacementPolicy
    from remex_core.store.contract import Capability, Store
    from remex_core.wire.transport import Transport
    from remex_core.worker.executor import Executor, Runner


class Spec(BaseModel):
    """The options of one kind, as a configuration gives them."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=Spec)


class StoreContext(Protocol):
    """What a store's `build` may use."""

    @property
    def clock(self) -> Clock: ...

    @property
    def content(self) -> Content:
        """What this node is asked to hold."""
        ...

    @property
    def path(self) -> str:
        """Where the node stands in the configuration, such as `stores.cas.fast_slow.fast`."""
        ...

    @property
    def data_dir(self) -> Path:
        """Where this process may keep files of its own."""
        ...

    async def child(self, name: str, node: StoreNode) -> Store:
        """Builds a child node, wrapped and metered, closed after its parent."""
        ...

    async def ref(self, name: str) -> Store:
        """The store of that name in the configuration; shared, never closed by the caller."""
        ...

    async def connect(self, address: str) -> Any:
        """A `wire.transport.Channel` to another server, closed after the stores."""
        ...


class StoreNode(BaseModel):
    """A store in a configuration: a mapping with one key, the kind, and the kind's options."""

    model_config = ConfigDict(frozen=True)

    kind: str
    options: dict[str, Any] = {}

    @classmethod
    def parse(cls, value: object) -> StoreNode:
        """Reads `{kind: {options}}`, or a bare `kind` for one without options.

        Raises:
            ValueError: if it is anything else.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls(kind=value)
        if not isinstance(value, dict) or len(value) != 1:
            raise ValueError("a store is a mapping with exactly one key, its kind")
        ((kind, options),) = value.items()
        if options is None:
            options = {}
        if kind == "ref" and isinstance(options, str):
            options = {"name": options}
        if not isinstance(kind, str) or not isinstance(options, dict):
            raise ValueError(f"the options of {kind!r} must be a mapping")
        return cls(kind=kind, options=options)


StoreChild = Annotated[StoreNode, BeforeValidator(StoreNode.parse)]
"""The type of a spec's field that names a child store."""


@dataclass(frozen=True, slots=True)
class StoreType(Generic[S]):
    """A kind of store.

    Args:
        name: the key that names the kind in a configuration.
        spec: the model of its options; fields of type `StoreChild` are its children.
        build: makes the store from its options; children come from the context.
        summary: one line for listings.
        accepts: which content such a node can hold.
        passes: what content each child field is asked to hold; a child that is absent here holds
            what the node itself holds.
        forwards: the optional capabilities that the kind lets through, or offers of its own.
        refreshes: whether a touch makes a value live longer.
        shared: whether several processes may open it at once.
    """

    name: str
    spec: type[S]
    build: Callable[[S, StoreContext], Awaitable[Store]]
    summary: str
    accepts: frozenset[Content] = frozenset(Content)
    passes: Mapping[str, Content] = field(default_factory=dict)
    forwards: frozenset[type[Capability]] = frozenset()
    refreshes: Refreshes = Refreshes.YES
    shared: bool = False


@dataclass(frozen=True, slots=True)
class PolicyType(Generic[S]):
    """A scheduler policy on one of the two axes."""

    name: str
    axis: Literal["order", "placement"]
    spec: type[S]
    build: Callable[[S], OrderPolicy | PlacementPolicy]
    summary: str


class ExecutorContext(Protocol):
    """What an executor's `build` may use."""

    @property
    def clock(self) -> Clock: ...

    @property
    def work_root(self) -> Path:
        """Where the worker makes its work directories."""
        ...

    @property
    def runner(self) -> Runner:
        """The small process that starts actions; see `worker.executor.Runner`."""
        ...


@dataclass(frozen=True, slots=True)
class ExecutorType(Generic[S]):
    """A way to run an action's process."""

    name: str
    spec: type[S]
    build: Callable[[S, ExecutorContext], Awaitable[Executor]]
    summary: str


@dataclass(frozen=True, slots=True)
class JournalType(Generic[S]):
    """A place where a scheduler keeps what must survive it."""

    name: str
    spec: type[S]
    build: Callable[[S], Awaitable[Any]]
    summary: str


@dataclass(frozen=True, slots=True)
class TransportType:
    """A way for RPCs to reach handlers; of several usable ones the highest `preference` serves."""

    name: str
    build: Callable[[], Transport]
    summary: str
    preference: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one health check: what it means and what to do."""

    check: str
    status: Literal["ok", "warn", "fail", "skip"]
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One thing that `remex doctor` looks at."""

    name: str
    summary: str
    run: Callable[[Any], Awaitable[Sequence[Finding]]]
