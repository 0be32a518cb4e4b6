"""Addresses as users write them, and who holds one that is taken."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from remex_core.errors import InvalidArgument, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNIX: Final = "unix:"
_MAX_UNIX_PATH: Final = 107


def normalise(address: str) -> str:
    """`host:port` or `unix:/path`, from these or from `grpc://host:port`.

    Raises:
        InvalidArgument: if it is none of them.
    """
    scheme, separator, rest = address.partition("://")
    if separator and scheme == "grpcs":
        raise InvalidArgument(
            f"{address} asks for TLS, which this version of remex does not offer.",
            hint="Use grpc:// on a network you trust, or put a TLS proxy in front.",
        )
    if separator and scheme in {"grpc", "unix"}:
        address = rest if scheme == "grpc" else f"{_UNIX}{rest}"
    elif separator:
        raise InvalidArgument(
            f"{address!r} has the unknown scheme {scheme!r}.",
            hint="Addresses are grpc://host:port, host:port or unix:/path.",
        )
    if address.startswith(_UNIX):
        return _checked_unix(address)
    host, port = split(address)
    return f"{host}:{port}"


def split(address: str) -> tuple[str, int]:
    """Host and port of `host:port`; a literal IPv6 host keeps its brackets.

    Raises:
        InvalidArgument: if it is anything else.
    """
    host, _, port = address.strip().rstrip("/").rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    bracketed = bare != host
    if not host or "/" in host or (":" in bare and not bracketed):
        raise InvalidArgument(
            f"{address!r} is not an address.",
            hint="Addresses are host:port, such as 127.0.0.1:8980, or unix:/path.",
        )
    if not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise InvalidArgument(
            f"{address!r} has no port between 0 and 65535 after its last colon.",
            hint="Addresses are host:port, such as 127.0.0.1:8980, or unix:/path.",
        )
    return host, int(port)


def _checked_unix(address: str) -> str:
    path = address.removeprefix(_UNIX)
    if not path or len(os.fsencode(path)) > _MAX_UNIX_PATH:
        raise InvalidArgument(
            f"{address!r} is no usable unix socket: its path must have 1 to {_MAX_UNIX_PATH} bytes."
        )
    return address


def check_free(address: str) -> None:
    """Makes sure that a normalised address can be listened on now (blocking, briefly).

    Raises:
        Unavailable: if not; the message says why, and who holds it where that can be known.
    """
    try:
        if address.startswith(_UNIX):
            _check_unix_free(Path(address.removeprefix(_UNIX)))
        else:
            _check_port_free(*split(address))
    except OSError as error:
        raise taken(address, error) from error


def taken(address: str, error: OSError) -> Unavailable:
    """The error for an address that cannot be listened on."""
    hint = "Choose another address, or one of this machine's own."
    reason = (error.strerror or str(error)).lower()
    if error.errno == errno.EADDRINUSE:
        holder = "" if address.startswith(_UNIX) else _holder(split(address)[1])
        reason = f"{holder or 'another process'} listens there already"
        hint = "Stop that process, or choose another address; port 0 takes any free one."
    elif error.errno == errno.EACCES:
        hint = "Ports below 1024 and other users' directories need root; choose another address."
    return Unavailable(f"Cannot listen on {address}: {reason}.", hint=hint)


def _check_port_free(host: str, port: int) -> None:
    found = socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    for family, kind, protocol, _, place in found:
        with socket.socket(family, kind, protocol) as probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
            # On Linux, two sockets that both set SO_REUSEADDR collide only when they listen.
            probe.listen(1)


def _check_unix_free(path: Path) -> None:
    if not path.parent.is_dir():
        raise OSError(errno.ENOENT, f"the directory {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise OSError(errno.EACCES, f"the directory {path.parent} cannot be written to")
    if path.exists() and not path.is_socket():
        raise OSError(errno.EEXIST, "there is a file that is no socket")
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(os.fspath(path)) == 0:
            raise OSError(errno.EADDRINUSE, "in use")


def _holder(port: int) -> str:
    """`name (pid N)` of the process that listens on a port, or empty if it cannot be told."""
    inodes = set(_listening_inodes(port))
    if not inodes:
        return ""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(_points_to(link, inodes) for link in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return ""


def _points_to(link: Path, names: set[str]) -> bool:
    try:
        return link.readlink().name in names
    except OSError:  # it was closed meanwhile
        return False


def _listening_inodes(port: int) -> Iterator[str]:
    """`socket:[inode]` of each listening socket of a port."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                yield f"socket:[{fields[9]}]"


def with_port(address: str, port: int) -> str:
    """A normalised address with the port that was really taken."""
    return address if address.startswith(_UNIX) else f"{split(address)[0]}:{port}"
