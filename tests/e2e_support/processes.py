"""Starts `remex serve` processes as a site would, and holds them to a clean life."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_HOST = "127.0.0.1"
_START_SECONDS = 30
_DRAIN_SECONDS = 30


@dataclass(frozen=True, slots=True)
class RemexProcess:
    """One `remex serve`, ready; `log` has its output, `data_dir` its state while it lives."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    data_dir: Path

    def kill(self) -> None:
        """End the process at once, as a crash of it would: only itself, with SIGKILL."""
        self.process.kill()
        self.process.wait()

    def printed(self) -> str:
        """Return everything that the process wrote to its output so far."""
        return self.log.read_text(errors="replace")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running remex: the address for clients, and its processes by name."""

    address: str
    processes: dict[str, RemexProcess]

    @property
    def endpoint(self) -> str:
        """The address as Bazel wants it."""
        return f"grpc://{self.address}"


def free_address() -> str:
    """Return a loopback address that nobody listened on a moment ago."""
    with socket.create_server((_HOST, 0)) as listener:
        return f"{_HOST}:{listener.getsockname()[1]}"


@contextmanager
def serving(name: str, directory: Path, *flags: str) -> Iterator[RemexProcess]:
    """A `remex serve` with these flags, from when it is ready until it has drained.

    Raises:
        AssertionError: it did not become ready, wrote a traceback, or did not end with 0 within
            30 s of SIGTERM. One that the test itself killed only has to be free of tracebacks.
    """
    directory.mkdir(parents=True, exist_ok=True)
    http_address = free_address()
    log = directory / f"{name}.log"
    data_dir = directory / name
    command = [sys.executable, "-m", "remex_core", "serve", *flags]
    command += ["--http-listen", http_address, "--data-dir", str(data_dir)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A group of its own, so that whatever it leaves behind can be ended with it.
            start_new_session=True,
        )
    remex = RemexProcess(name, process, log, data_dir)
    try:
        _wait_ready(remex, http_address)
        yield remex
        _end(remex)
    finally:
        _kill_group(process)
        shutil.rmtree(data_dir, ignore_errors=True)
    if "Traceback (most recent call last)" in remex.printed():
        raise AssertionError(f"{name} wrote a traceback:\n{remex.printed()}")


@contextmanager
def all_in_one(directory: Path) -> Iterator[Cluster]:
    """`remex serve` alone: every role in one process, with the defaults for all but addresses."""
    address = free_address()
    with serving(
        "remex", directory, "--listen", address, "--worker-listen", free_address()
    ) as remex:
        yield Cluster(address, {"remex": remex})


@contextmanager
def lone_cas(directory: Path) -> Iterator[Cluster]:
    """The cas role alone: a cache, and nothing that executes."""
    address = free_address()
    with serving("cas", directory, "--role", "cas", "--listen", address) as cas:
        yield Cluster(address, {"cas": cas})


@contextmanager
def separate_roles(directory: Path, *, workers: Sequence[str], slots: int = 2) -> Iterator[Cluster]:
    """One cas, one scheduler and these workers, each a process; clients know the scheduler."""
    address, worker_address = free_address(), free_address()
    with ExitStack() as stack:
        cas = stack.enter_context(lone_cas(directory))
        cas_url = f"grpc://{cas.address}"
        processes = dict(cas.processes)
        processes["scheduler"] = stack.enter_context(
            serving(
                "scheduler",
                directory,
                *("--role", "scheduler", "--listen", address),
                *("--worker-listen", worker_address, "--cas", cas_url),
            )
        )
        for name in workers:
            processes[name] = stack.enter_context(
                serving(
                    name,
                    directory,
                    *("--role", "worker", "--name", name, "--slots", str(slots)),
                    *("--cas", cas_url, "--scheduler", f"grpc://{worker_address}"),
                )
            )
        yield Cluster(address, processes)


def _environment() -> dict[str, str]:
    """Return the environment without what would configure remex beside the flags."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("REMEX_", "OTEL_", "GRPC_"))
    }
    return {**kept, "PYTHONUNBUFFERED": "1"}


def _wait_ready(remex: RemexProcess, http_address: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if remex.process.poll() is not None:
            raise AssertionError(
                f"{remex.name} ended with {remex.process.returncode} before it was ready:\n"
                f"{remex.printed()}"
            )
        ready, answer = _readiness(http_address)
        if ready:
            return
        time.sleep(0.05)
    raise AssertionError(
        f"{remex.name} was not ready after {_START_SECONDS} s; /readyz at {http_address} last "
        f"answered {answer}\n{remex.printed()}"
    )


def _readiness(http_address: str) -> tuple[bool, str]:
    connection = http.client.HTTPConnection(http_address, timeout=5)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        body = response.read().decode(errors="replace")
    except OSError as error:
        return False, str(error)
    finally:
        connection.close()
    return response.status == HTTPStatus.OK, f"{response.status}: {body}"


def _end(remex: RemexProcess) -> None:
    process = remex.process
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{remex.name} still runs {_DRAIN_SECONDS} s after SIGTERM:\n{remex.printed()}"
            ) from None
    elif process.returncode != -signal.SIGKILL:
        raise AssertionError(f"{remex.name} ended by itself:\n{remex.printed()}")
    if process.returncode not in {0, -signal.SIGKILL}:
        raise AssertionError(
            f"{remex.name} ended with {process.returncode} on SIGTERM:\n{remex.printed()}"
        )


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # The group outlives its leader, so this also ends what a killed process left behind.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
