"""What plugins register, whose kinds are used, and what is said of those that are not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from plugins_support.distributions import store_plugin
from remex_core.errors import ConfigError, PluginError, RemexError
from remex_core.plugin import PolicyType, Spec, StoreType, hookimpl
from remex_core.plugins.faults import Fault
from remex_core.plugins.loader import Plugin, Status, find_plugins
from remex_core.plugins.registry import Registry, load_registry, register

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from plugins_support.distributions import Distributions


class Options(Spec):
    size: int = 0


async def _build(*_: Any) -> Any:
    raise NotImplementedError


def _store(name: Any, summary: str = "") -> StoreType[Any]:
    return StoreType(name, Options, _build, summary)


def _policy(name: str, axis: Any) -> PolicyType[Any]:
    return PolicyType(name, axis, Options, lambda _: None, "")  # type: ignore[arg-type, return-value]


def _plugin(name: str, stores: Callable[[], Any], policies: Callable[[], Any] = tuple) -> Plugin:
    class Hooks:
        @hookimpl
        def remex_stores(self) -> Any:
            return stores()

        @hookimpl
        def remex_scheduler_policies(self) -> Any:
            return policies()

    return Plugin(name, f"{name}-dist", "1.0", Status.ACTIVE, implementation=Hooks())


def _with(*kinds: str, name: str = "alpha") -> Plugin:
    return _plugin(name, lambda: [_store(kind) for kind in kinds])


def _unusable(name: str, origin: str, status: Status = Status.BROKEN) -> Plugin:
    return Plugin(name, origin, "1.0", status, "cannot be imported: ImportError: no libfoo")


def _raised(registry: Registry, kinds: Any, name: str, what: str) -> RemexError:
    with pytest.raises((ConfigError, PluginError)) as caught:
        registry.find(kinds, name, what)
    return caught.value


def test_every_family_of_the_core_is_registered() -> None:
    """An installation without plugins can serve a memory cache and schedule."""
    registry = load_registry(environment={"REMEX_PLUGINS": ""})
    assert {"memory", "grpc", "fast_slow", "completeness_checking", "ref", "noop"} <= set(
        registry.stores
    )
    assert "fifo" in registry.orders
    assert "least_recently_used" in registry.placements
    assert {"grpc_aio", "inproc"} <= set(registry.transports)
    assert "memory" in registry.journals
    assert registry.health_checks
    assert {"remex-core"} == {each.origin for each in registry.plugins if each.is_usable}


def test_the_preferred_transport_is_the_one_without_a_name() -> None:
    """Of several transports the one with the highest preference serves; others by their names."""
    registry = load_registry(environment={})
    assert "grpc_aio" == registry.transport().name
    assert "inproc" == registry.transport("inproc").name
    assert (
        "Did you mean 'inproc'?"
        == _raised(registry, registry.transports, "inprok", "transport").hint
    )


def test_what_is_registered_is_known_of_the_plugin() -> None:
    """`provides` names each kind with its family, in the order of the hooks."""
    plugin = _plugin(
        "alpha",
        lambda: [_store("one"), _store("two")],
        lambda: [_policy("last", "order"), _policy("near", "placement")],
    )
    registry = register([plugin])
    kinds = ("store one", "store two", "order policy last", "placement policy near")
    assert [kinds] == [each.provides for each in registry.plugins]
    assert ["last"] == list(registry.orders)
    assert ["near"] == list(registry.placements)


def test_the_later_of_two_with_one_kind_is_shadowed() -> None:
    """Both are named, and no other kind of the later one is used either."""
    registry = register([_with("shared"), _with("other", "shared", name="beta")])
    first, second = registry.plugins
    assert (Status.ACTIVE, Status.SHADOWED) == (first.status, second.status)
    expected = "brings the store shared, which alpha (alpha-dist 1.0) has already"
    assert expected == second.reason
    assert ["shared"] == list(registry.stores)
    told = _raised(registry, registry.stores, "other", "store")
    assert f"comes with the plugin beta (beta-dist 1.0), which {expected}." in told.message


def test_kinds_of_two_families_may_share_a_name() -> None:
    """A store and a policy are told apart by where they are used."""
    policies = _plugin(
        "beta", tuple, lambda: [_policy("one", "order"), _policy("one", "placement")]
    )
    registry = register([_with("one"), policies])
    assert [Status.ACTIVE] * 2 == [each.status for each in registry.plugins]


def _raising() -> Any:
    raise RuntimeError("no licence")


@pytest.mark.parametrize(
    ("stores", "reason"),
    [
        (_raising, "RuntimeError: no licence"),
        (lambda: (_raising() for _ in "x"), "RuntimeError: no licence"),
        (lambda: ["memory"], "TypeError: remex_stores yields 'memory', which is no StoreType"),
        (lambda: [_policy("x", "order")], "TypeError: remex_stores yields PolicyType("),
        (
            lambda: [_store("one"), _store("one")],
            "ValueError: remex_stores yields the store one twice",
        ),
        (lambda: [_store("Two Words")], "ValueError: the store 'Two Words' has a name that is not"),
        (lambda: [_store(None)], "TypeError: "),
        (lambda: 5, "TypeError: "),
    ],
)
def test_a_plugin_whose_hooks_fail_is_broken(stores: Callable[[], Any], reason: str) -> None:
    """It registers nothing, not even what came before the failure; the others register."""
    registry = register([_plugin("alpha", stores), _with("fine", name="beta")])
    first, second = registry.plugins
    assert (Status.BROKEN, Status.ACTIVE) == (first.status, second.status)
    assert first.reason.startswith(f"cannot be registered: {reason}")
    assert ["fine"] == list(registry.stores)


def test_a_policy_of_an_unknown_axis_is_broken() -> None:
    """A descriptor's axis is checked, as it decides where the policy is looked up."""
    registry = register([_plugin("alpha", tuple, lambda: [_policy("x", "sideways")])])
    assert "'x' is of the unknown axis 'sideways'" in registry.plugins[0].reason


