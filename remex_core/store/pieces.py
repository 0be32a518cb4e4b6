"""Chunks of any size as pieces of a useful one: what arrived in crumbs is not passed on in crumbs.

A message of a stream costs much the same whatever its size, so values are kept and sent in pieces
of up to 1 MiB. A chunk of exactly that size passes without a copy.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator

PIECE: Final = 1024 * 1024
"""The largest piece that a read may give, in bytes (GEN-05)."""


class Pieces:
    """Joins small chunks and cuts large ones, in order; a piece is taken out when it is full."""

    __slots__ = ("_crumb_bytes", "_crumbs")

    def __init__(self) -> None:
        self._crumbs: list[bytes] = []
        self._crumb_bytes = 0

    def add(self, chunk: bytes) -> list[bytes]:
        """Takes the next chunk; answers the pieces that it completed."""
        size = len(chunk)
        full = self.rest() if self._crumb_bytes + size > PIECE else []
        if size >= PIECE:
            full.extend(cut((chunk,), 0, size))
        elif size:
            self._crumbs.append(chunk)
            self._crumb_bytes += size
        return full

    def rest(self) -> list[bytes]:
        """The last piece, or nothing."""
        crumbs, self._crumbs, self._crumb_bytes = self._crumbs, [], 0
        return crumbs if len(crumbs) < 2 else [b"".join(crumbs)]


async def joined(chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    """The chunks as pieces, each as soon as it is full."""
    pieces = Pieces()
    async for chunk in chunks:
        for piece in pieces.add(chunk):
            yield piece
    for piece in pieces.rest():
        yield piece


async def at_most_a_piece(source: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """What `source` gives, cut where it is larger than a piece; closes `source`."""
    async with aclosing(source) as chunks:
        async for chunk in chunks:
            for piece in cut((chunk,), 0, len(chunk)):
                yield piece


def cut(pieces: Iterable[bytes], start: int, end: int) -> Iterator[bytes]:
    """The bytes `[start, end)` of the joined pieces, in pieces of at most `PIECE`."""
    position = 0
    for piece in pieces:
        if position >= end:
            return
        low = max(start - position, 0)
        high = min(end - position, len(piece))
        for at in range(low, high, PIECE):
            yield piece[at : min(at + PIECE, high)]
        position += len(piece)
