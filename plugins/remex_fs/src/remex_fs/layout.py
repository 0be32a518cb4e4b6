"""Where everything lies in the directory; `docs/storage-layout.md` is this module in prose.

Other processes, hosts and implementations read the same directory, so nothing here may change
without a new version in the file `LAYOUT`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

from remex_core.plugin import ConfigError

if TYPE_CHECKING:
    from remex_core.plugin import Key

LAYOUT_LINE: Final = "remex filesystem store, layout 1\n"

EXECUTABLE_SUFFIX: Final = ".x"
FILE_NAME: Final = re.compile(r"[0-9a-f]+-[0-9]+(?:\.x)?")

_EFFECTIVE = os.access in os.supports_effective_ids
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")
_MAX_NAME = 200
_MAX_KNOWN_BASES = 4096


class Layout:
    """The paths of one store's directory, as strings: they are built on hot paths."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.cas = f"{self.root}/cas"
        self.spaces = f"{self.root}/spaces"
        self.tmp = f"{self.root}/tmp"  # noqa: S108 - not the system's
        self.quarantine = f"{self.root}/quarantine"
        self.work = f"{self.root}/work"
        self.version_file = f"{self.root}/LAYOUT"
        self.lock_file = f"{self.root}/evictor.lock"
        self._bases: dict[tuple[str, str], str] = {}

    def blob(self, key: Key) -> str:
        """The file that holds the value of `key`."""
        space, function, hash_, size = key
        base = self._bases.get((space, function)) or self._base(space, function)
        return f"{base}{hash_[:2]}/{hash_}-{size}"

    def executable(self, key: Key) -> str:
        """The file with the same bytes and the executable bits: an inode of its own."""
        return self.blob(key) + EXECUTABLE_SUFFIX

    def _base(self, space: str, function: str) -> str:
        parent = f"{self.spaces}/{encoded(space)}" if space else self.cas
        if len(self._bases) >= _MAX_KNOWN_BASES:  # any instance name that a client thinks of
            self._bases.clear()
        base = self._bases[space, function] = f"{parent}/{function}/"
        return base


def encoded(space: str) -> str:
    """A key space as one file name, unambiguous even where names ignore case.

    Every byte of its UTF-8 form but `a-z 0-9 _ -`, and dots after the first place, becomes `%`
    and two lowercase hex digits; a result above 200 characters is replaced by `%sha256-` and the
    SHA-256 of that form.
    """
    raw = space.encode("utf-8", "surrogatepass")
    name = "".join(chr(b) if chr(b) in _PLAIN else f"%{b:02x}" for b in raw)
    if name.startswith("."):
        name = f"%2e{name[1:]}"
    return name if len(name) <= _MAX_NAME else f"%sha256-{hashlib.sha256(raw).hexdigest()}"


def open_layout(root: Path, where: str) -> Layout:
    """The layout of `root`, made if it is new; the work does not depend on what is stored.

    `where` is the node's place in the configuration, for messages.

    Raises:
        ConfigError: if the parent does not exist, or the directory has another layout.
        OSError: if the directory cannot be made or written to; see `unusable`.
    """
    layout = Layout(root)
    if not root.is_dir():
        _make_root(root, where)
    _check_version(layout, where)
    for directory in (layout.cas, layout.spaces, layout.tmp, layout.quarantine, layout.work):
        Path(directory).mkdir(exist_ok=True)
    for directory in (layout.root, layout.cas, layout.spaces, layout.tmp, layout.quarantine):
        if not os.access(directory, os.W_OK | os.X_OK, effective_ids=_EFFECTIVE):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), directory)
    return layout


def unusable(root: Path, where: str, error: OSError) -> ConfigError:
    """What to tell when the directory cannot be used."""
    hint = "Look at that volume, or name another path."
    if error.errno in {errno.EACCES, errno.EPERM}:
        hint = (
            f"Let the user that runs remex (uid {os.geteuid()}) own the directory, "
            "or name another path."
        )
    return ConfigError(
        f"{where}: the filesystem store cannot use {root}: {error.strerror} "
        f"({error.filename or root}).",
        hint=hint,
    )


def _make_root(root: Path, where: str) -> None:
    # The parent is not made: where it is absent, most often a volume is not mounted.
    if not root.parent.is_dir():
        raise ConfigError(
            f"{where}: the filesystem store cannot make {root}, because {root.parent} "
            "does not exist.",
            hint=f"Mount the volume, or run: mkdir -p {root.parent}",
        )
    root.mkdir(exist_ok=True)


def _check_version(layout: Layout, where: str) -> None:
    """Makes the version file of a new directory; refuses another layout, touching nothing."""
    path = Path(layout.version_file)
    if not path.exists():
        draft = Path(f"{layout.version_file}.{socket.gethostname()}-{os.getpid()}")
        draft.write_text(LAYOUT_LINE, encoding="utf-8")
        draft.rename(path)
    found = path.read_bytes()[:200].decode("utf-8", "replace")
    if found != LAYOUT_LINE:
        raise ConfigError(
            f"{where}: {path} says {found.strip()!r}, and this version of remex-fs reads only "
            f"{LAYOUT_LINE.strip()!r}.",
            hint="Use the version of remex-fs that wrote it, or name an empty directory.",
        )
