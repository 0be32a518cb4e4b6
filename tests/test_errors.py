"""The error tree: every class can be told apart and travels with a code of its own."""

from __future__ import annotations

import re

import remex_core.errors as errors


def _all_classes() -> list[type[errors.RemexError]]:
    found, todo = [], [errors.RemexError]
    while todo:
        cls = todo.pop()
        found.append(cls)
        todo += cls.__subclasses__()
    return [cls for cls in found if cls.__module__ == errors.__name__]


def test_tree_in_the_docstring_is_complete() -> None:
    """The module's docstring names every public class of the tree."""
    words = set(re.findall(r"\w+", errors.__doc__ or ""))
    missing = {c.__name__ for c in _all_classes() if not c.__name__.startswith("_")} - words
    assert set() == missing


def test_slugs_are_kebab_case_and_told_apart() -> None:
    """A slug is made to be searched for: no two public classes below the root share one."""
    public = [
        c for c in _all_classes() if not c.__name__.startswith("_") and c is not errors.RemexError
    ]
    slugs = [c.slug for c in public]
    assert sorted(set(slugs)) == sorted(slugs)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", slug) for slug in slugs)


def test_codes_are_those_of_grpc() -> None:
    """GEN-03: code numbers are google.rpc.Code's."""
    from remex_core.proto import rpc_code

    assert {code.name: code.value for code in errors.Code} == dict(rpc_code.Code.items())