def test_a_plugin_without_hooks_is_broken() -> None:
    """A forgotten @hookimpl is told, and not a plugin that quietly brings nothing."""
    hookless = Plugin("alpha", "alpha-dist", "1.0", Status.ACTIVE, implementation=object())
    (found,) = register([hookless]).plugins
    assert Status.BROKEN is found.status
    assert "is there an @hookimpl?" in found.reason


def test_an_unknown_hook_is_broken() -> None:
    """A hook of another version of the core is told by its name."""

    class Hooks:
        @hookimpl
        def remex_stroes(self) -> Any:
            return ()

    plugin = Plugin("alpha", "alpha-dist", "1.0", Status.ACTIVE, implementation=Hooks())
    assert "unknown hook 'remex_stroes'" in register([plugin]).plugins[0].reason


def test_what_is_installed_registers(distributions: Distributions) -> None:
    """From a distribution's entry point to the kind that a configuration can name."""
    distributions.add("alpha", store_plugin("alpha", "other"))
    registry = load_registry(environment={})
    assert {"alpha", "other"} <= set(registry.stores)


def test_a_kind_with_a_typo_gets_the_nearest_name() -> None:
    """A name that nobody knows is an error of the configuration."""
    registry = register([_with("memory", "filter")])
    error = _raised(registry, registry.stores, "memry", "store")
    assert isinstance(error, ConfigError)
    assert "There is no kind of store called 'memry'." == error.message
    assert "Did you mean 'memory'?" == error.hint


def test_a_kind_like_no_other_gets_a_list() -> None:
    """Where nothing is near, everything that there is is named."""
    registry = register([_with("memory", "filter")])
    assert "There are: filter, memory." == _raised(registry, registry.stores, "xyz", "store").hint


