"""Reads a configuration and checks all of it at once, against the plugins that are installed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from remex_core.config.check import kind_faults, store_faults
from remex_core.config.document import Document, read
from remex_core.config.faults import InvalidConfig, PlacedFault
from remex_core.config.model import Config
from remex_core.errors import ConfigError
from remex_core.plugins.faults import Fault, spec_faults

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from remex_core.plugins.registry import Registry

_STAND_IN: Final = "noop"
"""The kind in whose place an entry is checked that is no store: it may hold anything."""


def load_file(
    path: Path, registry: Registry, environment: Mapping[str, str] = os.environ
) -> Config:
    """The configuration in a file.

    Raises:
        ConfigError: if it cannot be read.
        InvalidConfig: if anything in it is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"The configuration {path} cannot be read: {error.strerror or error}.",
            hint="Name one that exists, or write one with: remex config init",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"The configuration {path} is no UTF-8 text: {error}.") from error
    return load_text(text, registry, str(path), environment)


def load_text(
    text: str, registry: Registry, name: str, environment: Mapping[str, str] = os.environ
) -> Config:
    """The configuration in a text; `name` is what its faults call the file.

    Raises:
        InvalidConfig: if anything in it is wrong.
    """
    document = read(text, environment)
    config, faults = _checked(document, registry)
    if faults:
        faults.sort(key=lambda each: document.position(each.path))
        placed = [PlacedFault(each, name, document.position(each.path)) for each in faults]
        raise InvalidConfig(placed)
    return config


def load_data(data: Mapping[str, Any], registry: Registry) -> Config:
    """The configuration in parsed data, as flags make it.

    Raises:
        InvalidConfig: if anything in it is wrong.
    """
    config, faults = _checked(Document(dict(data)), registry)
    if faults:
        raise InvalidConfig([PlacedFault(each, "", None) for each in faults])
    return config


def _checked(document: Document, registry: Registry) -> tuple[Config, list[Fault]]:
    """The configuration with defaults in place of what is wrong, and all that is wrong."""
    known = {fault.path for fault in document.faults}
    if () in known:
        return Config(version=1), document.faults
    config, faults = _validated(document.data)
    faults += [*kind_faults(config, registry), *store_faults(config, registry)]
    # What stands where a variable could not be replaced is no second fault.
    return config, [*document.faults, *(each for each in faults if each.path not in known)]


def _validated(data: dict[str, Any]) -> tuple[Config, list[Fault]]:
    try:
        return Config.model_validate(data), []
    except ValidationError as error:
        faults = spec_faults(error, Config, data)
    return Config.model_validate(_without(data, faults)), list(faults)


def _without(data: Mapping[str, Any], faults: Iterable[Fault]) -> dict[str, Any]:
    """The data without the sections and options that have faults, so that the rest is checked."""
    rest = {key: dict(each) if isinstance(each, dict) else each for key, each in data.items()}
    for section, *below in filter(None, (fault.path for fault in faults)):
        if not below:
            rest.pop(section, None)
        elif section == "stores":
            rest[section][below[0]] = _STAND_IN
        else:
            rest.get(section, {}).pop(below[0], None)
    return {**rest, "version": 1}
