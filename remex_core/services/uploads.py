"""The uploads of a server by name: joined by streams, and kept for a while when those break."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from remex_core.errors import Aborted, InvalidArgument
from remex_core.services.upload import Upload, UploadPool

if TYPE_CHECKING:
    from remex_core.digest import Key
    from remex_core.store.contract import Store


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What uploads may hold.

    An upload that no stream feeds is idle, and lives for `idle_seconds`. There are at most
    `idle_uploads` of them, and they have received at most `idle_bytes` together; the oldest go
    first. All uploads together keep about `gathered_bytes` in memory, above which each stream
    waits for its store.
    """

    idle_seconds: float = 3600.0
    idle_uploads: int = 256
    idle_bytes: int = 1024**3
    gathered_bytes: int = 128 * 1024**2


@dataclass(slots=True, eq=False)
class _Slot:
    """An upload under its name, and the stream that feeds it, or the timer until it expires."""

    name: str
    upload: Upload
    stream: UploadStream | None = None
    expiry: asyncio.TimerHandle | None = None


class UploadStream:
    """One stream's hold on an upload: a context manager that ends it.

    A later stream of the same name may take the upload over, and this one then has lost it.
    """

    def __init__(self, uploads: Uploads, slot: _Slot) -> None:
        self._uploads = uploads
        self._slot = slot
        slot.stream = self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._slot.stream is self:
            self._uploads.release(self._slot)

    async def append(self, data: bytes) -> bool:
        """Takes the next bytes; True when the store turned out to have the blob (BSW-10).

        Raises:
            Aborted: if this stream has lost the upload (BSW-14).
            RemexError: as `Upload.append`.
        """
        return await self._held().append(data)

    async def finish(self) -> None:
        """Returns when the store has the whole blob; no other stream can join from now on.

        Raises:
            Aborted: if this stream has lost the upload (BSW-14).
            RemexError: as `Upload.finish`.
        """
        upload = self._held()
        self._uploads.forget(self._slot)
        await upload.finish()

    def _held(self) -> Upload:
        if self._slot.stream is not self:
            raise Aborted(f"Another stream goes on with the upload {self._slot.name}.")
        return self._slot.upload


class Uploads:
    """Every upload that can be asked for or resumed, by its full resource name."""

    def __init__(self, limits: UploadLimits | None = None) -> None:
        self._limits = limits or UploadLimits()
        self._pool = UploadPool(self._limits.gathered_bytes)
        self._slots: dict[str, _Slot] = {}
        self._idle: dict[_Slot, None] = {}

    def committed(self, name: str) -> int:
        """How many bytes of this upload survive a broken stream (BSQ-01); 0 if unknown (BSQ-03)."""
        slot = self._slots.get(name)
        return slot.upload.committed if slot is not None and slot.upload.is_open else 0

    def open(self, name: str, cas: Store, key: Key, offset: int) -> UploadStream:
        """A stream that starts an upload anew at offset 0, or goes on where it is (BSW-09).

        One that starts anew leaves a stream of the same name alone; one that goes on takes the
        upload over from it (BSW-14).

        Raises:
            InvalidArgument: if `offset` is neither 0 nor what is committed.
        """
        slot = self._slots.get(name)
        if offset == 0:
            if slot is not None and slot.stream is None:
                self._discard(slot)
            slot = self._slots[name] = _Slot(name, Upload(self._pool, cas, key))
        elif slot is None or offset != self.committed(name):
            raise InvalidArgument(
                f"The write starts at offset {offset}, but {self.committed(name)} bytes of this "
                f"upload are committed.",
                hint="Ask QueryWriteStatus where to go on, or start again at 0.",
            )
        else:
            self._wake(slot)
        return UploadStream(self, slot)

    def release(self, slot: _Slot) -> None:
        """Keeps an upload that no stream feeds any more, if it can be resumed (BSW-13, BSW-22)."""
        slot.stream = None
        is_named = self._slots.get(slot.name) is slot
        if not (is_named and slot.upload.is_open and slot.upload.committed):
            self._discard(slot)
            return
        loop = asyncio.get_running_loop()
        slot.expiry = loop.call_later(self._limits.idle_seconds, self._discard, slot)
        self._idle[slot] = None
        while (
            len(self._idle) > self._limits.idle_uploads
            or sum(idle.upload.committed for idle in self._idle) > self._limits.idle_bytes
        ):
            self._discard(next(iter(self._idle)))

    def forget(self, slot: _Slot) -> None:
        """From now on no stream can join this upload."""
        if self._slots.get(slot.name) is slot:
            del self._slots[slot.name]

    async def close(self) -> None:
        """Ends all uploads; stores keep nothing of those that are not complete."""
        for slot in list(self._slots.values()):
            self._discard(slot)
        await self._pool.close()

    def _discard(self, slot: _Slot) -> None:
        self.forget(slot)
        self._wake(slot)
        slot.upload.abandon()

    def _wake(self, slot: _Slot) -> None:
        self._idle.pop(slot, None)
        if slot.expiry is not None:
            slot.expiry.cancel()
            slot.expiry = None
