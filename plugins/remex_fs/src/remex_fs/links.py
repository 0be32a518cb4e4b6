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
from remex_fs.layout import EXECUTABLE_SUFFIX
from remex_fs.seal import EXECUTABLE_MODE, PLAIN_MODE, seal_ns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from remex_core.plugin import Key, LinkFile, LinkPlan
    from remex_fs.directory import BlobDirectory
    from remex_fs.writer import Writer

_LINK_TRIES: Final = 3
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
        self._plain: dict[Key, str] = {}
        self._twins: dict[Key, str] = {}
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
        """Links what is here and can be linked; quickest where siblings follow one another."""
        parent, at = "", -1
        with self._linking:
            try:
                for file in files:
                    folder, _, name = file.path.rpartition("/")
                    if at < 0 or folder != parent:
                        at = self._enter(folder, at)
                        parent = folder
                    self._link(file, name, at)
            finally:
                if at >= 0:
                    os.close(at)

    def _enter(self, folder: str, before: int) -> int:
        """An open directory of the plan, in the place of the one that was open before."""
        at = os.open(f"{self._root}/{folder}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if before >= 0:
            os.close(before)
        return at

    def _link(self, file: LinkFile, name: str, at: int) -> None:
        sources = self._twins if file.executable else self._plain
        source = sources.get(file.key)
        if source is None:
            source = sources[file.key] = self._look(file)
        if source:
            if not self._try_link(source, file, name, at):
                self.left.append(file)
        elif file.key not in self.missing:
            self.left.append(file)

    def _look(self, file: LinkFile) -> str:
        """The file to link to; empty where there is none, or not yet."""
        key, now_ns, is_file = file.key, self._now_ns, self._directory.is_file
        path = self._layout.blob(key)
        if not is_file(path, key, now_ns):
            self.missing.add(key)
            return ""
        if file.executable:
            path += EXECUTABLE_SUFFIX
            return path if is_file(path, key, now_ns) else ""
        return path

    def _try_link(self, source: str, file: LinkFile, name: str, at: int) -> bool:
        """Links unless links cannot be made there; whether the question is settled."""
        # Whoever stores an equal file at this moment replaces the one that is being linked, and
        # the kernel then finds the old one without a name: look again before it counts as gone.
        for _ in range(_LINK_TRIES):
            try:
                os.link(source, name, dst_dir_fd=at)
            except FileExistsError:
                return True
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno in _CANNOT_LINK:
                    return False
                raise
            return True
        self.missing.add(file.key)  # evicted since it was looked at
        return True

    def finish(self) -> None:
        """Makes what is left, by an executable twin or by a copy."""
        with self._linking:
            for file in self.left:
                folder, _, name = file.path.rpartition("/")
                at = self._enter(folder, -1)
                try:
                    self._finish(file, name, at)
                finally:
                    os.close(at)
        self.left = []

    def _finish(self, file: LinkFile, name: str, at: int) -> None:
        try:
            if file.executable:
                twin = self._layout.executable(file.key)
                if not self._directory.is_file(twin, file.key, self._now_ns):
                    self._writer.make_twin(file.key, self._now_ns)
                if self._try_link(twin, file, name, at):
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
