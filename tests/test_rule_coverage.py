"""Every REAPI rule that this version promises occurs in a test, by its id.

The numbers are those of the rules that must hold, that clients depend on, or that were decided.
Left out are compression (CAS-16, BSR-06, BSR-07, BSR-12, BSQ-06), the digest functions that are
not offered (DIG-11, DIG-12) and who may call (GEN-12, AC-12): they come with their features.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

RULES = {
    "GEN": "01 02 03 04 05 06 07 08 09 11 13 14 15 16",
    "INS": "01 02 03 04 05 06 07 08",
    "DIG": "01 02 03 04 05 06 07 08 09 10 13 14 15 16",
    "CAS": "01 02 03 04 06 07 08 10 11 12 13 14 15 18 19 20 21 22 23 24 25 26 27 29",
    "TREE": "01 02 03 04 05 06 07 08",
    "BSR": "01 02 03 04 05 08 09 10 11 13 14",
    "BSW": "01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 18 19 20 21 22 23",
    "BSQ": "01 02 03 04 05",
    "AC": "01 04 07 08 09 10 11 13 14 15 16 17 18",
    "EXE": "01 02 03 04 05 06 07 08 09 10 12 13 14 15 16 17 19 20 21 22 23 24 25 26 27 29 32 34 "
    "35 36 37",
    "OP": "01 02 03 04 05 06 08 09 10",
    "ACT": "01 02 03 04 05 06 07 08 09 10 11 12 14 16 17 18",
    "DIR": "01 02 03 04 05 06 07 08 09 10 11",
    "OUT": "01 02 03 04 05 06 07 08 09 10 11 12 13 15 16 17 18 19 20 21 22 23 24 25 26 27 28",
    "ENV": "01 02 03 04 05 06",
    "RMD": "01 02",
    "MET": "01 02 04",
    "CAP": "01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17",
}

ROOT = Path(__file__).parent.parent
_ID = re.compile(r"\b([A-Z]+-\d\d)\b")


@pytest.fixture(scope="module")
def tested() -> frozenset[str]:
    """Every rule id that stands in a test module, or in a contract kit that such modules run."""
    tests = [
        *ROOT.glob("tests/**/test_*.py"),
        *ROOT.glob("plugins/*/tests/**/test_*.py"),
        *ROOT.glob("remex_core/testing/*.py"),
    ]
    return frozenset(
        rule
        for path in tests
        if path.name != Path(__file__).name
        for rule in _ID.findall(path.read_text())
    )


@pytest.mark.parametrize("family", RULES)
def test_every_rule_has_a_test(family: str, tested: frozenset[str]) -> None:
    """No rule of the family is without a test that names it."""
    rules = [f"{family}-{number}" for number in RULES[family].split()]
    assert [] == [rule for rule in rules if rule not in tested]
