"""The kind `memory`: values in this process's memory, the least recently used evicted first."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from remex_core.clock import SYSTEM
from remex_core.errors import BlobNotFound, DigestMismatch, RemexError, StoreFull
from remex_core.plugins.descriptors import Spec, StoreContext, StoreType
from remex_core.plugins.units import Duration, Size
from remex_core.store.contract import BatchIO, Store
from remex_core.store.pieces import Pieces, cut

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        Collection,
        Mapping,
        Sequence,
    )

    from remex_core.clock import Clock
    from remex_core.digest import Key

log = logging.getLogger(__name__)

OVERHEAD: Final = 512
"""What one value costs beyond its bytes: the key, its strings and the bookkeeping."""


class Protect(Spec):
    """How long a touch protects a value, in seconds.

    Within `hard` it is never evicted. Evicting within `soft`, which is what clients count on,
    means that the store is too small, and is logged.
    """

    hard: Duration = 600.0
    soft: Duration = 10_800.0


class MemorySpec(Spec):
    """Options of the kind `memory`."""

    max_bytes: Size
    protect: Protect = Protect()


@dataclass(slots=True, eq=False)
class _Value:
    pieces: Sequence[bytes]
    size: int
    touched: float


class MemoryStore(BatchIO, Store):
    """Values in this process's memory, at most `max_bytes` of them, in order of last use.

    Adds: a bound in bytes that holds for unfinished writes too, reads that copy nothing, and the
    lease of a touch (`protect`). Assumes nothing. Each value counts 512 bytes more than it has.
    When every value was touched within `protect.hard`, a write fails with StoreFull rather than
    take back what a client was just told is here.

    Do not use it for what must survive a restart; as the fast tier of a `fast_slow`, whose slow
    tier keeps everything, set `protect.hard` to 0 so that new values always find room.
    """

    def __init__(
        self, max_bytes: int, protect: Protect | None = None, clock: Clock = SYSTEM, path: str = ""
    ) -> None:
        protect = protect or Protect()
        self._max_bytes = max_bytes
        self._hard = protect.hard
        self._soft = protect.soft
        self._clock = clock
        self._path = path or "memory"
        self._values: OrderedDict[Key, _Value] = OrderedDict()
        self._bytes = 0
        self._warned = float("-inf")

    @property
    def used_bytes(self) -> int:
        """Bytes that count against `max_bytes` now, unfinished writes included."""
        return self._bytes

    async def find_missing(self, keys: Collection[Key]) -> frozenset[Key]:
        now = self._clock.monotonic()
        get, move_to_end = self._values.get, self._values.move_to_end
        missing = []
        for key in keys:
            value = get(key)
            if value is None:
                missing.append(key)
            else:
                value.touched = now
                move_to_end(key)
        return frozenset(missing)

    async def read(
        self, key: Key, *, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes]:
        value = self._touch(key)
        if value is None:
            raise BlobNotFound(key)
        end = value.size if limit is None else offset + limit
        whole = offset == 0 and end >= value.size
        for piece in value.pieces if whole else cut(value.pieces, offset, end):
            yield piece

    async def write(self, key: Key, chunks: AsyncIterable[bytes]) -> None:
        if key.is_cas and self._touch(key) is not None:
            return
        expected = key.size if key.is_cas else None
        if expected is not None and expected + OVERHEAD > self._max_bytes:
            raise self._full(expected)
        pieces = Pieces()
        value: list[bytes] = []
        size = 0
        reserved = 0
        try:
            self._reserve(OVERHEAD)
            reserved = OVERHEAD
            async for chunk in chunks:
                size += len(chunk)
                if expected is not None and size > expected:
                    raise _mismatch(key, size)
                self._reserve(len(chunk))
                reserved += len(chunk)
                value += pieces.add(chunk)
            if expected is not None and size != expected:
                raise _mismatch(key, size)
            if key.is_cas and self._touch(key) is not None:
                return  # another write of the same value was faster
            self._put(key, (*value, *pieces.rest()), size)
            reserved = 0
        finally:
            self._bytes -= reserved

    async def discard(self, keys: Collection[Key]) -> None:
        for key in keys:
            self._drop(key)

    async def read_batch(
        self, keys: Sequence[Key], max_bytes: int
    ) -> Mapping[Key, bytes | RemexError]:
        found: dict[Key, bytes | RemexError] = {}
        for key in keys:
            value = self._touch(key)
            if value is None:
                found[key] = BlobNotFound(key)
            else:
                pieces = value.pieces
                found[key] = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return found

    async def write_batch(self, items: Sequence[tuple[Key, bytes]]) -> Mapping[Key, RemexError]:
        errors: dict[Key, RemexError] = {}
        for key, data in items:
            try:
                self._write_one(key, data)
            except RemexError as error:
                errors[key] = error
        return errors

    async def close(self) -> None:
        self._values.clear()
        self._bytes = 0

    def _write_one(self, key: Key, data: bytes) -> None:
        size = len(data)
        if key.is_cas:
            if self._touch(key) is not None:
                return
            if size != key.size:
                raise _mismatch(key, size)
        self._reserve(size + OVERHEAD)
        self._put(key, tuple(cut((data,), 0, size)), size)

    def _touch(self, key: Key) -> _Value | None:
        value = self._values.get(key)
        if value is not None:
            value.touched = self._clock.monotonic()
            self._values.move_to_end(key)
        return value

    def _put(self, key: Key, pieces: Sequence[bytes], size: int) -> None:
        """Makes a value visible whose bytes have been reserved."""
        self._drop(key)
        self._values[key] = _Value(pieces, size, self._clock.monotonic())

    def _drop(self, key: Key) -> None:
        value = self._values.pop(key, None)
        if value is not None:
            self._bytes -= value.size + OVERHEAD

    def _reserve(self, size: int) -> None:
        """Counts `size` bytes, after evicting what stands in their way."""
        if self._bytes + size > self._max_bytes:
            self._evict(size)
        self._bytes += size

    def _evict(self, size: int) -> None:
        now = self._clock.monotonic()
        youngest = None
        while self._bytes + size > self._max_bytes:
            oldest = next(iter(self._values.items()), None)
            if oldest is None or now - oldest[1].touched < self._hard:
                raise self._full(size)
            youngest = now - oldest[1].touched
            self._drop(oldest[0])
        if youngest is not None and youngest < self._soft and now - self._warned > self._soft:
            self._warned = now
            log.warning(
                "%s evicts values that were touched only %.0f s ago, although clients count on "
                "%.0f s; raise its max_bytes above %d",
                self._path,
                youngest,
                self._soft,
                self._max_bytes,
            )

    def _full(self, size: int) -> StoreFull:
        return StoreFull(
            f"{self._path} has no room for {size} bytes: {self._bytes} of {self._max_bytes} bytes "
            f"are in use, and nothing may be evicted that was touched in the last "
            f"{self._hard:.0f} s.",
            hint="Raise max_bytes of the memory store, or lower its protect.hard.",
        )


def _mismatch(key: Key, size: int) -> DigestMismatch:
    return DigestMismatch(
        f"{size} bytes were written under the key {key}, which declares another size."
    )


async def _build(spec: MemorySpec, ctx: StoreContext) -> Store:
    return MemoryStore(spec.max_bytes, spec.protect, ctx.clock, ctx.path)


MEMORY: Final = StoreType(
    name="memory",
    spec=MemorySpec,
    build=_build,
    summary="values in this process's memory, least recently used evicted first",
    forwards=frozenset({BatchIO}),
)
