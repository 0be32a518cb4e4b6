"""The plainest store with `LocalFiles`: one file per blob; for tests of what stands above one.

Blocking and unbounded. What a site uses is the kind `filesystem`.
"""

from __future__ import annotations

import itertools
import os
import shutil
from typing import TYPE_CHECKING, Final

from remex_core.errors import BlobNotFound
from remex_core.store.contract import LinkPlan, LocalFiles, Store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Collection
    from pathlib import Path

    from remex_core.digest import Key

PIECE: Final = 1024 * 1024


class DirectoryStore(LocalFiles, Store):
    """CAS blobs as files in one directory, which links are made from."""

    def __init__(self, directory: Path) -> None:
        self._blobs = directory / "blobs"
        self._work = directory / "work"
        self._blobs.mkdir(parents=True)
        self._work.mkdir()
        self._seals: dict[Path, tuple[int, int]] = {}
        self._serial = itertools.count()

    async def find_missing(self, keys: Collection[Key]) -> frozenset[Key]:
        return frozenset(key for key in keys if not self._path(key).exists())

    async def read(
        self, key: Key, *, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes]:
        try:
            file = self._path(key).open("rb")
        except FileNotFoundError:
            raise BlobNotFound(key) from None
        with file:
            file.seek(offset)
            left = key.size if limit is None else limit
            while left > 0 and (piece := file.read(min(left, PIECE))):
                left -= len(piece)
                yield piece

    async def write(self, key: Key, chunks: AsyncIterable[bytes]) -> None:
        path = self._work / f"write-{next(self._serial)}"
        try:
            with path.open("xb") as file:
                async for chunk in chunks:
                    file.write(chunk)
            self._commit(key, path)
        finally:
            path.unlink(missing_ok=True)

    async def discard(self, keys: Collection[Key]) -> None:
        for key in keys:
            for executable in (False, True):
                self._path(key, executable=executable).unlink(missing_ok=True)

    async def link_into(self, plan: LinkPlan) -> frozenset[Key]:
        missing = set()
        for directory in plan.directories:
            (plan.root / directory).mkdir(exist_ok=True)
        for file in plan.files:
            target = plan.root / file.path
            try:
                source = self._path(file.key)
                if file.executable:
                    source = self._executable_twin(file.key)
                if not target.exists():
                    os.link(source, target)
            except FileNotFoundError:
                missing.add(file.key)
        return frozenset(missing)

    async def adopt(self, key: Key, path: Path) -> None:
        self._commit(key, path)

    def verify_links(self, plan: LinkPlan) -> frozenset[Key]:
        # What counts are the store's own files: a link that was replaced harms nobody.
        return frozenset(
            file.key
            for file in plan.files
            if not self._is_sealed(self._path(file.key, executable=file.executable))
        )

    @property
    def work_root(self) -> Path:
        return self._work

    def _path(self, key: Key, *, executable: bool = False) -> Path:
        return self._blobs / f"{key.function}-{key.hash}-{key.size}{'-x' if executable else ''}"

    def _commit(self, key: Key, path: Path) -> None:
        path.chmod(0o444)
        path.replace(self._path(key))
        self._seal(self._path(key))

    def _executable_twin(self, key: Key) -> Path:
        twin = self._path(key, executable=True)
        if not twin.exists():
            shutil.copyfile(self._path(key), twin)
            twin.chmod(0o555)
            self._seal(twin)
        return twin

    def _seal(self, path: Path) -> None:
        status = path.stat()
        self._seals[path] = (status.st_size, status.st_mtime_ns)

    def _is_sealed(self, path: Path) -> bool:
        status = path.stat()
        return self._seals.get(path) == (status.st_size, status.st_mtime_ns)
