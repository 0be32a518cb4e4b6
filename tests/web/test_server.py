"""The HTTP port, asked by a plain HTTP client."""

from __future__ import annotations

import asyncio
import http.client
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from remex_core.errors import InvalidArgument, Unavailable
from remex_core.web.pages import Pages
from remex_core.web.server import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from remex_core.web.server import WebServer


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back of one request."""

    status: int
    headers: Mapping[str, str]
    body: str


@dataclass(slots=True)
class Process:
    """A process whose state the test decides."""

    states: dict[str, str] = field(default_factory=lambda: {"stores.cas": ""})

    def pages(self) -> Pages:
        """Its pages."""
        return Pages(
            ("cas",), lambda: self.states, lambda: "remex_rpcs_total 3\n", public="0.0.0.0:8970"
        )


@asynccontextmanager
async def _served(process: Process) -> AsyncIterator[WebServer]:
    server = await serve("127.0.0.1:0", process.pages())
    try:
        yield server
    finally:
        await server.close()


async def _ask(
    server: WebServer, path: str, method: str = "GET", headers: Mapping[str, str] | None = None
) -> Answer:
    def ask() -> Answer:
        connection = http.client.HTTPConnection(server.address, timeout=30)
        try:
            connection.request(method, path, headers=dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read().decode())
        finally:
            connection.close()

    return await asyncio.to_thread(ask)


async def test_healthz_answers_while_the_process_lives() -> None:
    """Being alive does not depend on being ready."""
    async with _served(Process({"worker": "no scheduler"})) as server:
        assert 200 == (await _ask(server, "/healthz")).status


async def test_readyz_follows_the_components() -> None:
    """200 while every component is ready, 503 as soon as one is not, each with its state."""
    process = Process()
    async with _served(process) as server:
        assert 200 == (await _ask(server, "/readyz")).status
        process.states = {"stores.cas": "", "scheduler": "cas unreachable"}
        answer = await _ask(server, "/readyz")
    assert 503 == answer.status
    assert {"stores.cas": "", "scheduler": "cas unreachable"} == {
        state["component"]: state["reason"] for state in map(json.loads, answer.body.splitlines())
    }


async def test_metrics_are_text_of_the_prometheus_format() -> None:
    """What the counters say is passed on, typed as a scraper expects it."""
    async with _served(Process()) as server:
        answer = await _ask(server, "/metrics")
    assert "remex_rpcs_total 3\n" == answer.body
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")


async def test_the_landing_page_uses_the_name_the_visitor_used() -> None:
    """A server that listens everywhere is pasted by the name it was found under."""
    async with _served(Process()) as server:
        answer = await _ask(server, "/", headers={"Host": "build-1:8972"})
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "build --remote_cache=grpc://build-1:8970" in answer.body


async def test_a_strange_host_header_is_not_echoed() -> None:
    """Only what can be a host's name gets into the page."""
    async with _served(Process()) as server:
        answer = await _ask(server, "/", headers={"Host": "<script>"})
    assert "script" not in answer.body


async def test_an_unknown_page_is_answered_with_those_that_exist() -> None:
    """A wrong path gets 404 and the list of paths."""
    async with _served(Process()) as server:
        answer = await _ask(server, "/health")
    assert 404 == answer.status
    assert "There is no page /health; there are /, /healthz, /readyz, /metrics.\n" == answer.body


async def test_writing_is_refused_with_what_is_allowed() -> None:
    """A method that no page has gets 405 and says which to use."""
    async with _served(Process()) as server:
        answer = await _ask(server, "/readyz", method="PUT")
    assert 405 == answer.status
    assert "/readyz can only be read: use GET, not PUT.\n" == answer.body
    assert "GET" in answer.headers["Allow"]


async def test_an_address_in_use_is_said_plainly() -> None:
    """A second server at the same address is refused with the address and the reason."""
    async with _served(Process()) as first:
        with pytest.raises(Unavailable, match=first.address) as refused:
            await serve(first.address, Process().pages())
    assert "listens there already" in refused.value.message


@pytest.mark.parametrize("address", ["", "8982", "localhost:", "localhost:http", ":8982"])
async def test_what_is_no_address_is_refused(address: str) -> None:
    """host:port is needed, with a number for the port."""
    with pytest.raises(InvalidArgument):
        await serve(address, Process().pages())


async def test_closing_frees_the_address() -> None:
    """After close, the same address can be served again."""
    async with _served(Process()) as first:
        address = first.address
    again = await serve(address, Process().pages())
    await again.close()
    assert address == again.address
