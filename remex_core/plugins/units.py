"""Sizes and durations as people write them, for the fields of specs: `512MiB`, `10GB`, `5m`.

A field of type `Size` is an int of bytes, one of type `Duration` a float of seconds.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Final

from pydantic import BeforeValidator, WithJsonSchema

_SIZE_UNITS: Final = {
    "": 1,
    "b": 1,
    **{f"{letter}b": 1000**n for n, letter in enumerate("kmgtp", 1)},
    **{f"{letter}ib": 1024**n for n, letter in enumerate("kmgtp", 1)},
}
_DURATION_UNITS: Final = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", re.ASCII)


def parse_size(value: object) -> int:
    """Bytes, from a number or from text such as `512MiB` or `10GB`.

    Raises:
        ValueError: if it is neither, or negative.
    """
    number, unit = _split(value)
    factor = _SIZE_UNITS.get(unit.lower())
    if factor is None:
        raise ValueError(f"{value!r} is not a size; write bytes, or a unit as in 512MiB or 10GB")
    return int(number * factor)


def parse_duration(value: object) -> float:
    """Seconds, from a number or from text such as `500ms`, `30s`, `5m`, `3h` or `7d`.

    Raises:
        ValueError: if it is neither, or negative.
    """
    number, unit = _split(value)
    factor = _DURATION_UNITS.get(unit)
    if factor is None:
        raise ValueError(f"{value!r} is not a duration; write seconds, or a unit as in 30s or 5m")
    return number * factor


def _split(value: object) -> tuple[float, str]:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value >= 0 and math.isfinite(value):
            return value, ""
        raise ValueError(f"{value!r} is no finite number from 0 up")
    match = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is neither a number from 0 up nor one with a unit")
    number, unit = match.groups()
    return float(number) if "." in number else int(number), unit


def _written(unit: str) -> WithJsonSchema:
    text = {"type": "string", "pattern": rf"^\s*\d+(\.\d+)?\s*({unit})?\s*$"}
    return WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, text]})


Size = Annotated[int, BeforeValidator(parse_size), _written("([kKmMgGtTpP][iI]?)?[bB]")]
Duration = Annotated[float, BeforeValidator(parse_duration), _written("ms|s|m|h|d")]
