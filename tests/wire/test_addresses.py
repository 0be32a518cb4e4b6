"""Addresses, and who holds one."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from remex_core.errors import InvalidArgument, Unavailable
from remex_core.wire import addresses


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("127.0.0.1:8980", "127.0.0.1:8980"),
        ("grpc://host.example:8980", "host.example:8980"),
        ("grpc://host.example:8980/", "host.example:8980"),
        ("[::1]:0", "[::1]:0"),
        ("unix:/run/remex", "unix:/run/remex"),
        ("unix:///run/remex", "unix:/run/remex"),
    ],
)
def test_ways_to_write_an_address(written: str, meant: str) -> None:
    """grpc://host:port, host:port and unix:/path are understood."""
    assert meant == addresses.normalise(written)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("", "not an address"),
        ("host", "not an address"),
        (":8980", "not an address"),
        ("::1:8980", "not an address"),
        ("host/path:1", "not an address"),
        ("host:", "no port"),
        ("host:http", "no port"),
        ("host:65536", "no port"),
        ("host:-1", "no port"),
        ("http://host:1", "unknown scheme 'http'"),
        ("grpcs://host:1", "TLS"),
        ("unix:", "unix socket"),
        ("unix:/" + "x" * 200, "unix socket"),
    ],
)
def test_what_is_no_address(written: str, why: str) -> None:
    """Anything else is refused, with the reason."""
    with pytest.raises(InvalidArgument, match=why):
        addresses.normalise(written)


def test_a_free_port_is_free() -> None:
    """A port that nobody listens on can be taken."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    addresses.check_free(f"127.0.0.1:{port}")
    addresses.check_free("127.0.0.1:0")
    addresses.check_free("localhost:0")


def test_a_port_that_is_taken_names_its_holder() -> None:
    """The error says which process listens, by name and pid, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(Unavailable) as raised:
            addresses.check_free(address)
    name = Path("/proc/self/comm").read_text().strip()
    assert f"Cannot listen on {address}: {name} (pid {os.getpid()}) listens there already." == (
        raised.value.message
    )
    assert "port 0" in raised.value.hint


@pytest.mark.parametrize("address", ["203.0.113.7:8980", "no.such.host.invalid:1"])
def test_a_host_that_is_not_this_one(address: str) -> None:
    """An address of another machine cannot be listened on."""
    with pytest.raises(Unavailable, match=f"Cannot listen on {address}"):
        addresses.check_free(address)


def test_unix_sockets(tmp_path: Path) -> None:
    """A socket that is served is taken; one that was left behind is not; other files are kept."""
    path = tmp_path / "socket"
    address = f"unix:{path}"
    addresses.check_free(address)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        with pytest.raises(Unavailable, match="another process listens there"):
            addresses.check_free(address)
    addresses.check_free(address)
    path.unlink()
    path.write_text("precious")
    with pytest.raises(Unavailable, match="no socket"):
        addresses.check_free(address)
    with pytest.raises(Unavailable, match="does not exist"):
        addresses.check_free(f"unix:{tmp_path}/nope/socket")


def test_the_port_that_was_taken() -> None:
    """Port 0 becomes the real one; a unix socket has none."""
    assert "127.0.0.1:5" == addresses.with_port("127.0.0.1:0", 5)
    assert "unix:/x" == addresses.with_port("unix:/x", 1)
