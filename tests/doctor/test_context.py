"""How the doctor runs checks that may fail themselves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from remex_core.doctor import context as context_module
from remex_core.doctor.context import Context, run_check
from remex_core.errors import Unavailable
from remex_core.plugins.descriptors import Finding, HealthCheck
from remex_core.plugins.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def _run(work: Any, tmp_path: Path) -> tuple[str, str, str]:
    (finding,) = await run_check(
        HealthCheck("mine", "A check.", work), Context(Registry(), tmp_path)
    )
    return finding.status, finding.message, finding.remedy


async def test_findings_pass_through(tmp_path: Path) -> None:
    """What a check finds is what is reported."""

    async def check(_: Context) -> list[Finding]:
        return [Finding("mine", "warn", "so so", "try this")]

    assert ("warn", "so so", "try this") == await _run(check, tmp_path)


async def test_an_error_of_the_tree_is_a_failure_with_its_hint(tmp_path: Path) -> None:
    """What remex raises on purpose says already what to do."""

    async def check(_: Context) -> list[Finding]:
        raise Unavailable("the cas is gone", hint="start it")

    assert ("fail", "the cas is gone", "start it") == await _run(check, tmp_path)


async def test_a_check_that_breaks_harms_no_other(tmp_path: Path) -> None:
    """A bug in a plugin's check is one failed finding."""

    async def check(_: Context) -> list[Finding]:
        raise ZeroDivisionError("by zero")

    status, message, _ = await _run(check, tmp_path)
    assert "fail" == status
    assert "ZeroDivisionError: by zero" in message


async def test_a_check_that_hangs_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never answers does not keep the doctor for ever."""

    async def check(_: Context) -> list[Finding]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(context_module, "_SECONDS", 0.01)
    status, message, _ = await _run(check, tmp_path)
    assert "fail" == status
    assert "within 0.01 s" in message


def test_a_server_named_twice_is_asked_once(tmp_path: Path) -> None:
    """The same URL for cas and scheduler is one server."""
    url = "grpc://build:8980"
    assert (url,) == Context(Registry(), tmp_path, cas=url, scheduler=url).servers
