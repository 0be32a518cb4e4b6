"""Materialising a plan: directories and hard links, each value looked at once.

What is quick, a look and a `link` relative to an open directory, is `link`; what may take long,
a copy or the making of an executable twin, is put off to `finish`.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from remex_core.plugin import BlobNotFound
from remex_fs.draft import copy_bytes
from remex_fs.failures import Reporting
from remex_fs.seal import EXECUTABLE_MODE, PLAIN_MODE, seal_ns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from remex_core.plugin import Key, LinkFile, LinkPlan
    from remex_fs.directory import BlobDirectory
    from remex_fs.writer import Writer

_CANNOT_LINK: Final = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS}
)


class Links:
    """One plan in the making; its methods block, and leave alone what exists already.

    Attributes:
        missing: the keys whose values are not here.
        left: the files that `finish` is to make.

    Raises:
        StoreFull: if the disk has no room for a directory, a link or a copy.
    """

    def __init__(self, plan: LinkPlan, directory: BlobDirectory, writer: Writer) -> None:
        self.missing: set[Key] = set()
        self.left: list[LinkFile] = []
        self._root = str(plan.root)
        self._directory = directory
        self._layout = directory.layout
        self._writer = writer
        self._now_ns = directory.now_ns()
        self._sources: dict[tuple[Key, bool], str | None] = {}
        self._linking = Reporting("linking inputs", directory.layout.root)

    def make_root(self) -> None:
        """Makes the root, should it not be there."""
        with self._linking:
            os.makedirs(self._root, exist_ok=True)

    def make_directories(self, paths: Sequence[str]) -> None:
        """Makes directories below the root, parents first."""
        with self._linking:
            for path in paths:
                try:
                    os.mkdir(f"{self._root}/{path}")
                except FileExistsError:
                    continue

    def link(self, files: Sequence[LinkFile]) -> None:
        """Links what is here and can be linked."""
        with self._linking:
            for parent, children in _by_parent(files).items():
                at = _open_directory(f"{self._root}/{parent}")
                try:
                    for name, file in children:
                        self._link(file, name, at)
                finally:
                    os.close(at)

    def _link(self, file: LinkFile, name: str, at: int) -> None:
        source = self._source(file)
        if source is not None:
            if not self._try_link(source, file, name, at):
                self.left.append(file)
        elif file.key not in self.missing:
            self.left.append(file)

    def _source(self, file: LinkFile) -> str | None:
        """The file to link to; None where there is none, or not yet."""
        which = file.key, file.executable
        try:
            return self._sources[which]
        except KeyError:
            source = self._sources[which] = self._look(*which)
            return source

    def _look(self, key: Key, executable: bool) -> str | None:
        if not self._directory.is_present(key, self._now_ns):
            self.missing.add(key)
            return None
        if not executable:
            return self._layout.blob(key)
        return self._layout.executable(key) if self._directory.has_twin(key, self._now_ns) else None

    def _try_link(self, source: str, file: LinkFile, name: str, at: int) -> bool:
        """Links unless links cannot be made there; whether the question is settled."""
        try:
            os.link(source, name, dst_dir_fd=at)
        except FileExistsError:
            return True
        except FileNotFoundError:
            self.missing.add(file.key)  # evicted since it was looked at
            return True
        except OSError as error:
            if error.errno in _CANNOT_LINK:
                return False
            raise
        return True

    def finish(self) -> None:
        """Makes what is left, by an executable twin or by a copy."""
        with self._linking:
            for file in self.left:
                parent, _, name = file.path.rpartition("/")
                at = _open_directory(f"{self._root}/{parent}")
                try:
                    self._finish(file, name, at)
                finally:
                    os.close(at)
        self.left = []

    def _finish(self, file: LinkFile, name: str, at: int) -> None:
        try:
            if file.executable:
                if not self._directory.has_twin(file.key, self._now_ns):
                    self._writer.make_twin(file.key, self._now_ns)
                if self._try_link(self._layout.executable(file.key), file, name, at):
                    return
            self._copy(file, name, at)
        except BlobNotFound:
            self.missing.add(file.key)
        except FileExistsError:
            return

    def _copy(self, file: LinkFile, name: str, at: int) -> None:
        mode = EXECUTABLE_MODE if file.executable else PLAIN_MODE
        source, _ = self._directory.open(file.key)
        try:
            target = os.open(
                name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=at
            )
            try:
                copy_bytes(source, target)
                os.fchmod(target, mode)
                os.utime(target, ns=(self._now_ns, seal_ns(file.key.size)))
            except BaseException:
                os.unlink(name, dir_fd=at)  # a half-copied file would pass for the whole one
                raise
            finally:
                os.close(target)
        finally:
            os.close(source)


def _open_directory(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _by_parent(files: Iterable[LinkFile]) -> dict[str, list[tuple[str, LinkFile]]]:
    groups: dict[str, list[tuple[str, LinkFile]]] = {}
    for file in files:
        parent, _, name = file.path.rpartition("/")
        group = groups.get(parent)
        if group is None:
            group = groups[parent] = []
        group.append((name, file))
    return groups
