"""Whole store trees: fixed ones against the contract, random ones against a dict."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, run_state_machine_as_test

from remex_core.clock import SYSTEM
from remex_core.digest import DigestFunctions
from remex_core.plugins.descriptors import Spec, StoreContext, StoreNode, StoreType
from remex_core.services.bytestream import ByteStreamService
from remex_core.services.cas import CasService
from remex_core.services.instances import Instance, Instances
from remex_core.store.build import StoreChecker, StoreTrees
from remex_core.store.builtin import remex_stores
from remex_core.store.contract import BatchIO, Content, LocalFiles, Store
from remex_core.store.memory import MemoryStore
from remex_core.testing.directory_store import DirectoryStore
from remex_core.testing.server import serve_inproc
from remex_core.testing.store_machine import StoreMachine
from remex_core.testing.stores import LocalFilesContract, StoreContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from remex_core.wire.transport import Channel

MEMORY = {"memory": {"max_bytes": "256MiB"}}


class DirectorySpec(Spec):
    path: str


async def _build_directory(spec: DirectorySpec, ctx: StoreContext) -> Store:
    return DirectoryStore(ctx.data_dir / spec.path)


KINDS: Mapping[str, StoreType[Any]] = {
    kind.name: kind
    for kind in (
        *remex_stores(),
        StoreType("directory", DirectorySpec, _build_directory, "one file a blob"),
    )
}


def trees_of(stores: Mapping[str, object], data_dir: Path, channel: Channel) -> StoreTrees:
    """The trees of these stores; every address leads to `channel`."""

    async def connect(address: str) -> Channel:
        return channel

    nodes = {name: StoreNode.parse(store) for name, store in stores.items()}
    return StoreTrees(StoreChecker(KINDS, nodes), SYSTEM, data_dir, connect)


@asynccontextmanager
async def remote() -> AsyncIterator[Channel]:
    """A channel to a CAS that is another server's."""
    cas = MemoryStore(256 * 1024 * 1024)
    instances = Instances(template=Instance("", cas, cas, DigestFunctions()))
    streams = ByteStreamService(instances)
    async with serve_inproc(CasService(instances).handlers(), streams.handlers()) as served:
        yield served.channel
        await streams.close()


# ---- fixed trees


class OfTree:
    """The fixture of a contract class whose store is the tree named `cas` or `ac`."""

    stores: ClassVar[Mapping[str, object]]
    content: ClassVar[Content] = Content.CAS

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        async with (
            remote() as channel,
            trees_of(self.stores, tmp_path, channel) as trees,
        ):
            yield await trees.store(self.content, self.content)


class TestReferences(OfTree, StoreContract):
    capabilities = frozenset({BatchIO})
    stores: ClassVar = {"cas": {"ref": "other"}, "other": {"ref": "third"}, "third": MEMORY}


class TestTiersOfTiers(OfTree, StoreContract):
    capabilities = frozenset({BatchIO})
    stores: ClassVar = {
        "cas": {
            "fast_slow": {
                "fast": {"fast_slow": {"fast": "noop", "slow": MEMORY}},
                "slow": {"fast_slow": {"fast": MEMORY, "fast_direction": "get", "slow": MEMORY}},
            }
        }
    }


class TestActionCache(OfTree, StoreContract):
    content = Content.AC
    stores: ClassVar = {
        "cas": MEMORY,
        "ac": {
            "completeness_checking": {
                "cas": {"ref": "cas"},
                "backend": {"fast_slow": {"fast": MEMORY, "slow": MEMORY}},
            }
        },
    }


class TestWorker(OfTree, LocalFilesContract):
    """What a worker has by default: local files in front of another server."""

    capabilities = frozenset({BatchIO, LocalFiles})
    discards = False
    stores: ClassVar = {
        "cas": {
            "fast_slow": {
                "fast": {"directory": {"path": "store"}},
                "fast_direction": "get",
                "slow": {"grpc": {"address": "cas.example.com:8980"}},
            }
        }
    }


# ---- random trees


def nodes() -> st.SearchStrategy[object]:
    """Nodes of every shape that holds what is written to it."""
    directions = st.sampled_from(["both", "get", "update", "read_only"])

    def above(children: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
        return st.one_of(
            st.fixed_dictionaries(
                {
                    "fast": children | st.just("noop"),
                    "slow": children,
                    "fast_direction": directions,
                }
            ),
            st.fixed_dictionaries(
                {
                    "fast": children,
                    "slow": children,
                    "slow_direction": st.just("get"),
                    "fast_direction": st.sampled_from(["both", "update"]),
                }
            ),
        ).map(lambda options: {"fast_slow": options})

    leaves = st.sampled_from([MEMORY, {"ref": "shared"}])
    return st.recursive(leaves, above, max_leaves=4)


class TreeMachine(StoreMachine):
    """A history of operations on a random tree."""

    def __init__(self, kit: StoreContract, data_dir: Path) -> None:
        self.loop = asyncio.new_event_loop()
        super().__init__(MemoryStore(0), self.loop.run_until_complete, kit)
        self.data_dir = data_dir
        self.trees: StoreTrees | None = None

    @initialize(node=nodes())
    def build(self, node: object) -> None:
        stores = {"root": node, "shared": MEMORY}
        if self.kit.content is Content.AC:
            check = {"completeness_checking": {"cas": MEMORY, "backend": node}}
            stores = {"root": check, "shared": MEMORY}
        self.trees = trees_of(stores, self.data_dir, None)  # type: ignore[arg-type] # not called
        self.store = self.run(self.trees.store("root", self.kit.content))

    def teardown(self) -> None:
        if self.trees is not None:
            self.run(self.trees.__aexit__())
        self.loop.close()


class ActionResults(StoreContract):
    content = Content.AC


class OpaqueValues(StoreContract):
    content = Content.OPAQUE


@pytest.mark.parametrize("kit", [StoreContract(), ActionResults(), OpaqueValues()])
def test_random_trees_agree_with_a_dict(kit: StoreContract, tmp_path: Path) -> None:
    """However kinds are put together, the tree holds what a dict would."""
    run_state_machine_as_test(
        lambda: TreeMachine(kit, tmp_path),  # type: ignore[arg-type] # a factory will do
        settings=settings(
            max_examples=40,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def test_summaries_fit_into_a_listing() -> None:
    """A kind's summary is one line of at most 80 characters."""
    for kind in remex_stores():
        assert kind.summary
        assert "\n" not in kind.summary
        assert len(kind.summary) <= 80
