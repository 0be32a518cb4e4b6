"""The configurations in `examples/`, started as their first lines say, and used."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from remex_core.client import connect
from remex_core.client.actions import Command
from remex_core.testing.processes import all_in_one, free_address, running, start

if TYPE_CHECKING:
    from collections.abc import Mapping

    from remex_core.testing.processes import ServeProcess

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180, method="signal")]


async def _run(address: str, name: str, platform: Mapping[str, str]) -> tuple[bytes, str, bool]:
    """What one action wrote, who ran it, and whether it came from the cache."""
    script = f"open('out', 'w').write(open('in').read() + {name!r})"
    command = Command(
        (sys.executable, "-c", script), {"in": b"made by "}, outputs=("out",), platform=platform
    )
    async with connect(f"grpc://{address}") as client:
        finished = await client.run(command)
        (output,) = finished.result.output_files
        written = await client.download(client.key(output.digest))
        return written, finished.result.execution_metadata.worker, finished.cached


async def test_basic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process runs an action, and has its result the second time."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    with all_in_one(
        tmp_path / "remex", "-c", str(EXAMPLES / "basic.yaml"), "--name", "one"
    ) as cluster:
        assert (b"made by basic", "one", False) == await _run(cluster.address, "basic", {})
        assert (b"made by basic", "one", True) == await _run(cluster.address, "basic", {})


async def test_multi_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cas, a scheduler and two workers find each other by two addresses in the environment."""
    cas, public, worker_api = free_address(), free_address(), free_address()
    monkeypatch.setenv("CAS_ENDPOINT", f"grpc://{cas}")
    monkeypatch.setenv("SCHEDULER_ENDPOINT", f"grpc://{worker_api}")

    def configured(role: str) -> tuple[str, ...]:
        return "--role", role, "-c", str(EXAMPLES / "multi-worker" / f"{role}.yaml")

    def serve(name: str, *flags: str) -> ServeProcess:
        directory = tmp_path / name
        directory.mkdir()
        monkeypatch.setenv("DATA_DIR", str(directory))
        return start(name, directory, *flags)

    stores = serve("cas", *configured("cas"), "--listen", cas)
    scheduler = serve(
        "scheduler", *configured("scheduler"), "--listen", public, "--worker-listen", worker_api
    )
    workers = []
    for pool in ("small", "large"):
        monkeypatch.setenv("WORKER_NAME", f"worker-{pool}")
        monkeypatch.setenv("WORKER_POOL", pool)
        workers.append(serve(pool, *configured("worker")))
    with running(stores, scheduler, *workers):
        for pool in ("small", "large"):
            expected = (f"made by {pool}".encode(), f"worker-{pool}")
            assert (*expected, False) == await _run(public, pool, {"Pool": pool})
            assert (*expected, True) == await _run(public, pool, {"Pool": pool})
