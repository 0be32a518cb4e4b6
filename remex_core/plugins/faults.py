"""What is wrong with options that somebody wrote: where, what, and what to do about it.

pydantic finds the faults; here they become sentences for the person who wrote the options, at the
place where that person wrote them.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, get_args

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_SHOWS_INPUT: Final = ("greater_than", "less_than", "literal_error", "enum", "int_", "float_")
"""Kinds of error whose sentence is clearer with the value; never those of secrets."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    `path` are the keys that lead to the place, such as `("stores", "cas", "memory", "max_bytes")`.
    """

    path: tuple[str, ...]
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return ": ".join(filter(None, (".".join(self.path), self.text)))

    @property
    def text(self) -> str:
        """Message and hint, in one line."""
        return f"{self.message} {self.hint}".rstrip()


def spec_faults(
    error: ValidationError,
    model: type[BaseModel],
    options: Mapping[str, Any],
    path: tuple[str, ...] = (),
) -> tuple[Fault, ...]:
    """The faults that `model` found in `options`, which stand at `path`; each once.

    A key that the model does not have gets the nearest one that it has as a hint.
    """
    return tuple(dict.fromkeys(_faults(error, model, options, path)))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question with the name that is nearest to `name`, or empty if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {near[0]!r}?" if near else ""


def _faults(
    error: ValidationError,
    model: type[BaseModel],
    options: Mapping[str, Any],
    path: tuple[str, ...],
) -> Iterator[Fault]:
    for one in error.errors(include_url=False):
        at = _written(one["loc"], options)
        where = (*path, *at)
        if one["type"] == "missing":
            yield Fault(where, f"The option {one['loc'][-1]!r} is missing.")
        elif one["type"] == "extra_forbidden":
            hint = did_you_mean(at[-1], _keys(model, at[:-1]))
            yield Fault(where, f"There is no option {at[-1]!r} here.", hint)
        else:
            yield Fault(where, *_sentence(one))


def _written(location: tuple[int | str, ...], options: Any) -> tuple[str, ...]:
    """Those parts of pydantic's location that somebody wrote.

    The others name a member of a union, or an option that is missing.
    """
    path: list[str] = []
    value = options
    for part in location:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            continue
        path.append(str(part))
    return tuple(path)


def _sentence(error: ErrorDetails) -> tuple[str, str]:
    message = error["msg"].removeprefix("Value error, ").rstrip(".")
    if message.partition(" ")[0].isalpha():
        # A word, and not a value that somebody wrote.
        message = f"{message[:1].upper()}{message[1:]}"
    given, hint = error["input"], ""
    if error["type"].startswith(_SHOWS_INPUT) and isinstance(given, (str, int, float)):
        message += f", not {given!r}"
        expected = str(error.get("ctx", {}).get("expected", ""))
        hint = did_you_mean(str(given), expected.replace("'", "").replace(" or ", ", ").split(", "))
    return f"{message}.", hint


def _keys(model: type[BaseModel], path: tuple[str, ...]) -> list[str]:
    """The options of the model that stands at `path` below `model`; empty if that is none."""
    found: Any = model
    for part in path:
        fields = found.model_fields if _is_model(found) else {}
        # Below a mapping or a list the parts are a site's own names.
        found = fields[part].annotation if part in fields else found
        found = next(filter(_is_model, (found, *get_args(found))), found)
    return list(found.model_fields) if _is_model(found) else []


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)
