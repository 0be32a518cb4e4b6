"""What a worker and a supervisor say to each other: JSON objects behind a length of 4 bytes."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import socket

LENGTH: Final = struct.Struct("!I")


def encode(message: dict[str, Any]) -> bytes:
    """One frame. Strings may hold surrogate escapes, as paths that are not UTF-8 do."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return LENGTH.pack(len(body)) + body


def decode(body: bytes) -> dict[str, Any]:
    """The object of one frame, without its length."""
    message: dict[str, Any] = json.loads(body)
    return message


def receive(connection: socket.socket) -> dict[str, Any] | None:
    """The next object from a blocking socket; None when the other side is gone."""
    head = _exactly(connection, LENGTH.size)
    if head is None:
        return None
    body = _exactly(connection, *LENGTH.unpack(head))
    return None if body is None else decode(body)


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    pieces = bytearray()
    while len(pieces) < count:
        try:
            piece = connection.recv(count - len(pieces))
        except ConnectionResetError:
            return None
        if not piece:
            return None
        pieces += piece
    return bytes(pieces)
