"""The JSON Schema of a remex.yaml, from the kinds that are installed, for editors to complete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from remex_core.config.model import Config

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel

    from remex_core.plugins.registry import Registry

Schema = dict[str, Any]

_VARIABLE: Final = {"$ref": "#/$defs/variable"}
_NOT_TEXT: Final = ("integer", "number", "boolean")


def json_schema(registry: Registry) -> Schema:
    """The schema of a configuration with the kinds of `registry`; its draft is 2020-12."""
    defs: Schema = {}
    config = _model(Config, "", defs)
    scheduler, worker = (defs[name]["properties"] for name in ("SchedulerConfig", "WorkerConfig"))
    for options, option, family, kinds in (
        (scheduler, "order", "order_policy", registry.orders),
        (scheduler, "placement", "placement_policy", registry.placements),
        (worker, "executor", "executor", registry.executors),
    ):
        description = options[option].get("description", "")
        options[option] = {"$ref": f"#/$defs/{family}", "description": description}
        defs[family] = _one_of(kinds, family, defs)
    defs["store"] = _one_of(registry.stores, "store", defs)
    _allow_name_of_ref(defs["store"])
    _allow_variables(config)
    defs = {name: _with_variable(each) for name, each in defs.items()}
    defs["variable"] = {
        "type": "string",
        "pattern": r"\$\{[^}]+\}",
        "description": "${VAR}, ${VAR:-default} or ${VAR:?why}",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **config,
        "title": "remex.yaml",
        "$defs": defs,
    }


def _model(model: type[BaseModel], prefix: str, defs: Schema) -> Schema:
    """A model's schema; what it refers to goes to `defs`, with `prefix` before the names."""
    schema = model.model_json_schema(ref_template=f"#/$defs/{prefix}{{model}}")
    for name, each in schema.pop("$defs", {}).items():
        if name != "StoreNode":
            defs[prefix + name] = each
            _refer_to_stores(each, prefix)
    _refer_to_stores(schema, prefix)
    return schema


def _refer_to_stores(schema: Any, prefix: str) -> None:
    """What refers to the plain node, which says nothing, then refers to the kinds of store."""
    if isinstance(schema, dict):
        if schema.get("$ref") == f"#/$defs/{prefix}StoreNode":
            schema["$ref"] = "#/$defs/store"
        for each in schema.values():
            _refer_to_stores(each, prefix)
    elif isinstance(schema, list):
        for each in schema:
            _refer_to_stores(each, prefix)


def _one_of(kinds: Mapping[str, Any], family: str, defs: Schema) -> Schema:
    """A mapping with one key, a kind; or a kind alone, where it can do without options."""
    properties: Schema = {}
    alone = []
    for name, kind in sorted(kinds.items()):
        options = _model(kind.spec, f"{family}.{name}.", defs)
        options["description"] = kind.summary
        properties[name] = options
        if not options.get("required"):
            alone.append(name)
            properties[name] = {"anyOf": [options, {"type": "null"}], "description": kind.summary}
    nodes: list[Schema] = [
        {
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        }
    ]
    return {"anyOf": [*nodes, {"enum": alone}] if alone else nodes}


def _allow_name_of_ref(store: Schema) -> None:
    """`{ref: cas}` is short for `{ref: {name: cas}}`."""
    properties = store["anyOf"][0]["properties"]
    if "ref" in properties:
        properties["ref"] = {"anyOf": [{"type": "string"}, properties["ref"]]}


def _allow_variables(schema: Schema) -> None:
    """Lets a variable stand wherever something else than any text is wanted."""
    for key in ("properties", "patternProperties"):
        for name, each in schema.get(key, {}).items():
            schema[key][name] = _with_variable(each)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = _with_variable(schema[key])
    for each in schema.get("anyOf", ()):
        _allow_variables(each)


def _with_variable(schema: Schema) -> Schema:
    _allow_variables(schema)
    if not any("enum" in each or each.get("type") in _NOT_TEXT for each in _choices(schema)):
        return schema
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], _VARIABLE]}
    outside: Schema = {
        key: schema[key] for key in ("title", "description", "default") if key in schema
    }
    inside = {key: each for key, each in schema.items() if key not in outside}
    return {**outside, "anyOf": [inside, _VARIABLE]}


def _choices(schema: Schema) -> Iterator[Schema]:
    """The schema and, where it is a choice, every schema that may be chosen."""
    yield schema
    for each in schema.get("anyOf", ()):
        yield from _choices(each)
