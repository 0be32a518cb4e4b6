"""Shows what the remex processes wrote when an end-to-end test fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from remex_core.testing.processes import Cluster

if TYPE_CHECKING:
    from collections.abc import Generator

_LAST_LINES = 60


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the end of each process's log to the report of a failed test."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for value in item.funcargs.values():
            if isinstance(value, Cluster):
                report.sections += [
                    (f"log of {name}", "\n".join(remex.printed().splitlines()[-_LAST_LINES:]))
                    for name, remex in value.processes.items()
                ]
    return report
