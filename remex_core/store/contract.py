"""The store contract: four operations that every kind has, and capabilities that some have.

A store holds complete values under keys. Kinds compose: a `compression` or a `fast_slow` is
itself a store over others. The base class has no conveniences on purpose, since a decorator
that forgot to override one would be bypassed; those are free functions in `store.ops`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, TypeVar

from remex_core.errors import RemexError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Collection, Mapping, Sequence
    from pathlib import Path

    from remex_core.digest import Key

C = TypeVar("C", bound="Capability")


class Content(StrEnum):
    """What a store tree is asked to hold."""

    CAS = "cas"
    AC = "ac"
    OPAQUE = "opaque"


class Refreshes(Enum):
    """Whether a touch makes a value live longer."""

    YES = "yes"
    APPROXIMATE = "approximate"
    NO = "no"


class Store(ABC):
    """Complete values under keys.

    All methods may be called concurrently and may be cancelled at any await; a cancelled write
    leaves nothing behind. `find_missing` and `read` touch what they find: a key touched in the
    last `protect.hard` (10 min) is not evicted.
    """

    @abstractmethod
    async def find_missing(self, keys: Collection[Key]) -> frozenset[Key]:
        """Exactly those of `keys` that cannot be read now; touches the others.

        Raises:
            StoreUnavailable: if the backend cannot tell.
        """

    @abstractmethod
    def read(self, key: Key, *, offset: int = 0, limit: int | None = None) -> AsyncGenerator[bytes]:
        """The bytes `[offset, offset + limit)` of the value, in pieces of at most 1 MiB.

        Offsets are in bytes and lie within the value (callers check them against `key.size`);
        a limit of None means to the end. Close the generator to stop early.

        Raises:
            BlobNotFound: at the first step, if the value is not here.
            DataLoss: later, if the stored bytes turn out to be wrong.
        """

    @abstractmethod
    async def write(self, key: Key, chunks: AsyncIterable[bytes]) -> None:
        """Stores the value, all or nothing; it is invisible until complete.

        For CAS keys a value that is present already may be left as it is, and then `chunks`
        need not be consumed; for AC and OPAQUE keys the new value replaces the old. The caller
        vouches for the content: whoever takes bytes from another process hashes them. The caller
        also closes `chunks` where that matters; nothing reads them once this has returned. What
        they raise comes out unchanged, and then nothing is stored.

        Raises:
            StoreFull: if there is no room and nothing may be evicted.
            DigestMismatch: if a kind that checks finds another size or hash.
        """

    @abstractmethod
    async def discard(self, keys: Collection[Key]) -> None:
        """Afterwards these keys are missing; absent ones are no error.

        A store in front of a system that has no way to remove values (such as another REAPI
        server) leaves them where they are, and its docstring says so.
        """

    def forward(self, capability: type[C]) -> C | None:
        """The object that answers for `capability` on behalf of this store.

        The base class hides everything it does not implement: a wrapper that lets a capability
        of its child through says so here, and in its descriptor's `forwards`.
        """
        return self if isinstance(self, capability) else None

    async def close(self) -> None:  # noqa: B027 - most stores hold nothing that needs closing
        """Releases what the store holds; called once, parents before children."""


class Capability(ABC):  # noqa: B024 - a marker
    """An optional ability of a store; ask for one by `ops.capability(store, BatchIO)`."""


class BatchIO(Capability):
    """Small values by the thousand in one call, one RPC, one thread hop."""

    @abstractmethod
    async def read_batch(
        self, keys: Sequence[Key], max_bytes: int
    ) -> Mapping[Key, bytes | RemexError]:
        """Each key's value, or the error that reading it alone would have raised.

        `max_bytes` bounds the sum of the sizes; the caller has checked it.
        """

    @abstractmethod
    async def write_batch(self, items: Sequence[tuple[Key, bytes]]) -> Mapping[Key, RemexError]:
        """Stores each value as `write` would; answers the errors by key, nothing for the rest."""


@dataclass(frozen=True, slots=True)
class LinkFile:
    """One file to make: the blob `key` at `path`, with the executable bit or without."""

    key: Key
    path: str
    executable: bool


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """Directories and files to make below `root`, which exists.

    `directories` are relative and listed parents first; `files` name relative paths whose parent
    is the root or one of `directories`. Neither contains `..`, an empty segment or an absolute
    path: whoever builds a plan from a client's tree has checked that.
    """

    root: Path
    directories: Sequence[str]
    files: Sequence[LinkFile]


class LocalFiles(Capability):
    """Values that are files on this machine."""

    @abstractmethod
    async def link_into(self, plan: LinkPlan) -> frozenset[Key]:
        """Makes the whole plan in few large steps, by hard link, else reflink or copy.

        Files appear read-only (0444, executables 0555). Answers the keys that are not here and
        whose files were therefore not made; everything else of the plan exists afterwards.
        Running it again with the same plan makes only what is still absent.
        """

    @abstractmethod
    async def adopt(self, key: Key, path: Path) -> None:
        """Takes over the finished file at `path` without copying where the filesystem allows it.

        The caller has hashed the file, has closed it, and does not use `path` afterwards: the
        store may have renamed it away. The file must be the caller's own and have one link.

        Raises:
            StoreFull: if there is no room; the file is then left where it was.
        """

    async def adopt_many(self, files: Sequence[tuple[Key, Path]]) -> Mapping[Key, RemexError]:
        """Takes over many files, each as `adopt` would; answers the errors by key.

        For stores where many at once cost less than one by one: fewer thread hops, fewer calls of
        another server. What could not be taken is left where it was.
        """
        errors: dict[Key, RemexError] = {}
        for key, path in files:
            try:
                await self.adopt(key, path)
            except RemexError as error:
                errors[key] = error
        return errors

    @abstractmethod
    def verify_links(self, plan: LinkPlan) -> frozenset[Key]:
        """Which of the plan's linked values were changed through their links (blocking).

        Compares each file's seal (size and mtime) with what was stored; the caller discards
        what is named here, so that tampered bytes are never served.
        """

    @property
    @abstractmethod
    def work_root(self) -> Path:
        """A directory on the store's own mount, where links can be made; for work directories."""
