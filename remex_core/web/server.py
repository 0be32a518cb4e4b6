"""Serves the pages over HTTP, by aiohttp.

Importing aiohttp costs as much as the rest of a small process: import this where HTTP is served.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aiohttp import web

from remex_core.web.pages import landing, readiness_lines
from remex_core.wire.addresses import split, taken

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from remex_core.web.pages import Pages

# Every page is made in memory, so whoever is still waiting at the end is not being served.
_SHUTDOWN_SECONDS = 1.0
_HOST = re.compile(r"(?P<name>[\w.-]+|\[[0-9a-fA-F:.]+\])(:\d+)?")
_PATHS = ("/", "/healthz", "/readyz", "/metrics")


class WebServer:
    """One HTTP listener that is being served."""

    def __init__(self, runner: web.AppRunner, address: str) -> None:
        self._runner = runner
        self.address = address
        """`host:port` with the real port."""

    async def close(self) -> None:
        """Frees the address and cuts open connections."""
        await self._runner.cleanup()


async def serve(address: str, pages: Pages) -> WebServer:
    """Serves `pages` at `host:port` (port 0: any free one) until closed.

    Raises:
        InvalidArgument: if the address is not one.
        Unavailable: if it cannot be taken.
    """
    host, port = split(address)
    app = web.Application(middlewares=[_say_what_there_is])
    app.add_routes(_routes(pages))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host.strip("[]"), port).start()
    except OSError as error:
        await runner.cleanup()
        raise taken(address, error) from error
    return WebServer(runner, f"{host}:{runner.addresses[0][1]}")


def _routes(pages: Pages) -> list[web.RouteDef]:
    async def index(request: web.Request) -> web.Response:
        return web.Response(text=landing(pages, _host(request)), content_type="text/html")

    async def healthz(_: web.Request) -> web.Response:
        """That this answers at all says that the process lives and its loop turns."""
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        states = pages.readiness()
        return web.Response(
            status=503 if any(states.values()) else 200,
            text=readiness_lines(states),
            content_type="application/jsonl",
        )

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=pages.metrics().encode(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    handlers = (index, healthz, readyz, metrics)
    return [web.get(path, handler) for path, handler in zip(_PATHS, handlers, strict=True)]


def _host(request: web.Request) -> str:
    """The name by which the visitor reached this machine; empty when the header is not one."""
    named = _HOST.fullmatch(request.host)
    return named.group("name") if named else ""


@web.middleware
async def _say_what_there_is(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPNotFound:
        known = ", ".join(_PATHS)
        return web.Response(
            status=404, text=f"There is no page {request.path}; there are {known}.\n"
        )
    except web.HTTPMethodNotAllowed as error:
        return web.Response(
            status=405,
            headers={"Allow": error.headers["Allow"]},
            text=f"{request.path} can only be read: use GET, not {request.method}.\n",
        )
