"""Reads a configuration: YAML 1.2, variables, the model, every store; all faults at once."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from remex_core.config.interpolate import interpolate
from remex_core.config.model import Config
from remex_core.errors import ConfigError, RemexError
from remex_core.store.build import StoreChecker
from remex_core.store.contract import Content

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from remex_core.plugins.registry import Registry

_Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: where in the configuration, and in the file if there is one."""

    path: str
    message: str
    position: str = ""

    def __str__(self) -> str:
        place = f"{self.position}: " if self.position else ""
        return f"{place}{self.path}: {self.message}" if self.path else f"{place}{self.message}"


def load_file(
    path: Path, registry: Registry, environment: Mapping[str, str] = os.environ
) -> Config:
    """The configuration in a file.

    Raises:
        ConfigError: if it cannot be read, or anything in it is wrong; names every fault.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The configuration {path} cannot be read: {error}.",
            hint="Write one with: remex config init",
        ) from error
    return load_text(text, registry, str(path), environment)


def load_text(
    text: str, registry: Registry, name: str, environment: Mapping[str, str] = os.environ
) -> Config:
    """The configuration in a text; `name` is what its faults call the file."""
    yaml = YAML(typ="rt")
    yaml.version = (1, 2)
    try:
        tree = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark is not None else name
        raise ConfigError(f"{where}: this is no YAML: {error.problem}.") from error
    if not isinstance(tree, CommentedMap):
        raise ConfigError(f"{name}: a configuration is a mapping that begins with `version: 1`.")
    faults: list[Fault] = []
    data = _plain(tree, (), environment, faults, name, tree)
    return _validated(data, registry, faults, lambda path: _position(name, tree, path))


def load_data(data: Mapping[str, Any], registry: Registry) -> Config:
    """The configuration in parsed data, as flags make it.

    Raises:
        ConfigError: if anything in it is wrong.
    """
    return _validated(data, registry, [], lambda _: "")


def _validated(
    data: Mapping[str, Any], registry: Registry, faults: list[Fault], position: Any
) -> Config:
    config = None
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        for each in error.errors():
            path = _real_path(each["loc"], data)
            faults.append(Fault(_dotted(path), _message(each), position(path)))
    if config is not None:
        faults += _store_faults(config, registry, position)
        faults += _kind_faults(config, registry, position)
    if faults:
        ordered = "\n".join(str(fault) for fault in faults)
        raise ConfigError(ordered, hint=f"{len(faults)} fault(s). Nothing was started.")
    assert config is not None
    return config


def _store_faults(config: Config, registry: Registry, position: Any) -> list[Fault]:
    nodes = config.store_nodes
    wanted: dict[str, Content] = {}
    faults = []
    for name, instance in config.instances.items():
        for field, content in (("cas", Content.CAS), ("ac", Content.AC)):
            store = getattr(instance, field)
            if store in nodes:
                wanted[store] = content
            elif nodes and (name != "*" or config.stores):
                where = ("instances", name, field)
                message = f"there is no store {store!r}{_near(store, nodes)}"
                faults.append(Fault(_dotted(where), message, position(where)))
    if "worker" in nodes:
        wanted["worker"] = Content.CAS
    for fault in StoreChecker(registry.stores, nodes).faults(wanted):
        path: tuple[str, ...] = fault.path
        if path[:2] == ("stores", "worker") and "worker" not in config.stores:
            path = ("worker", "store", *path[2:])
        text = f"{fault.message} {fault.hint}".strip()
        faults.append(Fault(_dotted(path), text, position(path)))
    return faults


def _kind_faults(config: Config, registry: Registry, position: Any) -> list[Fault]:
    faults = []
    for path, kinds, node, what in (
        (("scheduler", "order"), registry.orders, config.scheduler.order, "order policy"),
        (
            ("scheduler", "placement"),
            registry.placements,
            config.scheduler.placement,
            "placement policy",
        ),
    ):
        try:
            registry.validate(kinds, node.kind, node.options, what)
        except RemexError as error:
            faults.append(
                Fault(_dotted(path), f"{error.message} {error.hint}".strip(), position(path))
            )
    return faults


def _plain(
    value: Any,
    path: _Path,
    environment: Mapping[str, str],
    faults: list[Fault],
    name: str,
    tree: CommentedMap,
) -> Any:
    """The value without ruamel's types and with variables replaced."""
    if isinstance(value, CommentedMap):
        return {
            str(key): _plain(each, (*path, str(key)), environment, faults, name, tree)
            for key, each in value.items()
        }
    if isinstance(value, CommentedSeq):
        return [
            _plain(each, (*path, index), environment, faults, name, tree)
            for index, each in enumerate(value)
        ]
    if isinstance(value, str):
        try:
            return interpolate(str(value), environment)
        except ValueError as error:
            faults.append(Fault(_dotted(path), str(error), _position(name, tree, path)))
    return value


def _position(name: str, tree: CommentedMap, path: _Path) -> str:
    """`file:line:column` of the deepest part of `path` that stands in the file."""
    node: Any = tree
    line, column = 0, 0
    for part in path:
        if isinstance(node, CommentedMap) and part in node:
            line, column = node.lc.key(part)
        elif isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
            line, column = node.lc.item(part)
        else:
            break
        node = node[part]
    return f"{name}:{line + 1}:{column + 1}"


def _real_path(location: Iterable[str | int], data: Any) -> _Path:
    """pydantic's location without the parts that name a type in a union instead of a key."""
    path: list[str | int] = []
    node = data
    for part in location:
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            if isinstance(node, dict):
                path.append(part)
            break
        path.append(part)
    return tuple(path)


def _message(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return f"there is no such option{_near(str(error['loc'][-1]), _fields(error['loc'][:-1]))}"
    if error["type"] == "missing":
        return "this must be given"
    return str(error["msg"]).removeprefix("Value error, ")


def _fields(location: Iterable[str | int]) -> list[str]:
    """The options of the section at a location."""
    model: Any = Config
    for part in location:
        field = model.model_fields.get(part) if _is_model(model) else None
        annotation = field.annotation if field is not None else model
        models = [each for each in (annotation, *get_args(annotation)) if _is_model(each)]
        if not models:
            return []
        model = models[0]
    return list(model.model_fields) if _is_model(model) else []


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _dotted(path: Iterable[str | int]) -> str:
    return ".".join(map(str, path))
