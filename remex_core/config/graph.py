"""The stores of a configuration as trees, for people and programs to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import SecretBytes, SecretStr

from remex_core.config.show import HIDDEN
from remex_core.plugins.descriptors import StoreNode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from remex_core.config.model import Config
    from remex_core.plugins.registry import Registry


@dataclass(frozen=True, slots=True)
class Tree:
    """One store: its kind, the simple options that were written, and the stores below it."""

    kind: str
    options: Mapping[str, str]
    children: Mapping[str, Tree]

    def lines(self, name: str) -> Iterator[str]:
        """The tree drawn, one line for each store."""
        options = "".join(f" {option}={value}" for option, value in self.options.items())
        yield f"{name}: {self.kind}{options}"
        last = len(self.children) - 1
        for number, (child, tree) in enumerate(self.children.items()):
            first, *rest = tree.lines(child)
            yield f"{'└─' if number == last else '├─'} {first}"
            for line in rest:
                yield f"{'  ' if number == last else '│ '} {line}"

    def data(self) -> dict[str, Any]:
        """The tree as data for JSON."""
        children = {name: tree.data() for name, tree in self.children.items()}
        return {"kind": self.kind, "options": dict(self.options), "children": children}


def trees(config: Config, registry: Registry) -> dict[str, Tree]:
    """The tree of each named store of a valid configuration."""
    return {name: _tree(node, registry) for name, node in config.store_nodes.items()}


def _tree(node: StoreNode, registry: Registry) -> Tree:
    spec = registry.stores[node.kind].spec.model_validate(node.options)
    options: dict[str, str] = {}
    children: dict[str, Tree] = {}
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        if isinstance(value, StoreNode):
            children[name] = _tree(value, registry)
        elif isinstance(value, (SecretStr, SecretBytes)):
            options[name] = HIDDEN
        elif isinstance(written := node.options.get(name), (str, int, float)):
            options[name] = str(written)
    return Tree(node.kind, options, children)
