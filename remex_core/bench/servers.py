"""The cas processes that are measured: one for each kind of store, each by itself."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from remex_core.testing.processes import free_address, running, start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STORES: Final = ("memory", "filesystem")


@contextmanager
def cas(store: str, directory: Path, memory_bytes: int) -> Iterator[str]:
    """The address of a cas with a store of this kind.

    In memory it keeps the newest blobs only, `memory_bytes` of them; on disk, all.
    """
    stores = {
        "memory": f"memory: {{ max_bytes: {memory_bytes}, protect: {{ hard: 0s }} }}",
        "filesystem": f"filesystem: {{ path: {directory}/cas }}",
    }
    directory.mkdir(parents=True)
    config = directory / "remex.yaml"
    config.write_text(
        "version: 1\n"
        "stores:\n"
        f"  cas: {{ {stores[store]} }}\n"
        "  ac: { memory: { max_bytes: 1MiB } }\n"
    )
    address = free_address()
    process = start(store, directory, "--role", "cas", "--listen", address, "-c", str(config))
    with running(process):
        yield address
