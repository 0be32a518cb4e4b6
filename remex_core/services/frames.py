"""Protobuf framing by hand, for the few responses that carry stored bytes by the megabyte.

A message object copies the bytes in, and serialising it copies them out again; here they are
joined once, as they are stored. The layout is protobuf's: a tag, a length, the bytes.
"""

from __future__ import annotations

from typing import Final

MAX_RESPONSE_BYTES: Final = 4 * 1024 * 1024
"""What a gRPC client accepts in one message unless told otherwise (GEN-05)."""


def header(field: int, length: int) -> bytes:
    """What stands before the `length` bytes of a string, bytes or message field.

    `field` is a field number below 16, whose tag is one byte.
    """
    out = bytearray((field << 3 | 2,))
    while length > 0x7F:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    out.append(length)
    return bytes(out)
