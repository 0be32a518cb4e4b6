"""What the HTTP port shows, as text."""

from __future__ import annotations

import json

from remex_core.web.pages import Pages, bazelrc, landing, reachable, readiness_lines


def _all_in_one(waiting: dict[str, str] | None = None) -> Pages:
    return Pages(
        roles=("cas", "scheduler", "worker"),
        readiness=lambda: waiting or {"stores.cas": ""},
        metrics=str,
        public="127.0.0.1:8980",
        executes=True,
        worker_api="127.0.0.1:8981",
    )


def test_bazelrc_of_an_executing_server_names_it_as_executor() -> None:
    """The lines make Bazel run actions there, with retries that outlast a restart."""
    lines = bazelrc("127.0.0.1:8980", executes=True)
    assert "build --remote_executor=grpc://127.0.0.1:8980" == lines[0]
    assert "build --remote_retries=10" in lines


def test_bazelrc_of_a_cache_names_it_as_cache_only() -> None:
    """A server that cannot execute is not named as an executor."""
    assert ("build --remote_cache=grpc://cas:8970",) == bazelrc("cas:8970", executes=False)


def test_a_wildcard_address_is_shown_as_the_visitor_reached_it() -> None:
    """Nobody can connect to 0.0.0.0; an address of its own stays as it is."""
    assert "build-1:8980" == reachable("0.0.0.0:8980", "build-1")
    assert "[::1]:8980" == reachable("[::]:8980", "[::1]")
    assert "10.0.0.7:8980" == reachable("10.0.0.7:8980", "build-1")
    assert "0.0.0.0:8980" == reachable("0.0.0.0:8980", "")


def test_readiness_is_a_json_line_for_each_component() -> None:
    """A component is ready exactly when it gives no reason."""
    lines = readiness_lines({"stores.cas": "", "worker": "no scheduler at s:8981"}).splitlines()
    expected = [
        {"component": "stores.cas", "ready": True, "reason": ""},
        {"component": "worker", "ready": False, "reason": "no scheduler at s:8981"},
    ]
    assert expected == [json.loads(line) for line in lines]


def test_the_landing_page_points_clients_and_workers_at_the_real_addresses() -> None:
    """Everything that somebody pastes is on the page, with this server's addresses."""
    page = landing(_all_in_one(), "127.0.0.1")
    assert "\n".join(bazelrc("127.0.0.1:8980", executes=True)) in page
    assert "--scheduler grpc://127.0.0.1:8981 --cas grpc://127.0.0.1:8980" in page
    assert "serving as\ncas, scheduler, worker. It is ready." in page


def test_the_landing_page_says_what_is_not_ready() -> None:
    """A component that is not ready is named with its reason."""
    page = landing(_all_in_one({"stores.cas": "", "worker": "disk <full>"}), "")
    assert "It is not ready:" in page
    assert "<li>worker: disk &lt;full&gt;</li>" in page
    assert "stores.cas" not in page


def test_the_landing_page_of_a_lone_worker_has_nothing_to_connect_to() -> None:
    """A worker serves no client and no other worker."""
    page = landing(Pages(("worker",), dict, str), "127.0.0.1")
    assert "Point a client" not in page
    assert "Add a worker" not in page
