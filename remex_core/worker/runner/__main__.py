"""The runner process: forks a supervisor for every socket that its worker hands over."""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from remex_core.worker.runner import process_tree
from remex_core.worker.runner.supervisor import supervise

if TYPE_CHECKING:
    from types import FrameType


def main(descriptor: int) -> None:
    """Serves the worker at the other end of the socket `descriptor`, until it is gone."""
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    prepare()
    supervisors: set[int] = set()
    wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, ignore)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    while True:
        ready, _, _ = select.select([descriptor, wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, 4096)
            reap(supervisors)
        if descriptor in ready:
            connection = accept(control)
            if connection is None:
                break
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for inherited in (wake_read, wake_write):
                    os.close(inherited)
                control.close()
                supervise(connection)
                os._exit(0)
            supervisors.add(pid)
            connection.close()
    control.close()
    # Every supervisor has lost its worker too, and ends when its action has.
    while supervisors:
        pid, _ = os.waitpid(-1, 0)
        supervisors.discard(pid)
    process_tree.kill()


def prepare() -> None:
    """Sets what supervisors and actions inherit (ENV-04)."""
    process_tree.become_subreaper()
    os.umask(0o022)
    # A crashing action is not to leave its memory among its outputs; it may raise this again.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    # What the worker's parent ignores, as a shell does for `&`, would be ignored by actions. What
    # Python itself ignores is put right where the action starts.
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    # Signals from a terminal or a service manager are for the worker, which drains first.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ignore)


def ignore(_number: int, _frame: FrameType | None) -> None:
    """Handles a signal by doing nothing: unlike SIG_IGN, that is not inherited by an action."""


def accept(control: socket.socket) -> socket.socket | None:
    """The next socket that the worker hands over; None when the worker is gone."""
    try:
        data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
    except ConnectionResetError:
        return None
    if not data:
        return None
    connection = socket.socket(fileno=descriptors[0])
    connection.set_inheritable(False)
    return connection


def reap(supervisors: set[int]) -> None:
    """Collects ended children; kills the processes that a supervisor left behind by dying."""
    died = False
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            died = died or (pid in supervisors and status != 0)
            supervisors.discard(pid)
    if died:
        process_tree.kill(spare=supervisors)


if __name__ == "__main__":
    main(int(sys.argv[1]))
