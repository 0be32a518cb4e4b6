"""Variables in the scalars of a configuration."""

from __future__ import annotations

import re

import pytest

from remex_core.config.interpolate import interpolate

ENVIRONMENT = {"NAME": "value", "EMPTY": "", "_X1": "x", "NESTED": "${NAME} and $$"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        ("${NAME}", "value"),
        ("a${NAME}b${_X1}c", "avaluebxc"),
        ("${EMPTY}", ""),
        ("${NAME:-default}", "value"),
        ("${EMPTY:-default}", "default"),
        ("${ABSENT:-default}", "default"),
        ("${ABSENT:-}", ""),
        ("${ABSENT:-grpc://host:1/?a=b c}", "grpc://host:1/?a=b c"),
        ("${ABSENT:-$NAME}", "$NAME"),
        ("${NAME:?tell me}", "value"),
        ("$$", "$"),
        ("$${NAME}", "${NAME}"),
        ("$$$$", "$$"),
        ("$$${NAME}", "$value"),
        ("$NAME costs 5$", "$NAME costs 5$"),
        ("}{", "}{"),
    ],
)
def test_references_are_replaced(text: str, expected: str) -> None:
    """The three forms, `$$` for a dollar, and every other dollar as it is."""
    assert expected == interpolate(text, ENVIRONMENT)


def test_what_a_variable_holds_is_not_looked_at_again() -> None:
    """A value is data: references in it are not followed."""
    assert "${NAME} and $$" == interpolate("${NESTED}", ENVIRONMENT)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("${ABSENT}", "the environment variable ABSENT is not set; set it, or write a default as"),
        ("${ABSENT:?where is it}", "the environment variable ABSENT is not set: where is it"),
        ("${EMPTY:?}", "the environment variable EMPTY is not set"),
        ("${", "'${' is none of"),
        ("${NAME", "'${NAME' is none of"),
        ("${}", "'${}' is none of"),
        ("${1X}", "'${1X}' is none of"),
        ("${NAME-default}", "'${NAME-default}' is none of"),
        ("${NAME:+other}", "'${NAME:+other}' is none of"),
        ("${ NAME }", "'${ NAME }' is none of"),
    ],
)
def test_what_cannot_be_replaced_is_told(text: str, complaint: str) -> None:
    """An unset variable and a malformed reference are errors, never an empty text."""
    with pytest.raises(ValueError, match=re.escape(complaint)):
        interpolate(text, ENVIRONMENT)
