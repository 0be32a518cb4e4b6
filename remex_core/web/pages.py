"""What the HTTP port shows: pure text, made from what the process says of itself.

Nothing here knows HTTP beyond the words it answers with; `web.server` moves it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from remex_core import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_WILDCARDS = ("0.0.0.0", "[::]")  # noqa: S104 - compared with, not bound


@dataclass(frozen=True, slots=True)
class Pages:
    """What a process tells over HTTP.

    Args:
        roles: the roles that it plays, such as `cas`.
        readiness: each component and why it is not ready; an empty reason means that it is.
        metrics: all counters in Prometheus' text format.
        public: `host:port` where clients connect by gRPC; empty for a lone worker.
        executes: whether actions can be run there, and not only cached.
        worker_api: `host:port` where workers connect; empty without a scheduler.
    """

    roles: Sequence[str]
    readiness: Callable[[], Mapping[str, str]]
    metrics: Callable[[], str]
    public: str = ""
    executes: bool = False
    worker_api: str = ""


def bazelrc(address: str, *, executes: bool) -> tuple[str, ...]:
    """The lines of a `.bazelrc` that make Bazel use the server at `address` (`host:port`)."""
    if not executes:
        return (f"build --remote_cache=grpc://{address}",)
    return (
        f"build --remote_executor=grpc://{address}",
        # Bazel's own number of retries lasts 3 s, which is short for a server that restarts.
        "build --remote_retries=10",
        # Else the PATH of each user's shell is part of every action, and nothing is shared.
        "build --incompatible_strict_action_env",
    )


def reachable(address: str, host: str) -> str:
    """`address` as somebody can use it who reached this machine as `host`."""
    name, _, port = address.rpartition(":")
    return f"{host}:{port}" if name in _WILDCARDS and host else address


def readiness_lines(states: Mapping[str, str]) -> str:
    """One JSON object a line for each component: its name, whether it is ready, and why not."""
    return "".join(
        json.dumps({"component": component, "ready": not reason, "reason": reason}) + "\n"
        for component, reason in states.items()
    )


def landing(pages: Pages, host: str) -> str:
    """The HTML page at `/`, for a visitor who reached this machine as `host`."""
    sections = [_what_this_is(pages)]
    if pages.public:
        sections.append(_for_clients(pages, reachable(pages.public, host)))
    if pages.worker_api:
        worker_api, cas = (reachable(each, host) for each in (pages.worker_api, pages.public))
        sections.append(_for_workers(worker_api, cas))
    return _PAGE.format(body="\n".join(sections))


_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>remex</title>
<h1>remex</h1>
{body}
<h2>For machines</h2>
<p><a href="/healthz">/healthz</a> <a href="/readyz">/readyz</a> <a href="/metrics">/metrics</a></p>
</html>
"""


def _what_this_is(pages: Pages) -> str:
    states = pages.readiness().items()
    waiting = "\n".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in states if why)
    state = f"It is not ready:</p>\n<ul>\n{waiting}\n</ul>" if waiting else "It is ready.</p>"
    return f"""\
<p>A remote cache and remote execution server for builds. This is version {__version__}, serving as
{escape(", ".join(pages.roles))}. {state}"""


def _for_clients(pages: Pages, address: str) -> str:
    lines = "\n".join(bazelrc(address, executes=pages.executes))
    return f"""\
<h2>Point a client at it</h2>
<p>Any client of the Remote Execution API v2 connects to <code>grpc://{escape(address)}</code>.
For Bazel, put this into the workspace's <code>.bazelrc</code>:</p>
<pre>{escape(lines)}</pre>
<p>When a build does not work, ask for what is wrong:</p>
<pre>remex doctor --cas grpc://{escape(address)}</pre>"""


def _for_workers(worker_api: str, cas: str) -> str:
    return f"""\
<h2>Add a worker</h2>
<pre>remex serve --role worker --scheduler grpc://{escape(worker_api)} --cas grpc://{escape(cas)}</pre>
"""
