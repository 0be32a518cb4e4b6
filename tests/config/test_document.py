"""YAML as plain data, with the place of everything in it."""

from __future__ import annotations

from typing import Any

import pytest

from remex_core.config.document import Document, Position, read


def _faults(document: Document) -> list[tuple[str, str]]:
    return [(".".join(fault.path), fault.message) for fault in document.faults]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("+5", 5),
        ("007", 7),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("on", "on"),
        ("No", "No"),
        ("2026-01-01", "2026-01-01"),
        ("12:30:45", "12:30:45"),
        ("127.0.0.1:8980", "127.0.0.1:8980"),
        ("10GB", "10GB"),
        ("'5'", "5"),
        ('"true"', "true"),
        ("|\n  two\n  lines\n", "two\nlines\n"),
        ("[1, a, [true]]", [1, "a", [True]]),
        ("{}", {}),
    ],
)
def test_scalars_follow_yaml_1_2(written: str, value: object) -> None:
    """Only what the core schema of YAML 1.2 calls a number, a switch or null is one."""
    document = read(f"key: {written}", {})
    assert [] == document.faults
    assert {"key": value} == document.data
    assert type(value) is type(document.data["key"])


def test_a_version_directive_changes_nothing() -> None:
    """Nobody gets the switches of YAML 1.1 back."""
    assert {"a": "yes"} == read("%YAML 1.1\n---\na: yes\n", {}).data


def test_variables_are_replaced_in_values_of_any_style() -> None:
    """Plain, quoted and block scalars alike; keys are left as they are; results are text."""
    text = "plain: ${V}\nquoted: '${V}'\nlist: [\"${V}\"]\nblock: |\n  ${V}\n$V: 1\n"
    document = read(text, {"V": "5"})
    expected = {"plain": "5", "quoted": "5", "list": ["5"], "block": "5\n", "$V": 1}
    assert expected == document.data


def test_a_variable_cannot_change_the_structure() -> None:
    """Whatever a variable holds is one scalar."""
    document = read("a: ${V}\nb: 1\n", {"V": "x\nb: 2\n- {"})
    assert {"a": "x\nb: 2\n- {", "b": 1} == document.data


def test_a_variable_that_is_not_set_is_a_fault_at_its_place() -> None:
    """All of them are told at once, and the rest is read."""
    document = read("a: ${X}\nb:\n  - 1\n  - ${Y:?say it}\n", {})
    expected = [
        (
            "a",
            (
                "The environment variable X is not set; "
                "set it, or write a default as in ${X:-default}."
            ),
        ),
        ("b.1", "The environment variable Y is not set: say it."),
    ]
    assert expected == _faults(document)
    assert Position(4, 5) == document.position(("b", "1"))


def test_everything_has_its_place() -> None:
    """Keys have that of the key, items that of the item; what is absent that of what is above."""
    document = read("a: 1\nb:\n  c: {d: [x,\n    y]}\n", {})
    places = {
        (): Position(1, 1),
        ("a",): Position(1, 1),
        ("b",): Position(2, 1),
        ("b", "c"): Position(3, 3),
        ("b", "c", "d"): Position(3, 7),
        ("b", "c", "d", "0"): Position(3, 11),
        ("b", "c", "d", "1"): Position(4, 5),
        ("b", "c", "absent", "deeper"): Position(3, 3),
        ("absent",): Position(1, 1),
    }
    assert places == {path: document.position(path) for path in places}


def test_keys_are_text() -> None:
    """A name that looks like a number or a switch is a name."""
    assert {"1": "a", "true": "b", "null": "c"} == read("1: a\ntrue: b\nnull: c\n", {}).data


@pytest.mark.parametrize(
    ("text", "fault", "data"),
    [
        (
            "a: 1\nb: 2\na: 3\n",
            ("a", "This is here twice; it stands in line 1 already."),
            {"a": 1, "b": 2},
        ),
        ("a: !secret x\n", ("a", "The tag !secret means nothing here."), {"a": "x"}),
        ("a: !thing {b: 1}\n", ("a", "The tag !thing means nothing here."), {"a": {"b": 1}}),
        ("[1]: 2\nb: 3\n", ("", "A key is a plain word."), {"b": 3}),
        ("a: &x\n  b: *x\n", ("a.b", "This contains itself."), {"a": {"b": None}}),
        ("a: &x [*x]\n", ("a.0", "This contains itself."), {"a": [None]}),
    ],
)
def test_what_yaml_allows_and_we_do_not(
    text: str, fault: tuple[str, str], data: dict[str, Any]
) -> None:
    """Each is a fault of its own, and the rest is read all the same."""
    document = read(text, {})
    assert [fault] == _faults(document)
    assert data == document.data


def test_the_second_of_two_equal_keys_is_the_fault() -> None:
    """It is told at its own place, and names the line of the first."""
    assert Position(3, 1) == read("a: 1\nb: 2\na: 3\n", {}).position(("a",))


def test_aliases_repeat_what_they_name() -> None:
    """An anchor's content stands at each of its aliases."""
    assert {"a": {"b": 1}, "c": {"b": 1}} == read("a: &x {b: 1}\nc: *x\n", {}).data


def test_merge_keys_are_keys() -> None:
    """YAML 1.2 has no merge keys, so `<<` is a name like any other."""
    assert {"<<": {"a": 1}} == read("<<: {a: 1}\n", {}).data


@pytest.mark.parametrize(
    ("text", "place", "complaint"),
    [
        ("a: b: c\n", Position(1, 5), "mapping values are not allowed here"),
        ("a:\n\t- 1\n", Position(2, 1), "cannot start any token"),
        ("a: [1,\n", Position(2, 1), "found '<stream end>'"),
        ("a: *nothing\n", Position(1, 4), "undefined alias"),
        ("a: 1\n---\nb: 2\n", Position(2, 1), "expected a single document"),
        ("a: \x01\n", Position(1, 1), "special characters are not allowed"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_place(text: str, place: Position, complaint: str) -> None:
    """A syntax error is the only fault, since nothing behind it can be trusted."""
    document = read(text, {})
    ((path, message),) = _faults(document)
    assert "" == path
    assert message.startswith("This is no YAML: ")
    assert complaint in message
    assert place == document.position(())


def test_an_unquoted_variable_between_braces_gets_a_hint() -> None:
    """`{a: ${X}}` is no YAML, and everybody writes it once."""
    (fault,) = read("a: {b: ${X}}\n", {"X": "1"}).faults
    assert 'Between { } and [ ] a variable needs quotes: "${VAR}".' == fault.hint
    (other,) = read("a: {b: c: d}\n", {}).faults
    assert "" == other.hint


@pytest.mark.parametrize("text", ["", "# nothing\n", "- 1\n", "text", "5"])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    """An empty file and a list are told how a configuration begins."""
    (fault,) = read(text, {}).faults
    assert ("A configuration is a mapping.", "It begins with `version: 1`.") == (
        fault.message,
        fault.hint,
    )


@pytest.mark.parametrize("text", ["a: " + "[" * 20_000, "a: " + "{b: " * 20_000])
def test_what_is_nested_without_end_is_refused(text: str) -> None:
    """A file that only a mistake or an attack could write is a fault like any other."""
    assert [("", "This is nested too deep to be a configuration.")] == _faults(read(text, {}))


def test_an_endless_number_is_text() -> None:
    """A number that Python does not convert is left to the option, which says what it wants."""
    assert {"a": "1" * 5000} == read("a: " + "1" * 5000, {}).data
