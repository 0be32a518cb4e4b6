"""The options of the kind `filesystem`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from remex_core.plugin import Duration, Size, Spec


class Protect(Spec):
    """How long a touch keeps a value.

    `hard`: never evicted before this has passed. `soft`: evicted before this has passed only
    when nothing older is left and the store would otherwise stay above its high watermark.
    """

    hard: Duration = 600.0
    soft: Duration = 3 * 3600.0

    @model_validator(mode="after")
    def _hard_is_shorter(self) -> Self:
        if self.soft < self.hard:
            raise ValueError("protect.soft must be at least protect.hard")
        return self


class Watermarks(Spec):
    """Shares of `max_bytes`: above `high` eviction starts, at `low` it stops."""

    high: float = Field(default=0.95, gt=0, le=1)
    low: float = Field(default=0.90, gt=0, le=1)

    @model_validator(mode="after")
    def _low_is_below_high(self) -> Self:
        if self.low > self.high:
            raise ValueError("watermarks.low must not be above watermarks.high")
        return self


class FilesystemSpec(Spec):
    """The options of one filesystem store.

    `path` is the directory; its parent must exist. `max_bytes` bounds what the values occupy on
    disk, each rounded up to 4 KiB; without it nothing is ever evicted. `durability: process`
    survives the death of the process, `machine` also a power cut, at the price of a flush for
    each write or group of writes.
    """

    path: str
    max_bytes: Size | None = Field(default=None, gt=0)
    durability: Literal["process", "machine"] = "process"
    protect: Protect = Protect()
    watermarks: Watermarks = Watermarks()
