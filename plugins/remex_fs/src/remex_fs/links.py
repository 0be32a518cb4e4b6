"""Materialising a plan: directories and hard links, in one blocking call.

Links are made relative to open directories, one directory after the other, and each value is
looked at once: what remains is little more than the `link` calls themselves.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from remex_core.plugin import BlobNotFound
from remex_fs.draft import copy_bytes
from remex_fs.failures import Reporting
from remex_fs.layout import EXECUTABLE_MODE, PLAIN_MODE, SEAL_NS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from remex_core.plugin import Key, LinkFile, LinkPlan
    from remex_fs.directory import BlobDirectory

_CANNOT_LINK: Final = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS}
)


def make(plan: LinkPlan, directory: BlobDirectory) -> frozenset[Key]:
    """Makes all of the plan that is still absent; the keys whose values are not here.

    Raises:
        StoreFull: if the disk has no room for a directory, a link or a copy.
    """
    with Reporting("linking inputs", directory.layout.root):
        return _Links(plan, directory).make()


class _Links:
    def __init__(self, plan: LinkPlan, directory: BlobDirectory) -> None:
        self._plan = plan
        self._root = str(plan.root)
        self._directory = directory
        self._now_ns = directory.now_ns()
        self._sources: dict[tuple[Key, bool], str | None] = {}
        self._can_link = True

    def make(self) -> frozenset[Key]:
        os.makedirs(self._root, exist_ok=True)
        for path in self._plan.directories:
            try:
                os.mkdir(f"{self._root}/{path}")
            except FileExistsError:
                continue
        missing: set[Key] = set()
        for parent, files in _by_parent(self._plan.files).items():
            at = os.open(f"{self._root}/{parent}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                missing.update(file.key for name, file in files if not self._place(file, name, at))
            finally:
                os.close(at)
        return frozenset(missing)

    def _place(self, file: LinkFile, name: str, at: int) -> bool:
        """Whether the file is there now."""
        source = self._source(file)
        if source is None:
            return False
        if self._can_link:
            try:
                os.link(source, name, dst_dir_fd=at)
            except FileExistsError:
                return True
            except FileNotFoundError:
                return False  # evicted since it was looked at
            except OSError as error:
                if error.errno in _CANNOT_LINK:
                    self._can_link = False
                elif error.errno != errno.EMLINK:
                    raise
            else:
                return True
        return self._copy(file, name, at)

    def _source(self, file: LinkFile) -> str | None:
        which = (file.key, file.executable)
        try:
            return self._sources[which]
        except KeyError:
            source = self._sources[which] = self._directory.linkable(
                file.key, self._now_ns, executable=file.executable
            )
            return source

    def _copy(self, file: LinkFile, name: str, at: int) -> bool:
        mode = EXECUTABLE_MODE if file.executable else PLAIN_MODE
        try:
            source, _ = self._directory.open(file.key)
        except BlobNotFound:
            return False
        try:
            _copy_to(source, name, at, mode, self._now_ns)
        except FileExistsError:
            return True
        finally:
            os.close(source)
        return True


def _copy_to(source: int, name: str, at: int, mode: int, now_ns: int) -> None:
    target = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=at)
    try:
        copy_bytes(source, target)
        os.fchmod(target, mode)
        os.utime(target, ns=(now_ns, SEAL_NS))
    except BaseException:
        os.unlink(name, dir_fd=at)  # a half-copied file would pass for the whole one
        raise
    finally:
        os.close(target)


def _by_parent(files: Iterable[LinkFile]) -> dict[str, list[tuple[str, LinkFile]]]:
    groups: dict[str, list[tuple[str, LinkFile]]] = {}
    for file in files:
        parent, _, name = file.path.rpartition("/")
        group = groups.get(parent)
        if group is None:
            group = groups[parent] = []
        group.append((name, file))
    return groups
