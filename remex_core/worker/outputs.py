"""Collecting what an action made: files, directories as Trees, symlinks, stdout and stderr.

Blocking, for one thread hop: when it runs, no process of the action is left, so what is looked
at holds still. What cannot be represented is noted as a problem, and the rest is collected all
the same (OUT-26).
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from remex_core.errors import FailedPrecondition, RemexError
from remex_core.proto import reapi
from remex_core.worker.command import Output, OutputKind
from remex_core.worker.output_content import (
    ContentReader,
    SourceFile,
    is_executable,
    read_link,
    shown,
    special_file,
)
from remex_core.worker.output_tree import OutputTree

if TYPE_CHECKING:
    from pathlib import Path

    from remex_core.digest import DigestFunction, Key
    from remex_core.worker.command import Command


@dataclass(slots=True)
class Collected:
    """What an action made, ready to be uploaded.

    `files` and `blobs` hold the content behind every digest of `result` but the empty one.
    `problems` are in the order in which they were found.
    """

    result: reapi.ActionResult = field(default_factory=reapi.ActionResult)
    files: dict[Key, SourceFile] = field(default_factory=dict)
    blobs: dict[Key, bytes] = field(default_factory=dict)
    problems: list[RemexError] = field(default_factory=list)


def collect(
    root: Path,
    command: Command,
    function: DigestFunction,
    *,
    stdout: Path,
    stderr: Path,
    max_file_bytes: int,
) -> Collected:
    """Everything that `command` declares and that is below `root`, and its output streams.

    Raises:
        OSError: if the worker's disk fails.
    """
    content = ContentReader(os.fspath(root), function, max_file_bytes)
    found = Collected(files=content.files)
    for path, digest in (
        (stdout, found.result.stdout_digest),
        (stderr, found.result.stderr_digest),
    ):
        key = content.hash_stream(os.fspath(path))
        if key is not None and key.size:
            digest.hash, digest.size_bytes = key.hash, key.size
    with ExitStack() as stack:
        collector = _Collector(content, found, command, stack)
        for output in command.outputs:
            collector.add(output)
    return found


class _Collector:
    """Adds declared outputs to what was found; `stack` closes what it opens."""

    def __init__(
        self, content: ContentReader, found: Collected, command: Command, stack: ExitStack
    ) -> None:
        self._content = content
        self._found = found
        self._command = command
        self._stack = stack
        self._parent: tuple[str, int] | None = None

    def add(self, output: Output) -> None:
        """Collects one declared output; one that does not exist is left out (OUT-03)."""
        try:
            parent, name = self._locate(output)
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            kind = stat.S_IFMT(status.st_mode)
            if kind == stat.S_IFREG:
                self._add_file(output, parent, name, status)
            elif kind == stat.S_IFDIR:
                self._add_directory(output, parent, name)
            elif kind == stat.S_IFLNK:
                self._add_symlink(output, parent, name)
            else:
                raise special_file(output.path)
        except RemexError as problem:
            self._found.problems.append(problem)
        except (FileNotFoundError, NotADirectoryError):
            pass

    def _locate(self, output: Output) -> tuple[int, str]:
        """The open parent directory of an output, and its name in there.

        The last parent stays open: outputs come in the order of their paths.
        """
        directory, name = posixpath.split(output.path or ".")
        if self._parent is None or self._parent[0] != directory:
            self._parent = None
            self._stack.close()
            try:
                descriptor = self._open(directory)
            except OSError as error:
                if error.errno not in {errno.ELOOP, errno.ENOTDIR}:
                    raise
                descriptor = self._open(self._resolve(directory))
            self._parent = (directory, descriptor)
        return self._parent[1], name

    def _open(self, directory: str) -> int:
        """Opens a directory of the tree by way of directories alone, no symlinks."""
        current = self._content.open_root()
        self._stack.callback(os.close, current)
        for step in directory.split("/") if directory else ():
            current = self._content.enter(current, step)
            self._stack.callback(os.close, current)
        return current

    def _resolve(self, directory: str) -> str:
        """Where symlinks on the way to a directory lead, if that is in the tree (OUT-20)."""
        root = os.path.realpath(self._content.root)
        real = os.path.realpath(f"{root}/{directory}")
        if real != root and not real.startswith(f"{root}/"):
            raise FileNotFoundError(errno.ENOENT, "outside of the input root", directory)
        return real[len(root) + 1 :]

    def _add_file(self, output: Output, parent: int, name: str, status: os.stat_result) -> None:
        if output.kind is OutputKind.DIRECTORY:
            raise _wrong_kind(output, "a file")
        key = self._content.hash_file(parent, name, output.path, status)
        self._found.result.output_files.add(
            path=output.declared,
            digest=reapi.Digest(hash=key.hash, size_bytes=key.size),
            is_executable=is_executable(status),
        )

    def _add_directory(self, output: Output, parent: int, name: str) -> None:
        if output.kind is OutputKind.FILE:
            raise _wrong_kind(output, "a directory")
        tree = OutputTree(self._content, parent, name, output.path, self._found.problems)
        encoded = tree.encode()
        key = self._content.function.key_of(encoded)
        self._found.blobs[key] = encoded
        directory = self._found.result.output_directories.add(
            path=output.declared,
            tree_digest=reapi.Digest(hash=key.hash, size_bytes=key.size),
            is_topologically_sorted=True,
        )
        if self._command.store_directories:
            key = self._content.function.key_of(tree.root)
            directory.root_directory_digest.hash = key.hash
            directory.root_directory_digest.size_bytes = key.size
            self._found.blobs |= {**tree.children, key: tree.root}
            self._found.blobs.pop(self._content.function.empty_key, None)

    def _add_symlink(self, output: Output, parent: int, name: str) -> None:
        """A symlink is reported as such, never followed (OUT-10, OUT-11, OUT-18)."""
        try:
            leads_to = stat.S_IFMT(os.stat(name, dir_fd=parent).st_mode)
        except OSError:
            leads_to = 0  # Nowhere.
        if output.kind is OutputKind.FILE and leads_to == stat.S_IFDIR:
            raise _wrong_kind(output, "a symlink to a directory")
        if output.kind is OutputKind.DIRECTORY and leads_to not in {0, stat.S_IFDIR}:
            raise _wrong_kind(output, "a symlink to a file")
        symlink = reapi.OutputSymlink(
            path=output.declared, target=read_link(parent, name, output.path)
        )
        result = self._found.result
        older = (
            result.output_directory_symlinks
            if leads_to == stat.S_IFDIR
            else result.output_file_symlinks
        )
        older.append(symlink)
        if self._command.by_output_paths:
            result.output_symlinks.append(symlink)


def _wrong_kind(output: Output, what: str) -> FailedPrecondition:
    """The error of OUT-08 and OUT-11."""
    return FailedPrecondition(f"The {output.kind.value} {shown(output.declared)} is {what}.")
