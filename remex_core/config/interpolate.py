"""`${VAR}`, `${VAR:-default}` and `${VAR:?why}` in the scalars of a configuration; `$$` is `$`.

Only parsed scalars are looked at, so that no value can change the structure around it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_REFERENCE = re.compile(
    r"\$(?:(?P<escaped>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::(?P<how>[-?])(?P<text>[^}]*))?\})"
)


def interpolate(text: str, environment: Mapping[str, str]) -> str:
    """`text` with every reference replaced. An empty variable counts as one that is not set.

    Raises:
        ValueError: if a variable without a default is not set.
    """

    def value(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        name, how, rest = match["name"], match["how"], match["text"]
        found = environment.get(name)
        if found:
            return found
        if how == "-":
            return rest
        if found is not None and how is None:
            return found
        why = f": {rest}" if rest else ""
        raise ValueError(f"the environment variable {name} is not set{why}")

    return _REFERENCE.sub(value, text)
