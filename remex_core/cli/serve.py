"""`remex serve`: the cache, the scheduler and workers, all in one process or each alone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from remex_core.server.flags import Flags

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

_SHOWN_ROLES = "all, cas, scheduler or worker"


@app.command()
def serve(
    role: Annotated[
        list[str] | None, typer.Option(help=f"{_SHOWN_ROLES}; may be repeated.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A remex.yaml; flags win over it.")
    ] = None,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT for clients.")] = None,
    worker_listen: Annotated[str | None, typer.Option(help="HOST:PORT for workers.")] = None,
    http_listen: Annotated[
        str | None, typer.Option(help="HOST:PORT for health, metrics and a page for people.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where state is kept.")] = None,
    max_bytes: Annotated[
        str | None, typer.Option(help="Bound of the store, such as 50GiB.")
    ] = None,
    cas: Annotated[str | None, typer.Option(help="grpc://HOST:PORT of a cas elsewhere.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="grpc://HOST:PORT of a scheduler's worker API.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The worker's name.")] = None,
    slots: Annotated[int | None, typer.Option(help="Actions at once.", min=1)] = None,
    property_: Annotated[
        list[str] | None, typer.Option("--property", help="NAME=VALUE that the worker offers.")
    ] = None,
    plugin: Annotated[
        list[Path] | None, typer.Option(help="A one-file plugin; may be repeated.")
    ] = None,
    transport: Annotated[
        str | None, typer.Option(help="How RPCs are carried, where several ways are installed.")
    ] = None,
) -> None:
    """Serve the cache, the scheduler and a worker; all three unless --role says otherwise."""
    from remex_core.server.flags import Flags, parse_property, parse_roles

    flags = Flags(
        roles=parse_roles(role or ()),
        config=config,
        listen=listen,
        worker_listen=worker_listen,
        http_listen=http_listen,
        data_dir=data_dir,
        max_bytes=max_bytes,
        cas=cas,
        scheduler=scheduler,
        name=name,
        slots=slots,
        properties=tuple(parse_property(each) for each in property_ or ()),
        plugins=tuple(plugin or ()),
        transport=transport,
    )
    _serve(flags)


def _serve(flags: Flags) -> None:
    from remex_core.server.flags import Role

    runner: Any = None
    if Role.WORKER in flags.roles:
        from remex_core.worker.runner.client import RunnerProcess

        # Before anything heavy is imported or any thread started: it forks for every action.
        runner = RunnerProcess()
    from remex_core.server.process import run

    asyncio.run(run(flags, runner))
