"""The kind `completeness_checking`: an action cache that answers only what can be downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from remex_core.digest import FUNCTIONS, KeyMaker
from remex_core.errors import BlobNotFound, DataLoss, RemexError
from remex_core.plugins.descriptors import Spec, StoreChild, StoreContext, StoreType
from remex_core.store import ops
from remex_core.store.contract import Content, Store
from remex_core.store.pieces import cut
from remex_core.store.references import (
    DirectoryReferences,
    MalformedMessageError,
    of_action_result,
    of_directory,
    of_tree,
)

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        Callable,
        Collection,
        Iterable,
        Mapping,
        Sequence,
    )

    from remex_core.digest import Key

MAX_RESULT_BYTES: Final = 64 * 1024 * 1024
MAX_TREE_BYTES: Final = 256 * 1024 * 1024
REMEMBERED_KEYS: Final = 200_000
_BATCH_BYTES: Final = 4_000_000
_BATCH_KEYS: Final = 1000


class CompletenessCheckingSpec(Spec):
    """Options of the kind `completeness_checking`."""

    backend: StoreChild
    cas: StoreChild


class CompletenessCheckingStore(Store):
    """The action results of `backend` whose outputs are all in `cas`; the others are missing.

    Adds: REAPI rules AC-02, AC-03 and AC-18. A result is answered only if every blob that it
    refers to is there: output files, stdout, stderr, Trees with every file in them, and root
    directories with everything below them. Looking a result up touches all of these. Entries
    whose outputs are gone are kept, since the outputs may come back.

    Assumes that whoever writes has checked the result (as the services do), and that what `cas`
    says is present stays so for a while (`protect.hard`). Costs one `find_missing` a look-up, and
    the first time for each Tree or root directory a read of it; what these refer to is
    remembered, up to 200,000 keys for either. `find_missing` reads every result it is asked about.

    Clients that build without the bytes need it. Leave it out only where results cannot outlive
    their outputs, or as the backend of another one.
    """

    def __init__(self, backend: Store, cas: Store) -> None:
        self._backend = backend
        self._cas = cas
        self._trees = _References(cas, _of_tree)
        self._directories = _References(cas, of_directory)

    async def find_missing(self, keys: Collection[Key]) -> frozenset[Key]:
        missing = await self._backend.find_missing(keys)
        incomplete = set()
        for key in dict.fromkeys(keys):
            if key not in missing:
                try:
                    await self._complete(key)
                except BlobNotFound:
                    incomplete.add(key)
        return missing | incomplete

    async def read(
        self, key: Key, *, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes]:
        value = await self._complete(key)
        end = len(value) if limit is None else offset + limit
        for piece in cut((value,), offset, end):
            yield piece

    async def write(self, key: Key, chunks: AsyncIterable[bytes]) -> None:
        await self._backend.write(key, chunks)

    async def discard(self, keys: Collection[Key]) -> None:
        await self._backend.discard(keys)

    async def _complete(self, key: Key) -> bytes:
        """The result under `key`, when all that it refers to is there.

        Raises:
            BlobNotFound: otherwise.
        """
        value = await ops.read_all(self._backend, key, max_bytes=MAX_RESULT_BYTES)
        maker = _MAKERS[key.function]
        try:
            result = of_action_result(maker, value)
            wanted = {*result.blobs, *result.trees, *result.roots}
            for tree in await self._trees.of(result.trees):
                wanted.update(tree.files)
            if result.roots:
                wanted.update(await self._below(result.roots))
        except (MalformedMessageError, BlobNotFound):
            raise BlobNotFound(key) from None
        wanted.discard(maker.function.empty_key)  # which is always there (DIG-10)
        if wanted and await self._cas.find_missing(wanted):
            raise BlobNotFound(key)
        return value

    async def _below(self, roots: Collection[Key]) -> set[Key]:
        """All directories and files below these directories."""
        files: set[Key] = set()
        seen: set[Key] = set()
        level = set(roots)
        while level:
            seen |= level
            below: set[Key] = set()
            for directory in await self._directories.of(level):
                files.update(directory.files)
                below.update(directory.directories)
            level = below - seen
        return seen | files


class _References:
    """What blobs of one kind of message refer to: remembered, or read from the CAS and parsed."""

    def __init__(self, cas: Store, parse: Callable[[KeyMaker, bytes], DirectoryReferences]) -> None:
        self._cas = cas
        self._parse = parse
        self._known: dict[Key, DirectoryReferences | None] = {}
        self._known_keys = 0

    async def of(self, blobs: Iterable[Key]) -> list[DirectoryReferences]:
        """What each of these blobs refers to.

        Raises:
            MalformedMessageError: if one of them is not such a message.
            BlobNotFound: if one of them is absent.
        """
        found = []
        unknown = []
        for key in dict.fromkeys(blobs):
            if key in self._known:
                found.append(_well_formed(self._known[key]))
            elif key.size:
                unknown.append(key)
        for batch in ops.in_batches(unknown, max_bytes=_BATCH_BYTES, max_keys=_BATCH_KEYS):
            for key, value in (await self._read(batch)).items():
                if isinstance(value, DataLoss):
                    await self._cas.discard((key,))
                    raise BlobNotFound(key)
                if isinstance(value, RemexError):
                    raise value
                found.append(_well_formed(self._remembered(key, value)))
        return found

    async def _read(self, batch: Sequence[Key]) -> Mapping[Key, bytes | RemexError]:
        if batch[0].size <= _BATCH_BYTES:
            return await ops.read_many(self._cas, batch, max_bytes=_BATCH_BYTES)
        (key,) = batch
        if key.size > MAX_TREE_BYTES:
            raise MalformedMessageError(f"{key} is too large to be looked into")
        try:
            return {key: await ops.read_all(self._cas, key, max_bytes=MAX_TREE_BYTES)}
        except DataLoss as error:
            return {key: error}

    def _remembered(self, key: Key, value: bytes) -> DirectoryReferences | None:
        """What `value` refers to, or None if it is malformed; known from now on."""
        try:
            references = self._parse(_MAKERS[key.function], value)
            size = 1 + len(references.files) + len(references.directories)
        except MalformedMessageError:
            references, size = None, 1
        if self._known_keys + size > REMEMBERED_KEYS:
            self._known.clear()  # cheaper on average than keeping an order
            self._known_keys = 0
        if size <= REMEMBERED_KEYS:
            self._known[key] = references
            self._known_keys += size
        return references


_MAKERS: Final = {name: KeyMaker(function) for name, function in FUNCTIONS.items()}


def _of_tree(maker: KeyMaker, value: bytes) -> DirectoryReferences:
    return DirectoryReferences(of_tree(maker, value), ())


def _well_formed(references: DirectoryReferences | None) -> DirectoryReferences:
    if references is None:
        raise MalformedMessageError("it is not the message that it should be")
    return references


async def _build(spec: CompletenessCheckingSpec, ctx: StoreContext) -> Store:
    return CompletenessCheckingStore(
        await ctx.child("backend", spec.backend), await ctx.child("cas", spec.cas)
    )


COMPLETENESS_CHECKING: Final = StoreType(
    name="completeness_checking",
    spec=CompletenessCheckingSpec,
    build=_build,
    summary="an action cache that answers only what can be downloaded",
    accepts=frozenset({Content.AC}),
    passes={"cas": Content.CAS},
    shared=True,
)
