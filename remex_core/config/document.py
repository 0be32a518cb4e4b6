"""One YAML document as plain data, with the place in the file of everything in it.

This is the one module that reads YAML, of version 1.2 with its core schema: `yes`, `on` and
`2026-01-01` are text, a key stands once in a mapping, and tags and merge keys mean nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from remex_core.config.interpolate import interpolate
from remex_core.plugins.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ruamel.yaml.nodes import Node

Path = tuple[str, ...]

_CORE: Final = "tag:yaml.org,2002:"
_INT: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_MAX_DIGITS: Final = 100
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: Final[Mapping[str, object]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a file; line and column count from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Document:
    """What a text says: its data, where each key and list item stands, and what is wrong already.

    Where something is wrong `data` has the rest.
    """

    data: dict[str, Any] = field(default_factory=dict)
    positions: dict[Path, Position] = field(default_factory=lambda: {(): Position(1, 1)})
    faults: list[Fault] = field(default_factory=list)

    def position(self, path: Path) -> Position:
        """Where `path` stands, or else the deepest part of it that is there."""
        found = (self.positions.get(path[:length]) for length in range(len(path), 0, -1))
        return next(filter(None, found), self.positions[()])


def read(text: str, environment: Mapping[str, str]) -> Document:
    """The document in `text`, with references to the environment replaced."""
    document = Document()
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        document.faults.append(Fault((), *_syntax(error, text)))
        mark = error.problem_mark or error.context_mark
        if mark is not None:
            document.positions[()] = _position(mark)
    except YAMLError as error:
        document.faults.append(Fault((), f"This is no YAML: {error}."))
    except RecursionError:
        document.faults.append(Fault((), "This is nested too deep to be a configuration."))
    else:
        if isinstance(root, MappingNode):
            document.data = _Reader(document, environment).mapping(root, (), ())
        else:
            hint = "It begins with `version: 1`."
            document.faults.append(Fault((), "A configuration is a mapping.", hint))
    return document


def _syntax(error: MarkedYAMLError, text: str) -> tuple[str, str]:
    problem = " ".join(filter(None, (error.context, error.problem)))
    at = error.problem_mark.line if error.problem_mark is not None else 0
    line = "".join(text.splitlines()[at : at + 1])
    hint = 'Between { } and [ ] a variable needs quotes: "${VAR}".' if "${" in line else ""
    return f"This is no YAML: {problem}.", hint


class _Reader:
    """Turns nodes into data; notes positions and faults in the document.

    `above` are the nodes that a node lies in: by an alias it could lie in itself.
    """

    def __init__(self, document: Document, environment: Mapping[str, str]) -> None:
        self._document = document
        self._environment = environment

    def mapping(self, node: MappingNode, path: Path, above: tuple[Node, ...]) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._fault(path, "A key is a plain word.")
                continue
            at = (*path, key.value)
            if key.value in data:
                first = self._document.positions[at].line
                self._document.positions[at] = _position(key.start_mark)
                self._fault(at, f"This is here twice; it stands in line {first} already.")
                continue
            self._document.positions[at] = _position(key.start_mark)
            data[key.value] = self._value(value, at, (*above, node))
        return data

    def _value(self, node: Node, path: Path, above: tuple[Node, ...]) -> Any:
        if node in above:
            self._fault(path, "This contains itself.")
            return None
        if not str(node.tag).startswith(_CORE):
            self._fault(path, f"The tag {node.tag} means nothing here.")
        if isinstance(node, MappingNode):
            return self.mapping(node, path, above)
        if isinstance(node, SequenceNode):
            inside = (*above, node)
            return [self._item(each, path, index, inside) for index, each in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        return self._scalar(node, path)

    def _item(self, node: Node, path: Path, index: int, above: tuple[Node, ...]) -> Any:
        at = (*path, str(index))
        self._document.positions[at] = _position(node.start_mark)
        return self._value(node, at, above)

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        text: str = node.value
        if not node.style and len(text) <= _MAX_DIGITS:
            if text in _WORDS:
                return _WORDS[text]
            if _INT.fullmatch(text):
                # A leading zero is no octal number in YAML 1.2.
                return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
            if _FLOAT.fullmatch(text):
                return float(text)
        try:
            return interpolate(text, self._environment)
        except ValueError as error:
            message = str(error)
            self._fault(path, f"{message[:1].upper()}{message[1:]}.")
            return text

    def _fault(self, path: Path, message: str) -> None:
        self._document.faults.append(Fault(path, message))


def _position(mark: Any) -> Position:
    return Position(mark.line + 1, mark.column + 1)
