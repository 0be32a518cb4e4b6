"""What pydantic finds, as sentences at the place where somebody wrote the options."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BeforeValidator, Field, SecretStr, ValidationError

from remex_core.plugins.descriptors import Spec
from remex_core.plugins.faults import Fault, did_you_mean, spec_faults


def _refused(value: object) -> object:
    raise ValueError("this is never right")


class Inner(Spec):
    depth: int = Field(1, ge=1)
    colour: Literal["red", "green"] = "red"


class Options(Spec):
    name: str = ""
    inner: Inner = Inner()
    named: dict[str, Inner] = Field({})
    listed: tuple[Inner, ...] = ()
    either: int | Inner = 0
    secret: SecretStr = SecretStr("")
    custom: Annotated[str, BeforeValidator(_refused)] = ""


class Needy(Spec):
    path: str
    inner: Inner


def _faults(options: dict[str, Any], model: type[Spec] = Options) -> tuple[Fault, ...]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(options)
    return spec_faults(caught.value, model, options, ("at",))


@pytest.mark.parametrize(
    ("options", "path", "hint"),
    [
        ({"nam": 1}, ("nam",), "Did you mean 'name'?"),
        ({"xyzzy": 1}, ("xyzzy",), ""),
        ({"inner": {"dept": 1}}, ("inner", "dept"), "Did you mean 'depth'?"),
        ({"named": {"a": {"color": 1}}}, ("named", "a", "color"), "Did you mean 'colour'?"),
        ({"listed": [{}, {"deph": 1}]}, ("listed", "1", "deph"), "Did you mean 'depth'?"),
    ],
)
def test_an_unknown_option_gets_the_nearest_one(
    options: dict[str, Any], path: tuple[str, ...], hint: str
) -> None:
    """However deep it lies: below a section, a mapping of names, or a list."""
    message = f"There is no option {path[-1]!r} here."
    assert (Fault(("at", *path), message, hint),) == _faults(options)


def test_a_missing_option_is_told_where_it_should_stand() -> None:
    """The place is that of the section, since the option itself has none."""
    expected = (
        Fault(("at",), "The option 'path' is missing."),
        Fault(("at",), "The option 'inner' is missing."),
    )
    assert expected == _faults({}, Needy)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (
            {"inner": {"depth": 0}},
            Fault(("at", "inner", "depth"), "Input should be greater than or equal to 1, not 0."),
        ),
        (
            {"inner": {"colour": "gren"}},
            Fault(
                ("at", "inner", "colour"),
                "Input should be 'red' or 'green', not 'gren'.",
                "Did you mean 'green'?",
            ),
        ),
        ({"custom": 5}, Fault(("at", "custom"), "This is never right.")),
        ({"name": 5}, Fault(("at", "name"), "Input should be a valid string.")),
    ],
)
def test_a_wrong_value_is_told_in_a_sentence(options: dict[str, Any], fault: Fault) -> None:
    """With the value where that helps, and the nearest right one where there is a choice."""
    assert (fault,) == _faults(options)


def test_members_of_a_union_are_no_part_of_the_path() -> None:
    """Each member complains at the one place that somebody wrote."""
    assert {("at", "either")} == {fault.path for fault in _faults({"either": "x"})}


def test_secrets_are_never_repeated() -> None:
    """A value of the wrong type is not shown where it could be a secret."""
    (fault,) = _faults({"secret": 123456})
    assert "123456" not in str(fault)


def test_a_fault_is_told_once() -> None:
    """Two complaints in the same words at the same place are one fault."""
    assert 1 == len(
        [fault for fault in _faults({"either": {"nope": 1}}) if "nope" in fault.message]
    )


def test_a_fault_reads_as_one_line() -> None:
    """Path, message, hint; a fault of the whole has no path."""
    assert "a.b: It is wrong. Mend it." == str(Fault(("a", "b"), "It is wrong.", "Mend it."))
    assert "It is wrong." == str(Fault((), "It is wrong."))


def test_only_near_names_are_suggested() -> None:
    """A suggestion that is far off would lead astray."""
    assert "Did you mean 'memory'?" == did_you_mean("memry", ["noop", "memory"])
    assert "" == did_you_mean("filesystem", ["noop", "memory"])
