"""Starts `remex serve` processes on this machine, waits until they are ready, and ends them.

For the demo, the benchmarks, the doctor and end-to-end tests: real processes on loopback ports,
each with a directory and a log of its own. Needs none of what the extra `testing` brings.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from time import sleep
from typing import TYPE_CHECKING

from remex_core.clock import SYSTEM
from remex_core.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_HOST = "127.0.0.1"
_POLL_SECONDS = 0.05
_LAST_LINES = 20


@dataclass(frozen=True, slots=True)
class ServeProcess:
    """One `remex serve` in a process group of its own.

    `log` is where its output goes, `data_dir` where its state lives, `http_address` where it
    tells whether it is ready.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    data_dir: Path
    http_address: str

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    def printed(self) -> str:
        """Everything that it wrote to its output so far."""
        return self.log.read_text(errors="replace")

    def wait_ready(self, seconds: float = 30) -> None:
        """Returns when it is ready (blocking).

        Raises:
            Unavailable: if it ended, or is not ready in time; the hint is the end of its log.
        """
        deadline = SYSTEM.monotonic() + seconds
        answer = "nothing"
        while SYSTEM.monotonic() < deadline:
            if self.process.poll() is not None:
                raise self._failed(f"ended with {self.process.returncode} before it was ready")
            status, answer = _get(self.http_address, "/readyz")
            if status == HTTPStatus.OK:
                return
            sleep(_POLL_SECONDS)
        raise self._failed(f"was not ready after {seconds:g} s; /readyz last answered {answer}")

    def stop(self, seconds: float = 30) -> None:
        """Asks it to drain, and returns when it has ended well; nothing is asked of a killed one.

        Raises:
            Unavailable: if it ended by itself, does not end in time or not with 0, or wrote a
                traceback.
        """
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                code = self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                raise self._failed(f"still runs {seconds:g} s after SIGTERM") from None
            if code != 0:
                raise self._failed(f"ended with {code} on SIGTERM")
        elif self.process.returncode != -signal.SIGKILL:
            raise self._failed(f"ended by itself with {self.process.returncode}")
        if "Traceback (most recent call last)" in self.printed():
            raise self._failed("wrote a traceback")

    def kill(self) -> None:
        """Ends it at once, as a crash of it would: only itself, with SIGKILL."""
        self.process.kill()
        self.process.wait()

    def kill_group(self) -> None:
        """Ends it and whatever it left behind: a group outlives its leader."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _failed(self, what: str) -> Unavailable:
        end = "\n".join(self.printed().splitlines()[-_LAST_LINES:])
        return Unavailable(f"The remex process {self.name} {what}.", hint=f"Its log ends:\n{end}")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running remex: the address where clients connect, and its processes by name."""

    address: str
    processes: Mapping[str, ServeProcess] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """The address as clients want it."""
        return f"grpc://{self.address}"


def free_address() -> str:
    """A loopback address that nobody listened on a moment ago."""
    with socket.create_server((_HOST, 0)) as listener:
        return f"{_HOST}:{listener.getsockname()[1]}"


def start(name: str, directory: Path, *flags: str) -> ServeProcess:
    """Starts `remex serve` with these flags, and with logs and state below `directory`.

    Whoever starts it ends it: `kill_group` in a finally clause, `stop` before it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    http_address, data_dir, log = free_address(), directory / name, directory / f"{name}.log"
    command = [sys.executable, "-m", "remex_core", "serve", *flags]
    command += ["--http-listen", http_address, "--data-dir", str(data_dir)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return ServeProcess(name, process, log, data_dir, http_address)


@contextmanager
def running(*processes: ServeProcess) -> Iterator[None]:
    """From when all of these are ready until all have drained, last first; their state is removed.

    Raises:
        Unavailable: if one does not become ready, or does not end well.
    """
    with ExitStack() as ends:
        for process in processes:
            ends.callback(shutil.rmtree, process.data_dir, ignore_errors=True)
            ends.callback(process.kill_group)
        for process in processes:
            process.wait_ready()
        yield
        for process in reversed(processes):
            process.stop()


@contextmanager
def all_in_one(directory: Path, *flags: str) -> Iterator[Cluster]:
    """Every role in one process; `flags` are added to what it needs."""
    address = free_address()
    addresses = ("--listen", address, "--worker-listen", free_address())
    process = start("remex", directory, *addresses, *flags)
    with running(process):
        yield Cluster(address, {process.name: process})


@contextmanager
def lone_cas(directory: Path) -> Iterator[Cluster]:
    """The cas role alone: a cache, and nothing that executes."""
    address = free_address()
    process = start("cas", directory, "--role", "cas", "--listen", address)
    with running(process):
        yield Cluster(address, {process.name: process})


@contextmanager
def separate_roles(directory: Path, *, workers: Sequence[str], slots: int = 2) -> Iterator[Cluster]:
    """One cas, one scheduler and these workers, each a process; clients know the scheduler."""
    address, worker_address = free_address(), free_address()
    with ExitStack() as roles:
        cas = roles.enter_context(lone_cas(directory))
        from_cas = ("--cas", cas.endpoint)
        listen = ("--listen", address, "--worker-listen", worker_address)
        scheduler = start("scheduler", directory, "--role", "scheduler", *listen, *from_cas)
        roles.enter_context(running(scheduler))
        takes = ("--scheduler", f"grpc://{worker_address}", "--slots", str(slots), *from_cas)
        started = [
            start(name, directory, "--role", "worker", "--name", name, *takes) for name in workers
        ]
        roles.enter_context(running(*started))
        others = {process.name: process for process in (scheduler, *started)}
        yield Cluster(address, {**cas.processes, **others})


def _environment() -> dict[str, str]:
    """This process's environment without what would configure remex beside the flags."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("REMEX_", "OTEL_", "GRPC_"))
    }
    return {**kept, "PYTHONUNBUFFERED": "1"}


def _get(address: str, path: str) -> tuple[int, str]:
    """Status and text of one page; the status is 0 where nobody answers."""
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)
    finally:
        connection.close()
    return response.status, f"{response.status}: {body}"
