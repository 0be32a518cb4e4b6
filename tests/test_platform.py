"""Platform properties: which worker can run what, and how the names of other servers are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from remex_core.errors import InvalidArgument
from remex_core.platform import (
    WELL_KNOWN,
    Difference,
    Kind,
    MatchRules,
    amount,
    offer,
    requirement,
)

if TYPE_CHECKING:
    from remex_core.platform import Requirement

RULES = MatchRules()


def split(pairs: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (pair.partition("=") for pair in pairs)]


def wanted(*pairs: str) -> Requirement:
    return requirement(split(pairs))


def offered(*pairs: str) -> dict[str, frozenset[str]]:
    return offer(split(pairs))


def matches(want: list[str], has: list[str], rules: MatchRules = RULES) -> bool:
    return not rules.differences(wanted(*want), offered(*has))


@pytest.mark.parametrize(
    ("want", "has"),
    [
        ([], []),
        ([], ["OSFamily=linux"]),
        (["OSFamily=linux"], ["OSFamily=linux", "ISA=x86-64"]),
        (["Pool=big"], ["Pool=small", "Pool=big"]),
        (["ISA=x86-64", "ISA=x86-avx2"], ["ISA=x86-64", "ISA=x86-avx2", "ISA=x86-sse"]),
        (["my-own=thing"], ["my-own=thing"]),
        (["my-own=thing"], ["my-own=*"]),
        (["container-image=docker://debian:12"], ["container-image=debian:12"]),
        (["container-image=debian:12"], ["container-image=docker://debian:12"]),
        (["container-image=docker://whatever"], ["container-image=*"]),
        (["cpu_count=2"], ["cpu_count=8"]),
        (["min-cores=8"], ["cpu_count=8"]),
        (["memory_kb=1000"], ["memory_kb=2000"]),
        (["resources:gpu=1"], ["resources:gpu=2"]),
        (["dockerNetwork=off", "recycle-runner=true", "EstimatedCPU=64"], []),
    ],
)
def test_worker_that_offers_it_all_matches(want: list[str], has: list[str]) -> None:
    """ACT-13: exact values, all of several values, minima by number, and names to be ignored."""
    assert matches(want, has)


@pytest.mark.parametrize(
    ("want", "has"),
    [
        (["OSFamily=linux"], []),
        (["OSFamily=Linux"], ["OSFamily=linux"]),
        (["osfamily=linux"], ["OSFamily=linux"]),
        (["ISA=x86-64", "ISA=x86-avx2"], ["ISA=x86-64"]),
        (["Pool=big"], ["Pool=small"]),
        (["cpu_count=9"], ["cpu_count=8"]),
        (["cpu_count=1"], []),
        (["resources:gpu=1"], ["resources:tpu=1"]),
        (["container-image=debian:12"], ["container-image=debian:11"]),
    ],
)
def test_worker_that_lacks_something_does_not_match(want: list[str], has: list[str]) -> None:
    """ACT-13: names and values are case-sensitive, and each wanted value must be offered."""
    assert not matches(want, has)


def test_differences_name_what_is_wanted_and_what_is_offered() -> None:
    """Each property that keeps an action from a worker is told with both sides."""
    assert (
        Difference("Pool", "big", frozenset({"small"})),
        Difference("min-cores", "16", frozenset({"8"})),
        Difference("zone", "a"),
    ) == RULES.differences(
        wanted("zone=a", "Pool=big", "min-cores=16"), offered("Pool=small", "cpu_count=8")
    )


def test_requirement_has_one_form() -> None:
    """ACT-12: order, repetition and the image's scheme do not make another requirement."""
    assert wanted("b=2", "a=1", "b=2", "container-image=x") == wanted(
        "container-image=docker://x", "a=1", "b=2"
    )


def test_ignored_properties_are_not_essential() -> None:
    """What has no say in the choice of a worker does not tell actions apart."""
    assert wanted("OSFamily=linux") == RULES.essential(
        wanted("OSFamily=linux", "dockerNetwork=off")
    )


def test_minimum_must_be_a_number() -> None:
    """EXE-17: a number that is none is the client's mistake, and is named."""
    with pytest.raises(InvalidArgument, match="cpu_count='many'"):
        RULES.essential(wanted("cpu_count=many"))


def test_demands_are_taken_from_one_resource() -> None:
    """Two names for one resource ask for it once, for the larger amount."""
    assert (("cpu_count", 4.0),) == RULES.demands(wanted("cpu_count=2", "min-cores=4"))


def test_capacity_is_the_largest_number_offered() -> None:
    """A worker that gives a minimum twice has the larger amount."""
    assert {"cpu_count": 8.0} == RULES.capacities(offered("cpu_count=4", "cpu_count=8", "Pool=a"))


def test_site_sets_kinds() -> None:
    """A site's own kinds come before the well-known ones."""
    rules = MatchRules({"Pool": Kind.IGNORE, "licences": Kind.MINIMUM, "zone": Kind.PRIORITY})
    assert matches(["Pool=big", "zone=a", "licences=2"], ["licences=3"], rules)
    assert wanted("zone=a") == rules.wishes(wanted("zone=a", "licences=2"))


def test_known_names() -> None:
    """EXE-18: the table, the configuration and every resource are known; others are not."""
    rules = MatchRules({"licences": Kind.MINIMUM}, frozenset({"zone"}))
    known = [*WELL_KNOWN, "licences", "zone", "resources:anything"]
    assert [True] * len(known) == [rules.is_known(name) for name in known]
    assert not rules.is_known("OSfamily")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("8", 8.0),
        ("0.5", 0.5),
        ("500m", 0.5),
        ("2k", 2000.0),
        ("16GiB", 16 * 2.0**30),
        ("4GB", 4e9),
        ("", None),
        ("-1", None),
        ("nan", None),
        ("1e9", None),
        ("many", None),
    ],
)
def test_amounts(text: str, number: int) -> None:
    """Amounts are plain numbers with the usual units; nothing else counts as one."""
    assert number == amount(text)
