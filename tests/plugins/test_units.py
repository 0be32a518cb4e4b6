"""Sizes and durations as people write them."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from remex_core.plugin import Duration, Size, Spec
from remex_core.plugins.units import parse_duration, parse_size


class Options(Spec):
    size: Size = 0
    duration: Duration = 0.0


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (0, 0),
        (4096, 4096),
        ("4096", 4096),
        ("10GB", 10**10),
        ("10 gb", 10**10),
        ("512MiB", 512 * 2**20),
        ("1.5KiB", 1536),
        ("7B", 7),
        ("2TiB", 2**41),
        ("3PB", 3 * 10**15),
    ],
)
def test_sizes(written: object, size: int) -> None:
    """A size is a number of bytes, or one with a decimal or binary unit in any case."""
    assert size == parse_size(written)
    assert isinstance(parse_size(written), int)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (0, 0.0),
        (2.5, 2.5),
        ("30", 30.0),
        ("500ms", 0.5),
        ("5m", 300.0),
        ("3h", 10_800.0),
        ("7d", 604_800.0),
    ],
)
def test_durations(written: object, seconds: float) -> None:
    """A duration is a number of seconds, or one with a unit."""
    assert seconds == parse_duration(written)


@pytest.mark.parametrize(
    "written", ["", "GB", "-1", -1, "5 parsecs", "1,5GB", "5M", True, None, [], float("inf"), "٣"]
)
def test_what_is_no_size_is_refused_with_its_value(written: object) -> None:
    """The message repeats what was written."""
    with pytest.raises(ValueError, match=re.escape(repr(written))):
        parse_size(written)


@pytest.mark.parametrize(
    "written", ["", "m", "-1s", -0.5, "5M", "5 min", False, None, float("nan")]
)
def test_what_is_no_duration_is_refused_with_its_value(written: object) -> None:
    """Units of durations are case-sensitive: `M` could be months."""
    with pytest.raises(ValueError, match=re.escape(repr(written))):
        parse_duration(written)


def test_specs_take_them() -> None:
    """Fields of a spec have the parsed value, or the spec says what is wrong."""
    made = Options.model_validate({"size": "1KiB", "duration": "1m"})
    assert (1024, 60.0) == (made.size, made.duration)
    with pytest.raises(ValidationError, match="'5x' is not a size"):
        Options.model_validate({"size": "5x"})


@pytest.mark.parametrize(
    ("option", "written"),
    [
        ("size", "10GB"),
        ("size", "1.5 KiB"),
        ("size", "12"),
        ("duration", "500ms"),
        ("duration", "9"),
    ],
)
def test_the_schema_allows_what_they_take(option: str, written: str) -> None:
    """Editors that know the schema do not complain of units."""
    _, text = Options.model_json_schema()["properties"][option]["anyOf"]
    assert re.search(text["pattern"], written)
    assert not re.search(text["pattern"], f"{written}!")
