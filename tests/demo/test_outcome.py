"""The demo succeeds only when it shows what it promises."""

from __future__ import annotations

from remex_core.demo.build import Done
from remex_core.demo.outcome import Outcome
from remex_core.digest import SHA256


def _done(output: str, worker: str, cached: bool) -> Done:
    return Done(output, worker, 0.1, cached, SHA256.key_of(output.encode()))


def test_a_first_build_that_runs_and_a_second_that_does_not_is_well() -> None:
    """Nothing is reported when all went as it should."""
    first = [_done("a.o", "w1", cached=False), _done("b.o", "w2", cached=False)]
    second = [_done("a.o", "w1", cached=True), _done("b.o", "w2", cached=True)]
    outcome = Outcome(first, second, program_ran=True)
    assert [] == list(outcome.faults)
    assert {"w1": 1, "w2": 1} == outcome.by_worker


def test_each_kind_of_fault_is_named() -> None:
    """A cached first, a second that ran, and a wrong program are each a sentence."""
    first, second = [_done("a.o", "w1", cached=True)], [_done("a.o", "w1", cached=False)]
    faults = Outcome(first, second, program_ran=False).faults
    assert 3 == len(faults)
    assert "a.o" in faults[0]
    assert "a.o" in faults[1]
