"""The kind `fast_slow`: a near store in front of a far one that has everything."""

from __future__ import annotations

import logging
from contextlib import aclosing
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar, cast

from pydantic import model_validator

from remex_core.clock import SYSTEM
from remex_core.errors import BlobNotFound, DataLoss, RemexError
from remex_core.plugins.descriptors import Spec, StoreChild, StoreContext, StoreType
from remex_core.store import ops
from remex_core.store.contract import BatchIO, Capability, LocalFiles, Store
from remex_core.store.fill import Fills
from remex_core.store.pieces import PIECE
from remex_core.store.replacements import Replacements
from remex_core.store.tee import Branch
from remex_core.store.tiered_files import TieredFiles

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        Collection,
        Mapping,
        Sequence,
    )
    from typing import Self

    from remex_core.clock import Clock
    from remex_core.digest import Key

C = TypeVar("C", bound=Capability)

log = logging.getLogger(__name__)

_LOG_EVERY: Final = 60.0


class Direction(StrEnum):
    """What a tier is written by. Every tier is read, whatever its direction."""

    BOTH = "both"
    """By writes, and by reads that had to go on to the slow tier."""
    GET = "get"
    """By reads that had to go on to the slow tier."""
    UPDATE = "update"
    """By writes."""
    READ_ONLY = "read_only"
    """By nothing."""

    @property
    def takes_writes(self) -> bool:
        return self in {Direction.BOTH, Direction.UPDATE}

    @property
    def takes_fills(self) -> bool:
        return self in {Direction.BOTH, Direction.GET}


class FastSlowSpec(Spec):
    """Options of the kind `fast_slow`."""

    fast: StoreChild
    slow: StoreChild
    fast_direction: Direction = Direction.BOTH
    slow_direction: Direction = Direction.BOTH

    @model_validator(mode="after")
    def _is_writable(self) -> Self:
        if not (self.fast_direction.takes_writes or self.slow_direction.takes_writes):
            raise ValueError(
                "neither tier takes writes: one of fast_direction and slow_direction must be "
                "`both` or `update`"
            )
        return self


