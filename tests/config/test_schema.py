"""The JSON Schema of configurations, as editors use it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from remex_core.config.document import read
from remex_core.config.schema import json_schema
from remex_core.plugins.registry import load_registry

if TYPE_CHECKING:
    from remex_core.plugins.registry import Registry

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))


@pytest.fixture
def schema(registry: Registry) -> dict[str, Any]:
    """The schema with the tests' kinds; itself a valid one."""
    schema = json_schema(registry)
    jsonschema.Draft202012Validator.check_schema(schema)
    return schema


def _complaints(schema: dict[str, Any], text: str) -> list[str]:
    document = read(f"version: 1\n{text}", {})
    assert [] == document.faults
    validator = jsonschema.Draft202012Validator(schema)
    return [error.json_path for error in validator.iter_errors(document.data)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "stores: { a: noop, b: { noop: }, c: { memory: { max_bytes: 1GiB } }, d: { ref: c } }",
        "stores: { a: { ref: { name: b } }, b: { bucket: { bucket: x, key: y } } }",
        "stores: { a: { pair: { left: { pair: { left: noop, right: noop } }, right: noop } } }",
        "scheduler: { order: fifo, placement: { least_recently_used: {} }, lease_timeout: 5m }",
        "scheduler: { default_timeout: null, property_kinds: { gpu: minimum } }",
        "worker: { executor: { box: { user: me } }, limits: { max_memory_bytes: 1GiB } }",
        "worker: { properties: { a: 1, b: [x, 2], c: { query_cmd: d } } }",
        "instances: { x: { digest_functions: [blake3] } }",
    ],
)
def test_what_can_be_used_is_valid(schema: dict[str, Any], text: str) -> None:
    """Kinds alone and with options, units, null, and the short form of `ref`."""
    assert [] == _complaints(schema, text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("x: 1", "$"),
        ("worker: { slot: 1 }", "$.worker"),
        ("worker: { slots: many }", "$.worker.slots"),
        ("worker: { executor: { box: { usr: me } } }", "$.worker.executor"),
        ("worker: { executor: noop }", "$.worker.executor"),
        ("stores: { a: memory }", "$.stores.a"),
        ("stores: { a: { memory: { max_bytes: lots } } }", "$.stores.a"),
        ("stores: { a: { memory: {} } }", "$.stores.a"),
        ("stores: { a: { noop: {}, memory: { max_bytes: 1 } } }", "$.stores.a"),
        ("stores: { a: { pair: { left: noop, right: { nop: {} } } } }", "$.stores.a"),
        ("scheduler: { order: least_recently_used }", "$.scheduler.order"),
        ("scheduler: { property_kinds: { a: exactly } }", "$.scheduler.property_kinds.a"),
        ("instances: { a: { digest_functions: [md5] } }", "$.instances.a.digest_functions[0]"),
        ("telemetry: { log_level: loud }", "$.telemetry.log_level"),
    ],
)
def test_what_cannot_be_used_is_invalid(schema: dict[str, Any], text: str, place: str) -> None:
    """An editor marks the same that `remex config check` complains of."""
    assert [place] == _complaints(schema, text)


@pytest.mark.parametrize(
    "text",
    [
        'worker: { slots: "${N}", limits: { max_processes: "${N:-5}" } }',
        'stores: { a: { memory: { max_bytes: "${N:?how many}" } } }',
        'instances: { a: { ac_updates: "${N}", digest_functions: ["${N}"] } }',
        'telemetry: { log_level: "${N}" }\nscheduler: { property_kinds: { a: "${N}" } }',
        'worker: { executor: { box: { user: "${N}" } } }',
    ],
)
def test_a_variable_may_stand_for_any_value(registry: Registry, text: str) -> None:
    """A reference is valid where a number, a switch or one of some words is wanted."""
    validator = jsonschema.Draft202012Validator(json_schema(registry))
    document = read(f"version: 1\n{text.replace('${', '$${')}", {})
    assert [] == [error.json_path for error in validator.iter_errors(document.data)]


def test_options_and_kinds_are_described(schema: dict[str, Any]) -> None:
    """What an editor shows beside an option or a kind says what it is for."""
    slots = schema["$defs"]["WorkerConfig"]["properties"]["slots"]
    assert "as many as there are CPUs by default" in slots["description"]
    kinds = schema["$defs"]["store"]["anyOf"][0]["properties"]
    assert "a bucket with a secret" == kinds["bucket"]["description"]


def test_kinds_do_not_mix_up_their_models() -> None:
    """Several kinds have a model of the same name, such as `Protect`; each keeps its own."""
    schema = json_schema(load_registry(environment={}))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert {"store.memory.Protect", "store.filesystem.Protect"} <= set(schema["$defs"])
    assert "StoreNode" not in str(schema)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_valid(path: Path) -> None:
    """Variables and all."""
    text = path.read_text().replace("${", "$${")
    validator = jsonschema.Draft202012Validator(json_schema(load_registry(environment={})))
    assert [] == [error.json_path for error in validator.iter_errors(read(text, {}).data)]
