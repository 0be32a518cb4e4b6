"""A registry with the core's kinds and a few that tests can count on."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from remex_core.plugins.descriptors import ExecutorType, Spec, StoreChild, StoreType
from remex_core.plugins.loader import find_plugins
from remex_core.plugins.registry import Registry, register


class BucketSpec(Spec):
    bucket: str
    key: SecretStr = SecretStr("")


class PairSpec(Spec):
    left: StoreChild
    right: StoreChild
    note: str = ""


class BoxSpec(Spec):
    user: str | int | None = None


async def _build(*_: Any) -> Any:
    raise NotImplementedError


@pytest.fixture
def registry() -> Registry:
    """No installed plugin; the stores `bucket` and `pair`, and the executor `box`."""
    registry = register(each for each in find_plugins((), {"REMEX_PLUGINS": ""}) if each.is_usable)
    registry.stores["bucket"] = StoreType("bucket", BucketSpec, _build, "a bucket with a secret")
    registry.stores["pair"] = StoreType("pair", PairSpec, _build, "two stores")
    registry.executors["box"] = ExecutorType("box", BoxSpec, _build, "runs in a box")
    return registry
