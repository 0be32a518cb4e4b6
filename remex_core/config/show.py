"""A configuration as it is used: every default in place, every secret hidden."""

from __future__ import annotations

import io
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, SecretBytes, SecretStr
from ruamel.yaml import YAML

from remex_core.plugins.descriptors import StoreNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from remex_core.config.model import Config
    from remex_core.plugins.registry import Registry

HIDDEN: Final = "***"


def shown(config: Config, registry: Registry) -> dict[str, Any]:
    """The configuration as data that JSON and YAML have words for."""
    families: Mapping[str, Mapping[str, Any]] = {
        "order": registry.orders,
        "placement": registry.placements,
        "executor": registry.executors,
    }

    def plain(value: Any, name: str = "") -> Any:
        """`name` is that of the option which has the value; it tells the family of a kind."""
        if isinstance(value, (SecretStr, SecretBytes)):
            return HIDDEN
        if isinstance(value, StoreNode):
            return {value.kind: plain(_spec(value, families.get(name, registry.stores)))}
        if isinstance(value, BaseModel):
            return {key: plain(getattr(value, key), key) for key in type(value).model_fields}
        if isinstance(value, dict):
            return {str(key): plain(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(each) for each in value]
        if isinstance(value, Enum):
            return value.value
        return value if value is None or isinstance(value, (str, int, float)) else str(value)

    data: dict[str, Any] = plain(config)
    return data


def to_yaml(data: Mapping[str, Any]) -> str:
    """The data as YAML."""
    yaml = YAML()
    yaml.default_flow_style = False
    text = io.StringIO()
    yaml.dump(data, text)
    return text.getvalue()


def _spec(node: StoreNode, kinds: Mapping[str, Any]) -> Any:
    """The options that a kind gets; none where it is not installed, as they could be secrets."""
    kind = kinds.get(node.kind)
    return kind.spec.model_validate(node.options) if kind is not None else {}
