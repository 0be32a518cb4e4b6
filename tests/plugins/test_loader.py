"""How plugins are found, and what becomes of those that cannot be used."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from plugins_support.distributions import Distributions, store_plugin
from remex_core import __version__
from remex_core.plugins.loader import BUILT_IN, Plugin, Status, find_plugins

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def _find(name: str, environment: Mapping[str, str] | None = None) -> Plugin:
    (found,) = (each for each in find_plugins((), environment or {}) if each.name == name)
    return found


def _told(plugin: Plugin) -> tuple[Status, str]:
    return plugin.status, plugin.reason


def test_the_core_comes_first() -> None:
    """The core's own kinds are plugins like others, and found before any other."""
    core = find_plugins((), {})[: len(BUILT_IN)]
    assert {("remex-core", __version__, Status.ACTIVE)} == {
        (each.origin, each.version, each.status) for each in core
    }


def test_an_installed_plugin_is_found(distributions: Distributions) -> None:
    """A distribution's entry point is imported; name, origin and version are its own."""
    module = distributions.add("alpha", store_plugin("alpha"), version="2.3")
    found = _find("alpha")
    assert ("alpha", "2.3", Status.ACTIVE) == (found.origin, found.version, found.status)
    assert found.implementation is sys.modules[module]


def test_installed_plugins_come_by_name(distributions: Distributions) -> None:
    """The order, which decides who wins, is that of the names and not of the import path."""
    names = ["zeta", "beta", "eta"]
    for name in names:
        distributions.add(name, store_plugin(name))
    assert sorted(names) == [each.name for each in find_plugins((), {}) if each.name in names]


