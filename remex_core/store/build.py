"""Store trees: from the nodes of a configuration to stores, each built once, closed together.

A tree is checked as a whole before anything of it is built: every kind known, every option
valid, every node of a kind that can hold what its parent asks it to hold, no name leading in a
circle.
"""

from __future__ import annotations

import difflib
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from remex_core.errors import ConfigError
from remex_core.plugins.descriptors import Spec, StoreNode, StoreType
from remex_core.plugins.registry import FIRST_PARTY
from remex_core.store.metrics import MeteredStore, StoreCounters
from remex_core.store.ref import RefSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import Self

    from remex_core.clock import Clock
    from remex_core.store.contract import Content, Store
    from remex_core.wire.transport import Channel


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with the stores of a configuration.

    `path` are the keys that lead to the place, such as `("stores", "cas", "memory", "max_bytes")`.
    """

    path: tuple[str, ...]
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{'.'.join(self.path)}: {self.message}{f' {self.hint}' if self.hint else ''}"


def unknown_kind(kind: str, known: Iterable[str]) -> tuple[str, str]:
    """What is wrong with a kind that nothing provides, and what to do about it."""
    known = sorted(known)
    message = f"There is no kind of store called {kind!r}."
    if kind in FIRST_PARTY:
        return message, f"Install the plugin that has it: pip install {FIRST_PARTY[kind]}"
    return message, _did_you_mean(kind, known) or f"The kinds installed here: {', '.join(known)}."


@dataclass(frozen=True, slots=True)
class StoreChecker:
    """Finds every fault in the named stores of a configuration.

    Args:
        kinds: the kinds that are installed, by name.
        nodes: the stores of the configuration, by name.
        explain: what is wrong with a kind that is not among `kinds`, and what to do.
    """

    kinds: Mapping[str, StoreType[Any]]
    nodes: Mapping[str, StoreNode]
    explain: Callable[[str, Iterable[str]], tuple[str, str]] = unknown_kind

    def faults(self, wanted: Mapping[str, Content]) -> tuple[Fault, ...]:
        """Everything that is wrong, when the stores named in `wanted` hold that content.

        Stores that are neither named nor referred to are checked as well, as far as possible
        without knowing what they hold.
        """
        seen: dict[tuple[str, Content | None], None] = {}
        faults: list[Fault] = []
        for name, content in wanted.items():
            if name in self.nodes:
                faults += self._named(name, content, (), seen)
            else:
                faults.append(Fault(("stores",), f"There is no store called {name!r}."))
        for name in self.nodes:
            if all(name != other for other, _ in seen):
                faults += self._named(name, None, (), seen)
        return tuple(dict.fromkeys(faults))

    def _named(
        self,
        name: str,
        content: Content | None,
        above: tuple[str, ...],
        seen: dict[tuple[str, Content | None], None],
    ) -> Iterator[Fault]:
        if (name, content) not in seen:
            seen[name, content] = None
            node = self.nodes[name]
            yield from self._node(node, content, ("stores", name), (*above, name), seen)

    def _node(
        self,
        node: StoreNode,
        content: Content | None,
        path: tuple[str, ...],
        above: tuple[str, ...],
        seen: dict[tuple[str, Content | None], None],
    ) -> Iterator[Fault]:
        """The faults of one node and of what lies below it; `above` are the names passed."""
        kind = self.kinds.get(node.kind)
        if kind is None:
            yield Fault((*path, node.kind), *self.explain(node.kind, self.kinds))
            return
        path = (*path, node.kind)
        if content is not None and content not in kind.accepts:
            yield Fault(
                path,
                f"A {node.kind} store cannot hold {_CONTENT[content]}; "
                f"it holds {' or '.join(_CONTENT[c] for c in sorted(kind.accepts))}.",
            )
        try:
            spec = kind.spec.model_validate(node.options)
        except ValidationError as error:
            yield from _option_faults(error, kind.spec, path)
            return
        if isinstance(spec, RefSpec):
            yield from self._ref(spec.name, content, path, above, seen)
        for name, child in _children(spec):
            asked = kind.passes.get(name, content)
            yield from self._node(child, asked, (*path, name), above, seen)

    def _ref(
        self,
        name: str,
        content: Content | None,
        path: tuple[str, ...],
        above: tuple[str, ...],
        seen: dict[tuple[str, Content | None], None],
    ) -> Iterator[Fault]:
        if name in above:
            circle = " -> ".join((*above[above.index(name) :], name))
            yield Fault(path, f"This refers to itself: {circle}.", "Let one of them be a store.")
        elif name not in self.nodes:
            hint = _did_you_mean(name, self.nodes)
            yield Fault(path, f"There is no store called {name!r}.", hint)
        else:
            yield from self._named(name, content, above, seen)


@dataclass(slots=True, eq=False)
class StoreTrees:
    """Builds named stores with all that is below them; closes everything when it is left.

    Each name is built once, however often it is asked for or referred to. Every node counts what
    passes it, in `counters`. Parents are closed before their children, and stores before the
    channels that they use.

    Args:
        checker: the kinds and nodes to build from.
        clock: the time that stores go by.
        data_dir: where stores may keep files of their own.
        connect: opens a channel to another server.
    """

    checker: StoreChecker
    clock: Clock
    data_dir: Path
    connect: Callable[[str], Awaitable[Channel]]
    counters: list[StoreCounters] = field(default_factory=list)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _named: dict[str, Store] = field(default_factory=dict)
    _building: list[str] = field(default_factory=list)
    _channels: dict[str, Channel] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def store(self, name: str, content: Content) -> Store:
        """The store of that name, which is to hold `content`.

        Raises:
            ConfigError: if anything is wrong with it; names every fault.
        """
        faults = self.checker.faults({name: content})
        if faults:
            raise ConfigError("\n".join(map(str, faults)))
        return await self._by_name(name, content)

    async def _by_name(self, name: str, content: Content) -> Store:
        if name in self._named:
            return self._named[name]
        if name in self._building:
            circle = " -> ".join((*self._building, name))
            raise ConfigError(f"stores.{name}: this refers to itself: {circle}.")
        node = self.checker.nodes.get(name)
        if node is None:
            raise ConfigError(f"stores: there is no store called {name!r}.")
        self._building.append(name)
        try:
            self._named[name] = await self._build(node, content, f"stores.{name}")
        finally:
            self._building.remove(name)
        return self._named[name]

    async def _build(self, node: StoreNode, content: Content, path: str) -> Store:
        kind = self.checker.kinds[node.kind]
        spec = kind.spec.model_validate(node.options)
        store = await kind.build(spec, _Context(self, kind, content, path))
        if any(store is named for named in self._named.values()):
            return store  # a reference: counted and closed as what it refers to
        counters = StoreCounters(kind.name, path)
        self.counters.append(counters)
        metered = MeteredStore(store, counters)
        self._stack.push_async_callback(metered.close)
        return metered

    async def _channel(self, address: str) -> Channel:
        if address not in self._channels:
            channel = await self.connect(address)
            self._stack.push_async_callback(channel.close)
            self._channels[address] = channel
        return self._channels[address]


@dataclass(frozen=True, slots=True)
class _Context:
    """What one node's `build` may use; see `plugins.descriptors.StoreContext`."""

    trees: StoreTrees
    kind: StoreType[Any]
    content: Content
    path: str

    @property
    def clock(self) -> Clock:
        return self.trees.clock

    @property
    def data_dir(self) -> Path:
        return self.trees.data_dir

    async def child(self, name: str, node: StoreNode) -> Store:
        content = self.kind.passes.get(name, self.content)
        return await self.trees._build(node, content, f"{self.path}.{self.kind.name}.{name}")  # noqa: SLF001 - the trees' other half

    async def ref(self, name: str) -> Store:
        return await self.trees._by_name(name, self.content)  # noqa: SLF001 - the trees' other half

    async def connect(self, address: str) -> Channel:
        return await self.trees._channel(address)  # noqa: SLF001 - the trees' other half


_CONTENT: Final = {"cas": "CAS blobs", "ac": "action results", "opaque": "opaque values"}


def _children(spec: Spec) -> Iterator[tuple[str, StoreNode]]:
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        if isinstance(value, StoreNode):
            yield name, value


def _option_faults(
    error: ValidationError, spec: type[Spec], path: tuple[str, ...]
) -> Iterator[Fault]:
    for one in error.errors(include_url=False):
        where = (*path, *map(str, one["loc"]))
        if one["type"] == "missing":
            yield Fault(where[:-1], f"The option {where[-1]!r} is missing.")
        elif one["type"] == "extra_forbidden":
            hint = ""
            if len(one["loc"]) == 1:
                hint = _did_you_mean(where[-1], spec.model_fields)
            yield Fault(where, f"There is no option {where[-1]!r} here.", hint)
        else:
            message = one["msg"].removeprefix("Value error, ")
            yield Fault(where, f"{message[:1].upper()}{message[1:]}.")


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {close[0]!r}?" if close else ""
