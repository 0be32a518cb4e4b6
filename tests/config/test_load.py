"""Configurations: what they may say, and everything that is wrong with one, at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from remex_core.config.faults import InvalidConfig
from remex_core.config.load import load_data, load_file, load_text
from remex_core.config.model import QueryCommandConfig
from remex_core.errors import ConfigError
from remex_core.platform import Kind
from remex_core.plugins.descriptors import StoreNode
from remex_core.plugins.loader import Plugin, Status
from remex_core.plugins.registry import register

if TYPE_CHECKING:
    from pathlib import Path

    from remex_core.config.model import Config
    from remex_core.plugins.registry import Registry

WHOLE = """
version: 1
instances:
  "*": {}
  main/linux: { cas: fast, digest_functions: [blake3], max_blob_bytes: 1GiB, ac_updates: false }
stores:
  cas: { memory: { max_bytes: 512MiB } }
  fast: { fast_slow: { fast: { memory: { max_bytes: 1MB } }, slow: { ref: cas } } }
  ac: { completeness_checking: { cas: { ref: cas }, backend: noop } }
listen: { public: 127.0.0.1:8980, worker_api: "unix:/run/remex", http: "[::1]:0" }
scheduler:
  order: fifo
  placement: { least_recently_used: }
  max_attempts: 3
  lease_timeout: 1m
  default_timeout: null
  property_kinds: { gpu: minimum }
  known_properties: [Pool]
worker:
  scheduler: grpc://scheduler:8981
  name: ${HOST:-one}
  slots: ${SLOTS}
  properties: { Pool: large, cpu: 8, ssd: true, tools: [gcc, 12], ram: { query_cmd: free -b } }
  executor: { box: { user: nobody } }
  store: { ref: fast }
  work_dir: /scratch
  limits: { kill_grace: 500ms, max_stdio_bytes: 1MB, max_processes: 64 }
telemetry: { log_level: debug, log_format: json }
"""


def _faults(text: str, registry: Registry) -> list[str]:
    with pytest.raises(InvalidConfig) as caught:
        load_text(text, registry, "f.yaml", {})
    assert caught.value.message.splitlines() == [str(each) for each in caught.value.faults]
    return [str(each) for each in caught.value.faults]


def _loaded(text: str, registry: Registry) -> Config:
    return load_text(f"version: 1\n{text}", registry, "f.yaml", {})


def test_a_whole_configuration(registry: Registry) -> None:
    """Every option of every section, in the ways that people write them."""
    config = load_text(WHOLE, registry, "f.yaml", {"SLOTS": "4"})
    main = config.instances["main/linux"]
    assert ("fast", "ac", ("blake3",), 2**30, False) == (
        main.cas,
        main.ac,
        main.digest_functions,
        main.max_blob_bytes,
        main.ac_updates,
    )
    scheduler = config.scheduler
    assert (3, 60.0, None) == (
        scheduler.max_attempts,
        scheduler.lease_timeout,
        scheduler.default_timeout,
    )
    assert {"gpu": Kind.MINIMUM} == scheduler.property_kinds
    assert StoreNode(kind="least_recently_used") == scheduler.placement
    worker = config.worker
    assert ("one", 4, 0.5, 10**6) == (
        worker.name,
        worker.slots,
        worker.limits.kill_grace,
        worker.limits.max_stdio_bytes,
    )
    assert {
        "Pool": ["large"],
        "cpu": ["8"],
        "ssd": ["true"],
        "tools": ["gcc", "12"],
        "ram": QueryCommandConfig(query_cmd="free -b"),
    } == worker.properties
    assert StoreNode(kind="box", options={"user": "nobody"}) == worker.executor
    assert ["cas", "fast", "ac", "worker"] == list(config.store_nodes)
    assert "debug,json" == config.telemetry.log


def test_a_version_is_enough(registry: Registry) -> None:
    """Everything has a default; the default executor need not be installed where none runs."""
    config = _loaded("", registry)
    assert ["*"] == list(config.instances)
    assert {} == config.store_nodes
    assert "info,console" == config.telemetry.log


def test_every_fault_is_told_at_once_in_the_order_of_the_file(registry: Registry) -> None:
    """Unknown keys, wrong values, unset variables, unknown kinds and their options, with places."""
    text = """version: 1