@pytest.mark.parametrize(
    ("what", "kind", "distribution"),
    [
        ("store", "filesystem", "remex-fs"),
        ("store", "s3", "remex-s3"),
        ("store", "gcs", "remex-s3"),
        ("store", "azure", "remex-s3"),
        ("executor", "local", "remex-local-exec"),
        ("executor", "docker", "remex-docker-exec"),
    ],
)
def test_a_first_party_kind_gets_its_pip_command(what: str, kind: str, distribution: str) -> None:
    """A kind that another distribution brings says which to install."""
    registry = register([])
    error = _raised(registry, {}, kind, what)
    assert isinstance(error, PluginError)
    assert f"Install the plugin that has it: pip install {distribution}" == error.hint
    assert "There are: none." == _raised(registry, {}, kind, "journal").hint


@pytest.mark.parametrize(
    ("name", "origin"),
    [
        ("fs", "remex-fs"),
        ("filesystem", "somebody-elses"),
        ("x", "Filesystem"),
        ("x", "remex_filesystem"),
    ],
)
def test_a_kind_of_a_broken_plugin_gets_its_reason(name: str, origin: str) -> None:
    """A plugin is known by the first-party table, and by its own or its distribution's name."""
    registry = register([_unusable("y", "unrelated"), _unusable(name, origin)])
    error = _raised(registry, registry.stores, "filesystem", "store")
    assert isinstance(error, PluginError)
    assert (
        f"The store 'filesystem' comes with the plugin {name} ({origin} 1.0), "
        "which cannot be imported: ImportError: no libfoo." == error.message
    )
    assert "Repair or reinstall the plugin" in error.hint


def test_broken_plugins_are_mentioned_where_one_of_them_could_have_it() -> None:
    """A kind that nothing is known of could be that of a plugin which cannot be used."""
    registry = register([_with("memory"), _unusable("beta", "beta-dist")])
    hint = _raised(registry, registry.stores, "xyz", "store").hint
    assert "`remex plugins` says why beta cannot be used." in hint


def test_options_are_validated_with_the_kind() -> None:
    """`validate` gives the kind and its spec, or says what is wrong with the options."""
    registry = register([_with("one")])
    kind, spec = registry.validate(registry.stores, "one", {"size": "5"}, "store")
    assert ("one", Options(size=5)) == (kind.name, spec)
    with pytest.raises(
        ConfigError, match=r"store has wrong options\. one\.sise: There is no option"
    ):
        registry.validate(registry.stores, "one", {"sise": 5}, "store")


def test_faults_have_their_place() -> None:
    """`faults` tells the same as `validate`, below the path where the kind stands."""
    registry = register([_with("one")])
    path = ("worker", "executor")
    assert () == registry.faults(registry.stores, "one", {}, "store", path)
    assert (
        Fault((*path, "one", "sise"), "There is no option 'sise' here.", "Did you mean 'size'?"),
    ) == registry.faults(registry.stores, "one", {"sise": 5}, "store", path)
    (fault,) = registry.faults(registry.stores, "two", {}, "store", path)
    assert (*path, "two") == fault.path


def test_a_file_that_somebody_named_must_be_usable(tmp_path: Path) -> None:
    """What was asked for by name and cannot be had is an error, with the reason."""
    file = tmp_path / "broken.py"
    file.write_text("import no_such_module")
    with pytest.raises(PluginError, match="cannot be imported: ModuleNotFoundError"):
        load_registry([file], {})
    assert any(each.origin == str(file) for each in register(find_plugins([file], {})).plugins)


def test_a_file_registers_its_kinds(tmp_path: Path) -> None:
    """A one-file plugin needs no distribution, and no switch keeps it out."""
    file = tmp_path / "alpha.py"
    file.write_text(store_plugin("alpha"))
    registry = load_registry([file], {"REMEX_PLUGINS": "", "REMEX_DISABLE_PLUGINS": "alpha"})
    assert "alpha" in registry.stores
