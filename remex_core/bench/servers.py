"""The cas processes that are measured: one for each kind of store, each by itself."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from remex_core.testing.processes import free_address, running, start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STORES: Final = ("memory", "filesystem")

_MEMORY: Final = """\
version: 1
stores:
  cas: {{ memory: {{ max_bytes: {max_bytes} }} }}
  ac: {{ memory: {{ max_bytes: 1MiB }} }}
"""


@contextmanager
def cas(store: str, directory: Path, max_bytes: int) -> Iterator[str]:
    """The address of a cas whose store is of this kind and holds at most `max_bytes`."""
    address = free_address()
    flags = ["--role", "cas", "--listen", address]
    if store == "memory":
        directory.mkdir(parents=True, exist_ok=True)
        config = directory / "memory.yaml"
        config.write_text(_MEMORY.format(max_bytes=max_bytes))
        flags += ["-c", str(config)]
    else:
        flags += ["--max-bytes", str(max_bytes)]
    process = start(store, directory, *flags)
    with running([process]):
        yield address
