"""Chunks become pieces of at most 1 MiB, and none of the bytes changes."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remex_core.store.pieces import PIECE, Pieces, at_most_a_piece, cut, joined

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


async def chunks_of(*sizes: int) -> AsyncGenerator[bytes]:
    for number, size in enumerate(sizes):
        yield bytes([number]) * size


async def sizes_of(pieces: AsyncGenerator[bytes]) -> list[int]:
    async with aclosing(pieces):
        return [len(piece) async for piece in pieces]


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([], []),
        ([0, 0], []),
        ([5], [5]),
        ([PIECE], [PIECE]),
        ([PIECE // 2, PIECE // 2], [PIECE]),
        ([PIECE // 4] * 6, [PIECE, PIECE // 2]),
        ([1, PIECE, 1], [1, PIECE, 1]),
        ([2 * PIECE + 1], [PIECE, PIECE, 1]),
        ([PIECE - 1, 2], [PIECE - 1, 2]),
    ],
)
async def test_chunks_become_pieces(chunks: list[int], expected: list[int]) -> None:
    """Crumbs are joined up to a piece, large chunks are cut, whole pieces are left alone."""
    assert expected == await sizes_of(joined(chunks_of(*chunks)))


async def test_large_chunks_are_cut_as_they_come() -> None:
    """Only what is larger than a piece is cut; nothing is joined."""
    assert [3, PIECE, 7, 4] == await sizes_of(at_most_a_piece(chunks_of(3, PIECE + 7, 4)))


def test_whole_piece_is_not_copied() -> None:
    """A chunk of exactly one piece comes out as the same object."""
    piece = bytes(PIECE)
    (out,) = Pieces().add(piece)
    assert out is piece


@given(
    pieces=st.lists(st.binary(max_size=20), max_size=8),
    start=st.integers(0, 170),
    length=st.integers(0, 170),
)
def test_cut_is_a_slice(pieces: list[bytes], start: int, length: int) -> None:
    """A cut is what slicing the joined bytes would give."""
    whole = b"".join(pieces)
    assert whole[start : start + length] == b"".join(cut(pieces, start, start + length))
