"""`remex doctor`: what would keep a build from working, and what to do about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from remex_core.plugins.descriptors import Finding

SCHEMA: Final = "remex.doctor.v1"

app = typer.Typer(rich_markup_mode=None)

_COLOURS: Final = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "bright_black"}


@app.command()
def doctor(
    cas: Annotated[
        str | None, typer.Option(metavar="URL", help="A running cas to ask, grpc://HOST:PORT.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="URL", help="A running scheduler to ask.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The remex.yaml to look at.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where serve keeps its state, if told to.")
    ] = None,
    plugin: Annotated[
        list[Path] | None, typer.Option(help="A one-file plugin; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable findings.")] = False,
) -> None:
    """Look at this machine, this installation, and a server that runs.

    Without --cas and --scheduler a server is started for the trial, and ended. Exits with 1 if
    anything fails.
    """
    from remex_core.doctor.context import Context
    from remex_core.doctor.examine import examine
    from remex_core.plugins.registry import load_registry
    from remex_core.server.flags import Flags, data_directory

    context = Context(
        plugins=load_registry(plugin or ()),
        data_dir=data_directory(Flags(data_dir=data_dir)),
        config=config,
        cas=cas or "",
        scheduler=scheduler or "",
        named=bool(cas or scheduler),
    )
    findings = []
    for finding in examine(context):
        findings.append(finding)
        if not as_json:
            _print(finding)
    failed = any(finding.status == "fail" for finding in findings)
    if as_json:
        print(json.dumps(_report(findings, failed=failed), indent=2))
    if failed:
        raise typer.Exit(1)


def _report(findings: list[Finding], *, failed: bool) -> dict[str, object]:
    listed = [
        {
            "check": finding.check,
            "status": finding.status,
            "message": finding.message,
            "remedy": finding.remedy,
        }
        for finding in findings
    ]
    return {"schema": SCHEMA, "ok": not failed, "findings": listed}


def _print(finding: Finding) -> None:
    status = typer.style(f"{finding.status:4}", fg=_COLOURS[finding.status])
    typer.echo(f"{status}  {finding.check}: {finding.message}")
    for line in finding.remedy.splitlines():
        typer.echo(f"      {line}")
