"""What holds for the tests of every distribution: where CI is set, nothing may skip.

A test skips where a tool that it needs is absent, and says which. CI installs all of them, so
that a skip there means a hole in what was tested.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that skips fails in CI."""
    return _without_skip((yield), item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module that skips as a whole fails in CI."""
    return _without_skip((yield), collector.nodeid)


def _without_skip(report: Report, node: str) -> Report:
    # An expected failure is reported as a skip too, and is none.
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{node} did not run, and CI runs everything: {reason}"
    return report
