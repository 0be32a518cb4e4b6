"""`${VAR}`, `${VAR:-default}` and `${VAR:?why}` in the scalars of a configuration; `$$` is `$`.

Only parsed scalars are looked at, so that no value can change the structure around it. What comes
out is text: an option that wants a number or a switch reads it as one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_REFERENCE: Final = re.compile(
    r"""
    \$ (?: (?P<dollar> \$ )
         | \{ (?P<name> [A-Za-z_][A-Za-z0-9_]* ) (?: :(?P<how> [-?] ) (?P<text> [^}]* ) )? \}
         | (?P<malformed> \{ [^}]* \}? )
       )
    """,
    re.VERBOSE,
)


def interpolate(text: str, environment: Mapping[str, str]) -> str:
    """`text` with every reference replaced.

    `${VAR}` needs VAR to be set; with `:-` or `:?` an empty variable counts as one that is not. A
    default has no `}` in it, and references in it mean nothing. `$` stands for itself before
    anything but `{` and `$`.

    Raises:
        ValueError: if a variable without a default is not set, or a reference is malformed.
    """

    def value(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        if match["malformed"]:
            raise ValueError(
                f"{match[0]!r} is none of ${{VAR}}, ${{VAR:-default}} and ${{VAR:?why}}; "
                "a plain $ before { is written $$"
            )
        name, how, rest = match["name"], match["how"], match["text"]
        found = environment.get(name)
        if found or (found is not None and how is None):
            return found
        if how == "-":
            return str(rest)
        raise ValueError(
            f"the environment variable {name} is not set: {rest}"
            if rest
            else f"the environment variable {name} is not set; set it, or write a default as in "
            f"${{{name}:-default}}"
        )

    return _REFERENCE.sub(value, text)
