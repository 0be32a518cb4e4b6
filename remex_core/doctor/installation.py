"""Checks of the installation: its plugins, its configuration, its addresses, its store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from remex_core.client import connect
from remex_core.config.load import load_file
from remex_core.doctor.machine import hard_link, nearest_existing, port, scratch
from remex_core.errors import ConfigError, RemexError
from remex_core.plugins.descriptors import Finding, StoreNode
from remex_core.plugins.loader import Status
from remex_core.plugins.registry import FIRST_PARTY
from remex_core.server.flags import Flags
from remex_core.server.settings import resolve
from remex_core.testing.open_store import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from remex_core.doctor.context import Context
    from remex_core.plugins.loader import Plugin
    from remex_core.plugins.registry import Registry

_STATUS: Final[Mapping[Status, Literal["ok", "skip", "warn", "fail"]]] = {
    Status.ACTIVE: "ok",
    Status.DISABLED: "skip",
    Status.SHADOWED: "warn",
    Status.INCOMPATIBLE: "fail",
    Status.BROKEN: "fail",
}


def plugins(registry: Registry) -> Sequence[Finding]:
    """Every plugin that is not in use, with the reason, and what a site usually has and lacks."""
    active = [plugin.name for plugin in registry.plugins if plugin.status is Status.ACTIVE]
    findings = [Finding("plugins", "ok", f"{len(active)} are active: {', '.join(active)}.")]
    findings += [
        _unused(plugin) for plugin in registry.plugins if plugin.status is not Status.ACTIVE
    ]
    lacking: Mapping[str, tuple[Mapping[str, object], str]] = {
        "filesystem": (registry.stores, "everything is kept in memory and lost at the end"),
        "local": (registry.executors, "this machine can be no worker"),
    }
    for kind, (known, consequence) in lacking.items():
        if kind not in known:
            message = f"There is no {kind!r} here: {consequence}."
            findings.append(Finding("plugins", "warn", message, f"pip install {FIRST_PARTY[kind]}"))
    return findings


def _unused(plugin: Plugin) -> Finding:
    return Finding(
        "plugins",
        _STATUS[plugin.status],
        f"{plugin.name} of {plugin.origin} is {plugin.status}: {plugin.reason}.",
        "Update or remove it, or name it in REMEX_DISABLE_PLUGINS."
        if _STATUS[plugin.status] == "fail"
        else "",
    )


def configuration(path: Path | None, registry: Registry) -> Sequence[Finding]:
    """Every fault of the configuration file."""
    if path is None:
        message = "No file was named, and none is needed: flags and defaults are enough."
        return (Finding("config", "ok", message),)
    try:
        load_file(path, registry)
    except ConfigError as error:
        remedy = error.hint or "Correct the file; `remex config check` says the same."
        return [Finding("config", "fail", line, remedy) for line in error.message.splitlines()]
    return (Finding("config", "ok", f"{path} is valid."),)


async def ports(context: Context) -> Sequence[Finding]:
    """Whether the addresses of a `serve` are free, or a remex has them already."""
    if context.named:
        return (Finding("ports", "skip", "A running server was named, so none is to be started."),)
    try:
        settings = resolve(Flags(config=context.config), context.plugins)
    except RemexError:
        return (Finding("ports", "skip", "Without a valid configuration there are no addresses."),)
    listen = settings.listen
    if await _is_remex(listen.public):
        return (Finding("ports", "ok", f"A remex serves at {listen.public} already."),)
    named = {"listen": listen.public, "worker-listen": listen.worker_api, "http": listen.http}
    return [port(name, address) for name, address in named.items() if address]


async def _is_remex(address: str) -> bool:
    try:
        async with connect(address) as client:
            return bool((await client.status()).version)
    except RemexError:
        return False


async def link(context: Context) -> Finding:
    """Whether inputs can be links, tried with the configured store or one where it would be."""
    kinds = context.plugins.stores
    if context.config is not None:
        nodes = load_file(context.config, context.plugins).store_nodes
        name = "worker" if "worker" in nodes else "cas"
        if name not in nodes:
            return Finding("hard-link", "skip", "The configuration has no store for a worker.")
        async with open_store(context.plugins, nodes, name, context.data_dir) as store:
            return await hard_link(store)
    if "filesystem" not in kinds:
        return Finding("hard-link", "skip", "There is no filesystem store to link from.")
    try:
        with scratch(context.data_dir) as place:
            node = StoreNode.parse({"filesystem": {"path": str(place / "cas")}})
            async with open_store(context.plugins, {"cas": node}, "cas", place) as store:
                return await hard_link(store)
    except OSError as error:
        where = nearest_existing(context.data_dir)
        return Finding(
            "hard-link",
            "fail",
            f"Nothing can be written to {where}, where {context.data_dir} would be: {error}.",
            "Name another directory with --data-dir, or make that one writable.",
        )
