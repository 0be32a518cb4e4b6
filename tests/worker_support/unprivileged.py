"""Lets a test that runs as root see permissions as another user does."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOBODY = 65534


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A directory of this process's user, who is not root inside the block."""
    directory = Path(tempfile.mkdtemp(prefix="remex-test-"))
    was_root = os.geteuid() == 0
    if was_root:
        os.chown(directory, _NOBODY, _NOBODY)
        os.seteuid(_NOBODY)
    try:
        yield directory
    finally:
        if was_root:
            os.seteuid(0)
        shutil.rmtree(directory)
