"""The configurations in `examples/`: each can be loaded, and says what it promises."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from remex_core.config.faults import InvalidConfig
from remex_core.config.graph import trees
from remex_core.config.load import load_file
from remex_core.plugins.registry import Registry, load_registry

if TYPE_CHECKING:
    from remex_core.config.model import Config

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(EXAMPLES.rglob("*.yaml"))
ENVIRONMENT = {"CAS_ENDPOINT": "grpc://cas:8970", "SCHEDULER_ENDPOINT": "grpc://scheduler:8981"}


@pytest.fixture
def registry() -> Registry:
    """What is installed, as the examples need it."""
    return load_registry(environment={})


def _drawn(config: Config, registry: Registry, store: str) -> list[str]:
    return list(trees(config, registry)[store].lines(store))


def test_these_are_the_examples() -> None:
    """All in one, and each role by itself."""
    expected = [
        "basic.yaml",
        *(f"multi-worker/{role}.yaml" for role in ("cas", "scheduler", "worker")),
    ]
    assert expected == [str(path.relative_to(EXAMPLES)) for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_example_can_be_loaded(path: Path, registry: Registry) -> None:
    """With the two addresses in the environment, and nothing else."""
    assert 1 == load_file(path, registry, ENVIRONMENT).version


@pytest.mark.parametrize(
    ("role", "variables"),
    [("scheduler", {"CAS_ENDPOINT"}), ("worker", {"CAS_ENDPOINT", "SCHEDULER_ENDPOINT"})],
)
def test_a_missing_address_is_told(role: str, variables: set[str], registry: Registry) -> None:
    """Each variable that must be set is named, with what it is."""
    with pytest.raises(InvalidConfig) as caught:
        load_file(EXAMPLES / "multi-worker" / f"{role}.yaml", registry, {})
    assert variables == {each.fault.message.split()[3] for each in caught.value.faults}
    assert all("grpc://HOST:" in each.fault.message for each in caught.value.faults)


def test_basic_keeps_recent_blobs_in_memory_and_links_from_disk(registry: Registry) -> None:
    """Memory before disk for clients; the worker takes its inputs from the disk itself."""
    config = load_file(EXAMPLES / "basic.yaml", registry, {"DATA_DIR": "/data"})
    assert [
        "cas: fast_slow",
        "├─ fast: memory max_bytes=512MiB",
        "└─ slow: ref name=disk",
    ] == _drawn(config, registry, "cas")
    assert ["disk: filesystem path=/data/cas max_bytes=50GiB"] == _drawn(config, registry, "disk")
    assert ["worker: ref name=disk"] == _drawn(config, registry, "worker")
    assert "completeness_checking" == config.stores["ac"].kind


def test_a_worker_reads_near_and_writes_far(registry: Registry) -> None:
    """Inputs: local copy, else the cas, then kept; outputs go straight to the cas."""
    config = load_file(EXAMPLES / "multi-worker" / "worker.yaml", registry, ENVIRONMENT)
    assert [
        "worker: fast_slow fast_direction=get",
        "├─ fast: filesystem path=/var/lib/remex/worker max_bytes=50GiB",
        "└─ slow: grpc address=grpc://cas:8970",
    ] == _drawn(config, registry, "worker")
    assert "grpc://scheduler:8981" == config.worker.scheduler


def test_a_scheduler_forwards_to_the_cas(registry: Registry) -> None:
    """Clients need one address, since blobs and results go through."""
    config = load_file(EXAMPLES / "multi-worker" / "scheduler.yaml", registry, ENVIRONMENT)
    for store in ("cas", "ac"):
        assert [f"{store}: grpc address=grpc://cas:8970"] == _drawn(config, registry, store)