def test_an_entry_point_may_name_an_object(distributions: Distributions) -> None:
    """`module:object` stands for the object."""
    source = store_plugin("alpha") + "\nclass Kinds:\n    pass\nkinds = Kinds()\n"
    module = distributions.add("alpha", source, entry_points="alpha = plugin_module_alpha:kinds")
    assert _find("alpha").implementation is sys.modules[module].kinds


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "import no_such_module",
            "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("def broken(:", "cannot be imported: SyntaxError: "),
        ("raise RuntimeError('no licence')", "cannot be imported: RuntimeError: no licence"),
        ("raise SystemExit(3)", "cannot be imported: SystemExit: 3"),
        ("raise ValueError('two\\n lines')", "cannot be imported: ValueError: two lines"),
        ("assert False", "cannot be imported: AssertionError"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_broken(
    distributions: Distributions, source: str, reason: str
) -> None:
    """Whatever its import raises is its reason; the others are found all the same."""
    distributions.add("alpha", source)
    distributions.add("beta", store_plugin("beta"))
    found = _find("alpha")
    assert Status.BROKEN is found.status
    assert found.reason.startswith(reason)
    assert found.implementation is None
    assert Status.ACTIVE is _find("beta").status


def test_an_entry_point_that_leads_nowhere_is_broken(distributions: Distributions) -> None:
    """An object that is not in the module is a reason like any other."""
    distributions.add("alpha", "", entry_points="alpha = plugin_module_alpha:absent")
    found = _find("alpha")
    assert Status.BROKEN is found.status
    assert "has no attribute 'absent'" in found.reason


@pytest.mark.parametrize(
    "requirement",
    ["remex-core>=99", "remex_core (>=99)", "Remex.Core!=0.1.0,>=99 ; python_version>'3'"],
)
def test_a_plugin_for_another_core_is_not_imported(
    distributions: Distributions, requirement: str
) -> None:
    """The requirement is read from the metadata; nothing of an incompatible plugin runs."""
    module = distributions.add("alpha", "raise RuntimeError", requires=["attrs", requirement])
    found = _find("alpha")
    assert Status.INCOMPATIBLE is found.status
    assert found.reason.startswith("needs remex-core")
    assert f"and this is {__version__}" in found.reason
    assert module not in sys.modules


@pytest.mark.parametrize(
    "requirement",
    [
        f"remex-core=={__version__}",
        "remex-core",
        "remex-core>=99 ; python_version<'3'",
        "remex-core>=99 ; extra == 'testing'",
        "remex-core-extras>=99",
        "not a requirement >>> at all",
    ],
)
def test_what_asks_for_no_other_core_is_compatible(
    distributions: Distributions, requirement: str
) -> None:
    """Markers count, other distributions do not, and what nobody can read forbids nothing."""
    distributions.add("alpha", store_plugin("alpha"), requires=[requirement])
    assert Status.ACTIVE is _find("alpha").status


@pytest.mark.parametrize("names", ["alpha", " beta , alpha-dist", "Alpha_Dist"])
def test_a_plugin_can_be_disabled(distributions: Distributions, names: str) -> None:
    """REMEX_DISABLE_PLUGINS takes the names of plugins and distributions; nothing is imported."""
    distributions.add("alpha-dist", "raise RuntimeError", entry_points="alpha = nowhere")
    expected = (Status.DISABLED, "is named by REMEX_DISABLE_PLUGINS")
    assert expected == _told(_find("alpha", {"REMEX_DISABLE_PLUGINS": names}))


def test_only_allowed_plugins_are_used(distributions: Distributions) -> None:
    """REMEX_PLUGINS shuts out every installed plugin that it does not name; never the core."""
    distributions.add("alpha", store_plugin("alpha"))
    distributions.add("beta", store_plugin("beta"))
    found = find_plugins((), {"REMEX_PLUGINS": "beta,"})
    active = [each.name for each in found if each.is_usable and each.origin != "remex-core"]
    assert ["beta"] == active
    assert len(BUILT_IN) == sum(each.origin == "remex-core" and each.is_usable for each in found)
    expected = (Status.DISABLED, "is not among the plugins that REMEX_PLUGINS names")
    assert [expected] == [_told(each) for each in found if each.name == "alpha"]


def test_an_empty_allowlist_allows_nothing(distributions: Distributions) -> None:
    """REMEX_PLUGINS that is set and empty is a list without names."""
    distributions.add("alpha", store_plugin("alpha"))
    assert Status.DISABLED is _find("alpha", {"REMEX_PLUGINS": ""}).status


def test_an_allowed_plugin_that_is_absent_is_told(distributions: Distributions) -> None:
    """A name in REMEX_PLUGINS that nothing has is a broken plugin, and not ignored."""
    distributions.add("alpha", store_plugin("alpha"))
    found = _find("alhpa", {"REMEX_PLUGINS": "alhpa,alpha"})
    assert (Status.BROKEN, "is named by REMEX_PLUGINS and is not installed") == _told(found)


def test_disabling_wins_over_allowing(distributions: Distributions) -> None:
    """A name in both lists is disabled."""
    distributions.add("alpha", store_plugin("alpha"))
    environment = {"REMEX_PLUGINS": "alpha", "REMEX_DISABLE_PLUGINS": "alpha"}
    assert Status.DISABLED is _find("alpha", environment).status


def test_of_two_of_one_name_the_first_on_the_path_counts(
    distributions: Distributions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is the one which would be imported."""
    distributions.add("alpha", store_plugin("alpha"), version="1.0")
    other = tmp_path / "other"
    other.mkdir()
    Distributions(other).add("Alpha", store_plugin("alpha"), version="2.0")
    monkeypatch.syspath_prepend(str(other))
    assert [("2.0")] == [
        each.version for each in find_plugins((), {}) if each.origin.lower() == "alpha"
    ]


@pytest.mark.parametrize(
    ("entry_points", "metadata"),
    [("this is no entry point", None), (None, ""), (None, "Version: 1.0\n")],
)
def test_malformed_metadata_harms_nobody_else(
    distributions: Distributions, entry_points: str | None, metadata: str | None
) -> None:
    """A distribution whose metadata cannot be read never keeps the others from being found."""
    distributions.add("alpha", "", entry_points=entry_points, metadata=metadata)
    distributions.add("beta", store_plugin("beta"))
    assert Status.ACTIVE is _find("beta").status


def test_a_distribution_that_cannot_be_read_is_broken(distributions: Distributions) -> None:
    """Its own name stands for its plugins, whose names are unknown."""
    distributions.add("alpha", "", entry_points="this is no entry point")
    found = _find("alpha")
    assert Status.BROKEN is found.status
    assert found.reason.startswith("has metadata that cannot be read: ")


def test_entry_points_of_other_encodings_are_passed_over(distributions: Distributions) -> None:
    """Bytes that are no UTF-8 are nobody's plugin."""
    distributions.add("alpha", "")
    (points,) = distributions.path.glob("*/entry_points.txt")
    points.write_bytes(b"[remex.plugins.v1]\n\xff = x\n")
    distributions.add("beta", store_plugin("beta"))
    assert Status.ACTIVE is _find("beta").status


def test_a_file_is_a_plugin(tmp_path: Path) -> None:
    """Its hooks stand in the module; annotations of its specs are found, future ones too."""
    file = tmp_path / "my_store.py"
    source = "from __future__ import annotations\nfrom remex_core.plugin import Size, Spec\n"
    file.write_text(source + "class Options(Spec):\n    limit: Size = 0\n")
    (found,) = (each for each in find_plugins([file], {}) if each.origin == str(file))
    assert ("my_store", "", Status.ACTIVE) == (found.name, found.version, found.status)
    assert 1024 == found.implementation.Options(limit="1KiB").limit


def test_files_come_before_installed_plugins(tmp_path: Path, distributions: Distributions) -> None:
    """What somebody named on the command line wins over what happens to be installed."""
    distributions.add("alpha", store_plugin("alpha"))
    file = tmp_path / "zeta.py"
    file.write_text(store_plugin("alpha"))
    names = [each.name for each in find_plugins([file], {"REMEX_PLUGINS": "alpha"})]
    assert names.index("zeta") < names.index("alpha")
    assert len(BUILT_IN) == names.index("zeta")


def test_two_files_of_one_name_are_two_plugins(tmp_path: Path) -> None:
    """The directory tells them apart."""
    files = [tmp_path / each / "store.py" for each in ("one", "two")]
    for number, file in enumerate(files):
        file.parent.mkdir()
        file.write_text(f"NUMBER = {number}")
    found = [each for each in find_plugins(files, {}) if each.name == "store"]
    numbers = [each.implementation.NUMBER for each in found if each.origin != "remex-core"]
    assert [0, 1] == numbers


@pytest.mark.parametrize(
    ("name", "source", "reason"),
    [
        ("absent.py", None, "is no file"),
        ("broken.py", "import no_such_module", "cannot be imported: ModuleNotFoundError"),
        ("notes.txt", "", "cannot be imported: ImportError: its name does not end in .py"),
    ],
)
def test_a_file_that_cannot_be_imported_is_broken(
    tmp_path: Path, name: str, source: str | None, reason: str
) -> None:
    """As an installed plugin would be; nothing of it stays behind."""
    file = tmp_path / name
    if source is not None:
        file.write_text(source)
    before = set(sys.modules)
    (found,) = (each for each in find_plugins([file], {}) if each.origin == str(file))
    assert Status.BROKEN is found.status
    assert found.reason.startswith(reason)
    assert set() == {each for each in set(sys.modules) - before if each.startswith("remex_plugin")}
