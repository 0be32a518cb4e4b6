"""A configuration as it is used, and its stores as trees."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from remex_core.config.graph import trees
from remex_core.config.load import load_text
from remex_core.config.show import shown, to_yaml

if TYPE_CHECKING:
    from remex_core.config.model import Config
    from remex_core.plugins.registry import Registry

TEXT = """
version: 1
stores:
  cas:
    pair:
      left: { bucket: { bucket: b, key: "${KEY}" } }
      right: { ref: other }
      note: n $$
  ac: noop
  other: { memory: { max_bytes: 1KiB, protect: { hard: 5m } } }
scheduler: { property_kinds: { gpu: minimum } }
worker: { executor: box, properties: { a: [1, 2], b: { query_cmd: c } }, work_dir: /scratch }
"""


def _config(registry: Registry) -> Config:
    return load_text(TEXT, registry, "f.yaml", {"KEY": "sesame"})


def test_defaults_are_shown_and_secrets_are_not(registry: Registry) -> None:
    """Units are resolved, every option is there, and a secret is `***` however deep it lies."""
    data = shown(_config(registry), registry)
    assert {
        "pair": {
            "left": {"bucket": {"bucket": "b", "key": "***"}},
            "right": {"ref": {"name": "other"}},
            "note": "n $",
        }
    } == data["stores"]["cas"]
    assert {"memory": {"max_bytes": 1024, "protect": {"hard": 300.0, "soft": 10_800.0}}} == data[
        "stores"
    ]["other"]
    assert {"fifo": {}} == data["scheduler"]["order"]
    assert {"gpu": "minimum"} == data["scheduler"]["property_kinds"]
    assert {"box": {"user": None}} == data["worker"]["executor"]
    assert {"a": ["1", "2"], "b": {"query_cmd": "c"}} == data["worker"]["properties"]
    assert "/scratch" == data["worker"]["work_dir"]
    assert "sesame" not in json.dumps(data)


def test_options_of_a_kind_that_is_not_installed_are_left_out(registry: Registry) -> None:
    """The default executor may be absent where no worker runs; nothing is known of its secrets."""
    config = load_text("version: 1\n", registry, "f.yaml", {})
    assert {"local": {}} == shown(config, registry)["worker"]["executor"]


def test_what_is_shown_can_be_loaded_again(registry: Registry) -> None:
    """As YAML it is a configuration that means the same, but for the secrets and the dollars."""
    text = TEXT.replace("n $$", "n")
    config = load_text(text, registry, "f.yaml", {"KEY": "***"})
    again = load_text(to_yaml(shown(config, registry)), registry, "f.yaml", {})
    assert shown(config, registry) == shown(again, registry)


def test_stores_are_drawn_as_trees(registry: Registry) -> None:
    """Each store with its simple options as they were written, its children below it."""
    drawn = [
        line
        for name, tree in trees(_config(registry), registry).items()
        for line in tree.lines(name)
    ]
    assert [
        "cas: pair note=n $",
        "├─ left: bucket bucket=b key=***",
        "└─ right: ref name=other",
        "ac: noop",
        "other: memory max_bytes=1KiB",
    ] == drawn


def test_deep_trees_keep_their_lines_apart(registry: Registry) -> None:
    """The line of a parent goes on beside its children."""
    pair = "{ pair: { left: noop, right: noop } }"
    text = f"version: 1\nstores:\n  x: {{ pair: {{ left: {pair}, right: noop }} }}\n"
    tree = trees(load_text(text, registry, "f.yaml", {}), registry)["x"]
    assert [
        "x: pair",
        "├─ left: pair",
        "│  ├─ left: noop",
        "│  └─ right: noop",
        "└─ right: noop",
    ] == list(tree.lines("x"))


def test_trees_are_data(registry: Registry) -> None:
    """For programs: kind, options and children of each store."""
    tree = trees(_config(registry), registry)["cas"]
    right = {"kind": "ref", "options": {"name": "other"}, "children": {}}
    assert right == tree.data()["children"]["right"]
    assert "pair" == tree.data()["kind"]
