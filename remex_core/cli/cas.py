"""`remex cas put | get | stat`: single blobs of a running cas."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from remex_core.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from remex_core.client import RemoteClient
    from remex_core.digest import Key

SCHEMA: Final = "remex.cas.stat.v1"

app = typer.Typer(
    help="Put, get and look up blobs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Cas = Annotated[
    str, typer.Option("--cas", metavar="URL", help="The cas, or a scheduler in front of it.")
]
Instance = Annotated[str, typer.Option(help="The instance name.")]
Function = Annotated[str, typer.Option(help="The digest function: sha256 or blake3.")]
Digests = Annotated[list[str], typer.Argument(metavar="HASH/SIZE...")]
DEFAULT_CAS: Final = "grpc://127.0.0.1:8980"


@app.command()
def put(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="`-` is standard input.")],
    cas: Cas = DEFAULT_CAS,
    instance: Instance = "",
    function: Function = "sha256",
) -> None:
    """Store files as blobs, and print each one's digest."""

    async def upload(client: RemoteClient) -> None:
        for file in files:
            content = await asyncio.to_thread(sys.stdin.buffer.read) if str(file) == "-" else file
            key = await client.upload(content)
            print(f"{key.hash}/{key.size}  {file}")

    for file in files:
        if str(file) != "-" and not file.is_file():
            raise InvalidArgument(f"{file} is no file.", hint="`remex cas put` stores files only.")
    _with_client(upload, cas, instance, function)


@app.command()
def get(
    digest: Annotated[str, typer.Argument(metavar="HASH/SIZE")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write to this file, whole or not at all.")
    ] = None,
    cas: Cas = DEFAULT_CAS,
    instance: Instance = "",
    function: Function = "sha256",
) -> None:
    """Write a blob to standard output, or to a file; its hash is checked."""

    async def download(client: RemoteClient) -> None:
        key = _key(client, digest)
        if output is not None:
            await client.download_to(key, output)
            return
        async with aclosing(client.read(key)) as pieces:
            async for piece in pieces:
                sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()

    _with_client(download, cas, instance, function)


@app.command()
def stat(
    digests: Digests,
    cas: Cas = DEFAULT_CAS,
    instance: Instance = "",
    function: Function = "sha256",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Say which blobs are there; exits with 1 if one is missing."""
    present: dict[str, bool] = {}

    async def look(client: RemoteClient) -> None:
        keys = {digest: _key(client, digest) for digest in digests}
        missing = await client.find_missing(keys.values())
        present.update({digest: key not in missing for digest, key in keys.items()})

    _with_client(look, cas, instance, function)
    if as_json:
        blobs = [{"digest": digest, "present": here} for digest, here in present.items()]
        print(json.dumps({"schema": SCHEMA, "blobs": blobs}, indent=2))
    else:
        for digest, here in present.items():
            print(f"{digest}  {'present' if here else 'missing'}")
    if not all(present.values()):
        raise typer.Exit(1)


def _key(client: RemoteClient, digest: str) -> Key:
    from remex_core.digest import KeyMaker

    hash_, _, size = digest.partition("/")
    if not (size.isascii() and size.isdecimal()):
        raise InvalidArgument(
            f"{digest!r} is no digest.",
            hint="Write HASH/SIZE: hex digits, a slash, and the number of bytes.",
        )
    return KeyMaker(client.function).key(hash_, int(size))


def _with_client(
    use: Callable[[RemoteClient], Coroutine[Any, Any, None]],
    cas: str,
    instance: str,
    function: str,
) -> None:
    from remex_core.client import connect
    from remex_core.digest import DigestFunctions

    async def connected() -> None:
        chosen = DigestFunctions().for_name(function).function
        async with connect(cas, instance=instance, function=chosen) as client:
            await use(client)

    asyncio.run(connected())