class FastSlowStore(BatchIO, Store):
    """Two tiers: `slow` has everything, `fast` has what was used lately.

    Adds: that what was read once is near. A read that the fast tier cannot answer is answered by
    the slow one while a task of its own copies the value into the fast one, once however many
    readers there are. A fast tier that fails is logged and done without. Where the fast tier has
    `LocalFiles`, so has this store: what a plan needs is fetched into the fast tier first.

    Assumes that the slow tier is the truth: it alone is asked what is missing (and the fast one
    as well where the slow one takes no writes). An action result or opaque value that is written
    is discarded from the other tier first, and gets into the fast one when it is read; so a
    process never reads a stale value of its own, but one that another process replaces in the
    slow tier stays in the fast one: do not put an action cache behind it that others write too.

    Costs a look into the fast tier for each read that misses it, up to 32 fills of 4 MiB and
    64 MiB of batches on their way into it. A memory store as the fast tier should have
    `protect.hard: 0`, since what it evicts is not lost.
    """

    def __init__(
        self,
        fast: Store,
        slow: Store,
        fast_direction: Direction = Direction.BOTH,
        slow_direction: Direction = Direction.BOTH,
        clock: Clock = SYSTEM,
        path: str = "",
    ) -> None:
        self.fast = fast
        self.slow = slow
        self.fast_direction = fast_direction
        self.slow_direction = slow_direction
        self._clock = clock
        self._path = path or "fast_slow"
        self.fills = Fills(slow, fast, self.degrade)
        self._replacements = Replacements()
        self._logged = float("-inf")
        self._files: TieredFiles | None = None

    async def find_missing(self, keys: Collection[Key]) -> frozenset[Key]:
        missing = await self.slow.find_missing(keys)
        if missing and not self.slow_direction.takes_writes:
            return await self.fast.find_missing(missing)
        return missing

    def read(self, key: Key, *, offset: int = 0, limit: int | None = None) -> AsyncGenerator[bytes]:
        if key.is_cas:
            return self._read_cas(key, offset, limit)
        return self._read_replaceable(key, offset, limit)

    async def write(self, key: Key, chunks: AsyncIterable[bytes]) -> None:
        if not key.is_cas:
            await self._replace(key, chunks)
        elif not self.slow_direction.takes_writes:
            await self.fast.write(key, chunks)
        elif not self.fast_direction.takes_writes:
            await self.slow.write(key, chunks)
        else:
            await self._write_both(key, chunks)

    async def discard(self, keys: Collection[Key]) -> None:
        try:
            await self.slow.discard(keys)
        finally:
            self._replacements.changed(keys)
            await self.fills.stop(keys)  # those that read before the slow tier was rid of it
            await self.fast.discard(keys)

    def forward(self, capability: type[C]) -> C | None:
        if capability is LocalFiles:
            return cast("C | None", self._local_files())
        return super().forward(capability)

    async def close(self) -> None:
        await self.fills.close()

    # ---- batches

    async def read_batch(
        self, keys: Sequence[Key], max_bytes: int
    ) -> Mapping[Key, bytes | RemexError]:
        found: dict[Key, bytes | RemexError] = {}
        try:
            found.update(await ops.read_many(self.fast, keys, max_bytes=max_bytes))
        except RemexError as error:
            self.degrade("read", error)
        rest = []
        for key in dict.fromkeys(keys):
            value = found.get(key)
            if not isinstance(value, bytes):
                rest.append(key)
                if value is not None and not isinstance(value, BlobNotFound):
                    self.degrade("read", value)
        if rest:
            fetched = await ops.read_many(self.slow, rest, max_bytes=max_bytes)
            found.update(fetched)
            if self.fast_direction.takes_fills:
                self.fills.add_values(
                    [
                        (key, value)
                        for key, value in fetched.items()
                        if key.is_cas and isinstance(value, bytes)
                    ]
                )
        return found

    async def write_batch(self, items: Sequence[tuple[Key, bytes]]) -> Mapping[Key, RemexError]:
        errors: dict[Key, RemexError] = {}
        blobs = []
        for key, data in items:
            if key.is_cas:
                blobs.append((key, data))
                continue
            try:
                await ops.write_bytes(self, key, data)
            except RemexError as error:
                errors[key] = error
        if not self.slow_direction.takes_writes:
            return errors | dict(await ops.write_many(self.fast, blobs))
        errors.update(await ops.write_many(self.slow, blobs))
        if self.fast_direction.takes_writes:
            await self.fills.write_values([(key, data) for key, data in blobs if key not in errors])
        return errors

    # ---- the fast tier's failures

    def degrade(self, operation: str, error: RemexError) -> None:
        """Notes that the fast tier failed and was done without; logs it once a minute."""
        now = self._clock.monotonic()
        if now - self._logged >= _LOG_EVERY:
            self._logged = now
            log.warning(
                "the fast tier of %s failed to %s and is done without: %s",
                self._path,
                operation,
                error.message,
            )

    # ---- CAS values

    async def _read_cas(self, key: Key, offset: int, limit: int | None) -> AsyncGenerator[bytes]:
        end = key.size if limit is None else min(offset + limit, key.size)
        at = offset
        may_fill = self.fast_direction.takes_fills and at == 0 and end == key.size
        while True:
            try:
                async with aclosing(self.fast.read(key, offset=at, limit=end - at)) as pieces:
                    async for piece in pieces:
                        at += len(piece)
                        yield piece
            except BlobNotFound:
                pass
            except RemexError as error:
                self.degrade("read", error)
                if isinstance(error, DataLoss):
                    await self._discard_fast(key)
                    if at > offset:
                        raise  # some of what was given may be wrong
            else:
                return
            if not may_fill or at > 0 or not self.fills.may_join(key):
                break
            may_fill = False
            fill = self.fills.join(key)
            async with aclosing(fill.follow()) as pieces:
                async for piece in pieces:
                    at += len(piece)
                    yield piece
            if fill.ends_at(at):
                return
            if at == 0 and isinstance(fill.error, BlobNotFound):
                raise BlobNotFound(key)
            if not fill.stored:
                if fill.error is not None and not fill.read_failed:
                    self.degrade("write", fill.error)
                break
        async with aclosing(self.slow.read(key, offset=at, limit=end - at)) as pieces:
            async for piece in pieces:
                yield piece

    async def _write_both(self, key: Key, chunks: AsyncIterable[bytes]) -> None:
        branch = Branch(self.fast, key)
        try:
            async with aclosing(branch.tee(chunks)) as passed:
                await self.slow.write(key, passed)
            error = await branch.finish()
        except BaseException:
            await branch.abort()
            raise
        if error is not None:
            self.degrade("write", error)

    async def _discard_fast(self, key: Key) -> None:
        try:
            await self.fast.discard((key,))
        except RemexError as error:
            self.degrade("discard", error)

    # ---- values that can be replaced

    async def _read_replaceable(
        self, key: Key, offset: int, limit: int | None
    ) -> AsyncGenerator[bytes]:
        given = False
        try:
            async with aclosing(self.fast.read(key, offset=offset, limit=limit)) as pieces:
                async for piece in pieces:
                    given = True
                    yield piece
        except BlobNotFound:
            pass
        except RemexError as error:
            self.degrade("read", error)
            if given:
                raise  # the slow tier may have another value by now
        else:
            return
        kept: list[bytes] = []
        size = 0
        with self._replacements.reading(key) as reading:
            async with aclosing(self.slow.read(key, offset=offset, limit=limit)) as pieces:
                async for piece in pieces:
                    size += len(piece)
                    if size <= PIECE:
                        kept.append(piece)
                    yield piece
            whole = offset == 0 and limit is None and size <= PIECE
            if whole and self.fast_direction.takes_fills and reading.is_current:
                self.fills.add_values([(key, b"".join(kept))])

    async def _replace(self, key: Key, chunks: AsyncIterable[bytes]) -> None:
        """Writes to one tier what the other one may have too; that one is rid of it first."""
        target, other = self.slow, self.fast
        if not self.slow_direction.takes_writes:
            target, other = other, target
        with self._replacements.writing(key):
            await self.fills.stop((key,))
            await other.discard((key,))
            await target.write(key, chunks)

    def _local_files(self) -> TieredFiles | None:
        if self._files is None and self.fast_direction.takes_fills:
            local = ops.capability(self.fast, LocalFiles)
            if local is not None:
                self._files = TieredFiles(self, local)
        return self._files


async def _build(spec: FastSlowSpec, ctx: StoreContext) -> Store:
    return FastSlowStore(
        await ctx.child("fast", spec.fast),
        await ctx.child("slow", spec.slow),
        spec.fast_direction,
        spec.slow_direction,
        ctx.clock,
        ctx.path,
    )


FAST_SLOW: Final = StoreType(
    name="fast_slow",
    spec=FastSlowSpec,
    build=_build,
    summary="a near store in front of a far one that has everything",
    forwards=frozenset({BatchIO, LocalFiles}),
    shared=True,
)