stores:
  cas: { memry: {} }
  ac:
    completeness_checking:
      backend: { memory: { max_byte: 1GB } }
      cas: { ref: csa }
worker:
  slots: 0
  scheduler: ${SCHEDULER}
  executor: { box: { usr: me } }
schedler: {}
scheduler:
  order: fifi
  lease_timeout: soon
"""
    expected = [
        (
            "f.yaml:3:10: stores.cas.memry: There is no kind of store called 'memry'. "
            "Did you mean 'memory'?"
        ),
        (
            "f.yaml:6:18: stores.ac.completeness_checking.backend.memory: "
            "The option 'max_bytes' is missing."
        ),
        (
            "f.yaml:6:28: stores.ac.completeness_checking.backend.memory.max_byte: "
            "There is no option 'max_byte' here. Did you mean 'max_bytes'?"
        ),
        (
            "f.yaml:7:14: stores.ac.completeness_checking.cas.ref: "
            "There is no store called 'csa'. Did you mean 'cas'?"
        ),
        "f.yaml:9:3: worker.slots: Input should be greater than or equal to 1, not 0.",
        (
            "f.yaml:10:3: worker.scheduler: The environment variable SCHEDULER is not set; "
            "set it, or write a default as in ${SCHEDULER:-default}."
        ),
        (
            "f.yaml:11:22: worker.executor.box.usr: There is no option 'usr' here. "
            "Did you mean 'user'?"
        ),
        "f.yaml:12:1: schedler: There is no option 'schedler' here. Did you mean 'scheduler'?",
        (
            "f.yaml:14:3: scheduler.order.fifi: There is no kind of order policy called 'fifi'. "
            "Did you mean 'fifo'?"
        ),
        (
            "f.yaml:15:3: scheduler.lease_timeout: "
            "'soon' is neither a number from 0 up nor one with a unit."
        ),
    ]
    assert expected == _faults(text, registry)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stores: {}", "f.yaml:1:1: The option 'version' is missing."),
        ("version: 2", "f.yaml:1:1: version: Input should be 1, not 2."),
        ("version: [", "f.yaml:1:11: This is no YAML: "),
        ("", "f.yaml:1:1: A configuration is a mapping. It begins with `version: 1`."),
    ],
)
def test_what_is_no_configuration(text: str, expected: str, registry: Registry) -> None:
    """Without a version, or with one of another time, nothing can be made of it."""
    (fault,) = _faults(text, registry)
    assert fault.startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("worker: [a]", "worker: Input should be a valid dictionary or instance of WorkerConfig."),
        ("stores: 5", "stores: Input should be a valid dictionary."),
        ("stores: { x: { a: 1, b: 2 } }", "stores.x: A store is a mapping with exactly one key"),
        ("stores: { x: 5 }", "stores.x: A store is a mapping with exactly one key, its kind."),
        ("stores: { x: { noop: 5 } }", "stores.x: The options of 'noop' must be a mapping."),
        ("stores: { x: { noop: { y: 1 } } }", "stores.x.noop.y: There is no option 'y' here."),
        ("listen: { public: nowhere }", "listen.public: 'nowhere' is not an address."),
        ("listen: { http: 'host:99999' }", "listen.http: 'host:99999' has no port"),
        ("worker: { scheduler: 'grpcs://h:1' }", "worker.scheduler: grpcs://h:1 asks for TLS"),
        ("worker: { executor: { box: 5 } }", "worker.executor: Write the name of a kind, or"),
        ("worker: { executor: { a: {}, b: {} } }", "worker.executor: Write the name of a kind"),
        ("worker: { executor: crate }", "worker.executor.crate: There is no kind of executor"),
        ("worker: { executor: local }", "pip install remex-local-exec"),
        ("scheduler: { order: { fifo: { x: 1 } } }", "scheduler.order.fifo.x: There is no option"),
        ("scheduler: { placement: lru }", "scheduler.placement.lru: There is no kind of placement"),
        ("scheduler: { property_kinds: { g: exat } }", "Did you mean 'exact'?"),
        ("scheduler: { lease_timeout: 0 }", "scheduler.lease_timeout: Input should be greater"),
        ("worker: { properties: { a: { query: x } } }", "worker.properties.a: A property is"),
        ("worker: { properties: { a: [] } }", "worker.properties.a: A property is a value, a"),
        ("worker: { properties: { a: [[1]] } }", "worker.properties.a: A property is a value"),
        ("worker: { properties: { a: } }", "worker.properties.a: A property is a value, a list"),
        ("worker: { limits: { max_memory: 1 } }", "Did you mean 'max_memory_bytes'?"),
        ("instances: { a: { digest_functions: [md5] } }", "there are: sha256, blake3."),
        ("instances: { a: { digest_functions: [] } }", "There must be one at least."),
        ("instances: { a: { max_batch_bytes: 0 } }", "Input should be greater than 0, not 0."),
        ("instances: { a/blobs/b: {} }", "An instance name cannot have the segment 'blobs'."),
        (
            "instances: { a//b/: {} }",
            "Empty segments of an instance name do not count. Write 'a/b'",
        ),
        ("telemetry: { log_level: warn }", "Did you mean 'warning'?"),
        ("x: 1\nx: 2", "x: This is here twice; it stands in line 2 already."),
    ],
)
def test_one_fault(text: str, expected: str, registry: Registry) -> None:
    """Each mistake is told once, in words for whoever made it."""
    (fault,) = _faults(f"version: 1\n{text}\n", registry)
    assert expected in fault


def test_a_broken_entry_is_not_told_again_by_those_who_need_it(registry: Registry) -> None:
    """What refers to a store that is none, or has unset variables, is not at fault itself."""
    text = (
        "version: 1\nstores:\n  cas: 5\n  ac: { completeness_checking: { cas: { ref: cas },"
        ' backend: { bucket: { bucket: "${X:?a bucket}" } } } }\n'
        "instances: { a: { cas: cas } }\nworker: { slots: ${N:?slots}, store: { ref: cas } }\n"
    ).replace("${N:?slots}", '"${N:?slots}"')
    expected = [
        "f.yaml:3:3: stores.cas: A store is a mapping with exactly one key, its kind.",
        (
            "f.yaml:4:74: stores.ac.completeness_checking.backend.bucket.bucket: "
            "The environment variable X is not set: a bucket."
        ),
        "f.yaml:6:11: worker.slots: The environment variable N is not set: slots.",
    ]
    assert expected == _faults(text, registry)


def test_a_store_must_be_able_to_hold_what_it_is_to_hold(registry: Registry) -> None:
    """A kind for action results cannot be the blob store of an instance or of a worker."""
    checking = "{ completeness_checking: { cas: { ref: cas }, backend: noop } }"
    text = (
        f"version: 1\nstores:\n  cas: noop\n  ac: {checking}\n"
        f"instances: {{ a: {{ cas: ac }} }}\nworker: {{ store: {checking} }}\n"
    )
    first, second = _faults(text, registry)
    assert "f.yaml:4:9: stores.ac.completeness_checking: A completeness_checking store" in first
    assert "f.yaml:6:20: worker.store.completeness_checking: A completeness_checking" in second


@pytest.mark.parametrize(
    ("stores", "expected"),
    [
        ("cas: noop", "There is no store called 'ac', which is to hold the action results."),
        ("cas: noop, acc: noop", "Did you mean 'acc'?"),
        ("ac: noop", "stores: There is no store called 'cas', which is to hold the blobs."),
    ],
)
def test_blobs_and_results_need_a_store_each(
    stores: str, expected: str, registry: Registry
) -> None:
    """Where one of `cas` and `ac` is there the other is missed."""
    (fault,) = _faults(f"version: 1\nstores: {{ {stores} }}\n", registry)
    assert expected in fault


def test_a_worker_needs_no_stores_of_a_server(registry: Registry) -> None:
    """Named stores that are neither `cas` nor `ac` are fine by themselves."""
    config = _loaded("stores: { local: noop }\nworker: { store: { ref: local } }", registry)
    assert {"local", "worker"} == set(config.store_nodes)


def test_an_instance_names_stores_that_are_there(registry: Registry) -> None:
    """The fault stands at the instance, and suggests a store."""
    text = "version: 1\nstores: { cas: noop, results: noop }\ninstances: { a: { ac: result } }\n"
    expected = (
        "f.yaml:3:19: instances.a.ac: There is no store called 'result', which is to hold the "
        "action results. Did you mean 'results'?"
    )
    assert [expected] == _faults(text, registry)


def test_one_store_may_hold_blobs_and_results(registry: Registry) -> None:
    """Keys of both kinds live side by side."""
    text = (
        "stores: { all: { memory: { max_bytes: 1GB } } }\ninstances: { '*': { cas: all, ac: all } }"
    )
    assert "all" == _loaded(text, registry).instances["*"].ac


def test_the_name_of_the_workers_store_is_taken(registry: Registry) -> None:
    """Two stores of one name would be one."""
    text = "version: 1\nstores: { worker: noop }\nworker: { store: noop }\n"
    (fault,) = _faults(text, registry)
    assert fault.startswith("f.yaml:2:11: stores.worker: The name 'worker' is taken")


def test_a_kind_of_a_broken_plugin_has_the_plugins_reason(registry: Registry) -> None:
    """Who names such a kind reads why it is not there."""
    broken = Plugin("s3", "remex-s3", "1.0", Status.BROKEN, "cannot be imported: no libfoo")
    registry.plugins = register([broken]).plugins
    (fault,) = _faults("version: 1\nstores: { x: { s3: {} } }\n", registry)
    assert (
        "f.yaml:2:16: stores.x.s3: The store 's3' comes with the plugin s3 (remex-s3 1.0)" in fault
    )
    assert "cannot be imported: no libfoo." in fault


def test_parsed_data_is_checked_alike(registry: Registry) -> None:
    """What flags make of themselves has no file, and so no places."""
    assert 4 == load_data({"version": 1, "worker": {"slots": 4}}, registry).worker.slots
    with pytest.raises(InvalidConfig) as caught:
        load_data(
            {"version": 1, "worker": {"slots": 0}, "stores": {"cas": {"memry": {}}}}, registry
        )
    expected = [
        "worker.slots: Input should be greater than or equal to 1, not 0.",
        (
            "stores: There is no store called 'ac', which is to hold the action results. "
            "There are: cas."
        ),
        "stores.cas.memry: There is no kind of store called 'memry'. Did you mean 'memory'?",
    ]
    assert expected == caught.value.message.splitlines()
    assert 3 == caught.value.exit_code


def test_a_file_is_read(registry: Registry, tmp_path: Path) -> None:
    """Faults name the file as it was given; variables come from the environment given."""
    file = tmp_path / "remex.yaml"
    file.write_text('version: 1\nworker: { name: ä, slots: "${N}" }\n', encoding="utf-8")
    worker = load_file(file, registry, {"N": "2"}).worker
    assert ("ä", 2) == (worker.name, worker.slots)
    with pytest.raises(InvalidConfig, match=f"^{file}:2:20: worker.slots: The environment"):
        load_file(file, registry, {})


def test_a_file_that_cannot_be_read_is_one_sentence(registry: Registry, tmp_path: Path) -> None:
    """No file, a directory, and what is no text."""
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        load_file(tmp_path / "absent.yaml", registry)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_file(tmp_path, registry)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is no UTF-8 text"):
        load_file(tmp_path / "binary", registry)
