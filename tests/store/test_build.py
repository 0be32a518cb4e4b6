"""Store trees: what is checked before they are built, how they are built and closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from remex_core.clock import ManualClock
from remex_core.errors import ConfigError
from remex_core.plugins.descriptors import Spec, StoreChild, StoreContext, StoreNode, StoreType
from remex_core.store import ops
from remex_core.store.build import Fault, StoreChecker, StoreTrees
from remex_core.store.builtin import remex_stores
from remex_core.store.contract import Content, Store
from remex_core.store.memory import MemoryStore
from remex_core.testing.stores import StoreContract

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from remex_core.wire.transport import Channel


class PairSpec(Spec):
    first: StoreChild
    second: StoreChild


class Pair(MemoryStore):
    def __init__(self, closed: list[str], path: str, *children: Store) -> None:
        super().__init__(10_000)
        self.closed = closed
        self.path = path
        self.children = children

    async def close(self) -> None:
        self.closed.append(self.path)


class RemoteSpec(Spec):
    address: str
    name: str = ""


@pytest.fixture
def closed() -> list[str]:
    """The paths of what was closed, in order."""
    return []


@pytest.fixture
def kinds(closed: list[str]) -> Mapping[str, StoreType[Any]]:
    async def build_pair(spec: PairSpec, ctx: StoreContext) -> Store:
        children = await ctx.child("first", spec.first), await ctx.child("second", spec.second)
        return Pair(closed, ctx.path, *children)

    async def build_remote(spec: RemoteSpec, ctx: StoreContext) -> Store:
        await ctx.connect(spec.address)
        return Pair(closed, ctx.path, *([await ctx.ref(spec.name)] if spec.name else []))

    pair = StoreType(
        "pair",
        PairSpec,
        build_pair,
        "two children; action results above, blobs in the second",
        accepts=frozenset({Content.AC}),
        passes={"second": Content.CAS},
    )
    remote = StoreType("remote", RemoteSpec, build_remote, "speaks to another server")
    return {kind.name: kind for kind in (*remex_stores(), pair, remote)}


@pytest.fixture
def check(kinds: Mapping[str, StoreType[Any]]) -> Callable[..., list[Fault]]:
    """The faults of the given stores, of which `wanted` hold that content."""

    def faults(wanted: Mapping[str, Content], **stores: object) -> list[Fault]:
        nodes = {name: StoreNode.parse(store) for name, store in stores.items()}
        return list(StoreChecker(kinds, nodes).faults(wanted))

    return faults


MEMORY = {"memory": {"max_bytes": "1MiB"}}


class TestChecks:
    def test_sound_tree_has_no_faults(self, check: Callable[..., list[Fault]]) -> None:
        """References, nested children and named stores that nobody wants are all fine."""
        stores = {
            "cas": MEMORY,
            "ac": {"pair": {"first": MEMORY, "second": {"ref": "cas"}}},
            "spare": "noop",
        }
        assert [] == check({"cas": Content.CAS, "ac": Content.AC}, **stores)

    def test_unknown_kind_names_a_close_one(self, check: Callable[..., list[Fault]]) -> None:
        """A slip of the pen is answered by the kind that was meant."""
        expected = Fault(
            ("stores", "cas", "memroy"),
            "There is no kind of store called 'memroy'.",
            "Did you mean 'memory'?",
        )
        assert [expected] == check({"cas": Content.CAS}, cas={"memroy": {"max_bytes": 1}})

    def test_unknown_kind_names_those_that_are_known(
        self, check: Callable[..., list[Fault]], kinds: Mapping[str, StoreType[Any]]
    ) -> None:
        """Where nothing comes close, the installed kinds are listed."""
        (fault,) = check({"cas": Content.CAS}, cas="tape")
        assert fault.hint == f"The kinds installed here: {', '.join(sorted(kinds))}."

    @pytest.mark.parametrize(
        ("kind", "distribution"), [("filesystem", "remex-fs"), ("s3", "remex-s3")]
    )
    def test_first_party_kind_names_its_distribution(
        self, check: Callable[..., list[Fault]], kind: str, distribution: str
    ) -> None:
        """A kind that only needs a plugin comes with the command that installs it."""
        (fault,) = check({"cas": Content.CAS}, cas={kind: {}})
        assert fault.hint == f"Install the plugin that has it: pip install {distribution}"

    def test_reason_of_a_broken_plugin_is_given(self, kinds: Mapping[str, StoreType[Any]]) -> None:
        """Whoever knows why a kind is absent says so in place of the guess."""
        checker = StoreChecker(
            kinds,
            {"cas": StoreNode(kind="tape")},
            lambda kind, known: (f"{kind} is broken.", "Mend it."),
        )
        expected = Fault(("stores", "cas", "tape"), "tape is broken.", "Mend it.")
        assert (expected,) == checker.faults({"cas": Content.CAS})

    def test_wrong_options_are_all_named(self, check: Callable[..., list[Fault]]) -> None:
        """Missing, unknown and impossible options, each at its place, in one go."""
        stores = {
            "cas": {"memory": {"max_byts": 5, "protect": {"hard": "soon"}}},
            "ac": {"pair": {"first": {"a": 1, "b": 2}, "second": "noop"}},
        }
        assert [
            Fault(("stores", "cas", "memory"), "The option 'max_bytes' is missing."),
            Fault(
                ("stores", "cas", "memory", "protect", "hard"),
                "'soon' is neither a number from 0 up nor one with a unit.",
            ),
            Fault(
                ("stores", "cas", "memory", "max_byts"),
                "There is no option 'max_byts' here.",
                "Did you mean 'max_bytes'?",
            ),
            Fault(
                ("stores", "ac", "pair", "first"),
                "A store is a mapping with exactly one key, its kind.",
            ),
        ] == check({"cas": Content.CAS, "ac": Content.AC}, **stores)

    def test_kind_must_hold_what_is_asked(self, check: Callable[..., list[Fault]]) -> None:
        """What a node is asked to hold comes from its parent, through references too."""
        pair = {"pair": {"first": MEMORY, "second": MEMORY}}
        message = "A pair store cannot hold CAS blobs; it holds action results."
        assert [Fault(("stores", "cas", "pair"), message)] == check({"cas": Content.CAS}, cas=pair)
        nested = {"pair": {"first": MEMORY, "second": pair}}
        place = ("stores", "ac", "pair", "second", "pair")
        assert [Fault(place, message)] == check({"ac": Content.AC}, ac=nested)
        assert [Fault(("stores", "other", "pair"), message)] == check(
            {"ac": Content.AC, "other": Content.AC},
            ac={"pair": {"first": MEMORY, "second": {"ref": "other"}}},
            other=pair,
        )

    def test_reference_to_nothing(self, check: Callable[..., list[Fault]]) -> None:
        """A name that no store has is answered by one that comes close."""
        place = ("stores", "ac", "ref")
        assert [Fault(place, "There is no store called 'cass'.", "Did you mean 'cas'?")] == check(
            {"ac": Content.AC, "cas": Content.CAS}, cas=MEMORY, ac={"ref": "cass"}
        )

    def test_circle_of_references(self, check: Callable[..., list[Fault]]) -> None:
        """Names that lead back to themselves are a fault, and the circle is shown."""
        (fault,) = check(
            {"ac": Content.AC},
            ac={"pair": {"first": {"ref": "other"}, "second": MEMORY}},
            other={"ref": "ac"},
        )
        assert fault.path == ("stores", "other", "ref")
        assert fault.message == "This refers to itself: ac -> other -> ac."

    def test_wanted_store_must_be_there(self, check: Callable[..., list[Fault]]) -> None:
        """A store that a role needs and the configuration lacks is a fault."""
        assert [Fault(("stores",), "There is no store called 'ac'.")] == check(
            {"ac": Content.AC}, cas=MEMORY
        )

    def test_unwanted_stores_are_checked(self, check: Callable[..., list[Fault]]) -> None:
        """A store that nothing refers to may be used tomorrow, so its options are checked."""
        (fault,) = check({}, spare={"memory": {"max_bytes": -1}})
        assert fault.path == ("stores", "spare", "memory", "max_bytes")


class FakeChannel:
    """Tells when it is closed."""

    def __init__(self, closed: list[str], address: str) -> None:
        self.closed = closed
        self.address = address

    async def close(self) -> None:
        self.closed.append(self.address)


@pytest.fixture
def trees(
    kinds: Mapping[str, StoreType[Any]], closed: list[str], tmp_path: Path
) -> Callable[..., StoreTrees]:
    async def connect(address: str) -> Channel:
        return FakeChannel(closed, address)  # type: ignore[return-value] # as much as is needed

    def made(**stores: object) -> StoreTrees:
        nodes = {name: StoreNode.parse(store) for name, store in stores.items()}
        return StoreTrees(StoreChecker(kinds, nodes), ManualClock(), tmp_path, connect)

    return made


class TestBuilding:
    async def test_parents_close_before_children_and_channels_last(
        self, trees: Callable[..., StoreTrees], closed: list[str]
    ) -> None:
        """Teardown runs against the order of building; what is shared is closed once."""
        remote = {"remote": {"address": "host:1"}}
        ac = {"pair": {"first": {"pair": {"first": remote, "second": MEMORY}}, "second": remote}}
        async with trees(ac=ac) as built:
            await built.store("ac", Content.AC)
            assert [] == closed
        assert [
            "stores.ac",
            "stores.ac.pair.second",
            "stores.ac.pair.first",
            "stores.ac.pair.first.pair.first",
            "host:1",
        ] == closed

    async def test_named_stores_are_shared(self, trees: Callable[..., StoreTrees]) -> None:
        """Asking twice, or by reference, gives the same object, counted and closed once."""
        ac = {"pair": {"first": MEMORY, "second": {"ref": "cas"}}}
        async with trees(cas=MEMORY, ac=ac, alias={"ref": "cas"}) as built:
            cas = await built.store("cas", Content.CAS)
            await built.store("ac", Content.AC)
            assert cas is await built.store("cas", Content.CAS)
            assert cas is await built.store("alias", Content.CAS)
            assert ["stores.cas", "stores.ac.pair.first", "stores.ac"] == [
                counters.path for counters in built.counters
            ]

    async def test_every_node_counts(self, trees: Callable[..., StoreTrees]) -> None:
        """What passes a node is counted under its kind and path."""
        key, value = StoreContract().sample(100)
        async with trees(cas=MEMORY) as built:
            await ops.write_bytes(await built.store("cas", Content.CAS), key, value)
            (counters,) = built.counters
        assert ("memory", "stores.cas", 1, 100) == (
            counters.kind,
            counters.path,
            counters.writes,
            counters.bytes_written,
        )

    async def test_faults_keep_it_from_being_built(self, trees: Callable[..., StoreTrees]) -> None:
        """A tree with faults is refused with all of them in one message."""
        async with trees(cas={"memory": {"max_bytes": "big", "x": 1}}) as built:
            with pytest.raises(ConfigError) as refused:
                await built.store("cas", Content.CAS)
        assert refused.value.message == (
            "stores.cas.memory.max_bytes: 'big' is neither a number from 0 up nor one with a unit."
            "\nstores.cas.memory.x: There is no option 'x' here."
        )

    async def test_failing_build_closes_what_was_built(
        self, trees: Callable[..., StoreTrees], closed: list[str]
    ) -> None:
        """When a node cannot be built, its siblings that were are closed all the same."""
        ac = {
            "pair": {
                "first": {"remote": {"address": "host:1"}},
                "second": {"remote": {"address": "host:2", "name": "nowhere"}},
            }
        }
        async with trees(ac=ac) as built:
            with pytest.raises(ConfigError, match="no store called 'nowhere'"):
                await built.store("ac", Content.AC)
        assert ["host:2", "stores.ac.pair.first", "host:1"] == closed

    async def test_circle_that_a_kind_hides(self, trees: Callable[..., StoreTrees]) -> None:
        """A kind that refers to stores by options of its own cannot build a circle either."""
        async with trees(cas={"remote": {"address": "host:1", "name": "cas"}}) as built:
            with pytest.raises(ConfigError, match="cas -> cas"):
                await built.store("cas", Content.CAS)
