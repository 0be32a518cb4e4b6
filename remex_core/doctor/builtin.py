"""The checks that the core brings, registered through the hook that plugins use.

What a check needs is imported when it runs: every process that loads plugins imports this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from remex_core.plugins.descriptors import Finding, HealthCheck
from remex_core.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from remex_core.doctor.context import Context


async def _machine(context: Context) -> Sequence[Finding]:
    from remex_core.doctor import machine

    return (
        machine.open_files(),
        machine.disk_space(context.data_dir),
        machine.inodes(context.data_dir),
    )


async def _plugins(context: Context) -> Sequence[Finding]:
    from remex_core.doctor import installation

    return installation.plugins(context.plugins)


async def _config(context: Context) -> Sequence[Finding]:
    from remex_core.doctor import installation

    return installation.configuration(context.config, context.plugins)


async def _ports(context: Context) -> Sequence[Finding]:
    from remex_core.doctor import installation

    return await installation.ports(context)


async def _hard_link(context: Context) -> Sequence[Finding]:
    from remex_core.doctor import installation

    return (await installation.link(context),)


async def _server(context: Context) -> Sequence[Finding]:
    from remex_core.client import connect
    from remex_core.doctor import probe

    findings: list[Finding] = []
    for address in context.servers:
        async with connect(address) as client:
            findings += await probe.server(client, address)
    return findings or (Finding("server", "skip", "There is no running server to ask."),)


@hookimpl
def remex_health_checks() -> Iterable[HealthCheck]:
    """Every check of the core, in the order in which a reader wants to know."""
    return (
        HealthCheck("machine", "Open files and disk space.", _machine),
        HealthCheck("plugins", "What is installed, and what cannot be used.", _plugins),
        HealthCheck("config", "Every fault of the configuration.", _config),
        HealthCheck("ports", "Whether a server could listen where it would.", _ports),
        HealthCheck("hard-link", "A link from store to work directory.", _hard_link),
        HealthCheck("server", "The API, a blob and an action there and back.", _server),
    )
