"""What a configuration that is well-formed may still get wrong: names, kinds and their options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from remex_core.config.model import ANY_INSTANCE, WORKER_STORE
from remex_core.plugins.faults import Fault, did_you_mean
from remex_core.resource_names import KEYWORDS
from remex_core.store.build import StoreChecker
from remex_core.store.contract import Content

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from remex_core.config.model import Config
    from remex_core.plugins.registry import Registry

_HOLDS: Final = {"cas": "the blobs", "ac": "the action results"}


def kind_faults(config: Config, registry: Registry) -> Iterator[Fault]:
    """The faults of policies and executor.

    The default executor comes by a plugin that only workers need, so it is not missed elsewhere.
    """
    scheduler, worker = config.scheduler, config.worker
    for option, kinds, node in (
        ("order", registry.orders, scheduler.order),
        ("placement", registry.placements, scheduler.placement),
    ):
        path = ("scheduler", option)
        yield from registry.faults(kinds, node.kind, node.options, f"{option} policy", path)
    if "executor" in worker.model_fields_set:
        kind, options = worker.executor.kind, worker.executor.options
        path = ("worker", "executor")
        yield from registry.faults(registry.executors, kind, options, "executor", path)


def store_faults(config: Config, registry: Registry) -> Iterator[Fault]:
    """The faults of stores, and of the instances that name them."""
    for name in config.instances:
        yield from _name_faults(name)
    yield from _missing_stores(config)
    if config.worker.store is not None and WORKER_STORE in config.stores:
        message = f"The name {WORKER_STORE!r} is taken by the store of worker.store."
        yield Fault(("stores", WORKER_STORE), message, "Call this one otherwise.")
        return
    nodes = config.store_nodes
    checker = StoreChecker(registry.stores, nodes, registry.explain_store)
    found = [
        fault
        for wanted in _wanted(config)
        for fault in checker.faults({name: each for name, each in wanted.items() if name in nodes})
    ]
    for fault in dict.fromkeys(found):
        path = fault.path
        if config.worker.store is not None and path[:2] == ("stores", WORKER_STORE):
            path = ("worker", "store", *path[2:])
        yield Fault(path, fault.message, fault.hint)


def _wanted(config: Config) -> tuple[Mapping[str, Content], ...]:
    """What each store is to hold; one of them may have to hold either."""
    instances = config.instances.values()
    blobs = [each.cas for each in instances]
    if config.worker.store is not None:
        blobs.append(WORKER_STORE)
    results = [each.ac for each in instances]
    return dict.fromkeys(blobs, Content.CAS), dict.fromkeys(results, Content.AC)


def _missing_stores(config: Config) -> Iterator[Fault]:
    """Names of stores that there are not.

    Without instances of its own a configuration must have both of `cas` and `ac` or, as that of
    a worker, neither.
    """
    stores = config.stores
    if "instances" not in config.model_fields_set:
        for one, other in (("cas", "ac"), ("ac", "cas")):
            if one in stores and other not in stores:
                yield Fault(("stores",), *_no_store(other, other, stores))
    elif stores:
        for name, instance in config.instances.items():
            for option, store in (("cas", instance.cas), ("ac", instance.ac)):
                if store not in stores:
                    yield Fault(("instances", name, option), *_no_store(store, option, stores))


def _no_store(name: str, role: str, stores: Mapping[str, object]) -> tuple[str, str]:
    hint = did_you_mean(name, stores) or f"There are: {', '.join(stores)}."
    return f"There is no store called {name!r}, which is to hold {_HOLDS[role]}.", hint


def _name_faults(name: str) -> Iterator[Fault]:
    segments = name.split("/")
    path = ("instances", name)
    for reserved in KEYWORDS.intersection(segments):
        message = f"An instance name cannot have the segment {reserved!r}."
        yield Fault(path, message, "Resource names reserve it.")
    if name not in {"", ANY_INSTANCE} and "" in segments:
        plain = "/".join(filter(None, segments))
        yield Fault(path, "Empty segments of an instance name do not count.", f"Write {plain!r}.")
