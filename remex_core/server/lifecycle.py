"""How a serving process ends: the first signal drains, the second aborts."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger("remex.server")

WANTED_FILES = 65536


def raise_file_limit() -> int:
    """Raises the soft limit of open files as far as the hard one allows; answers the new limit.

    A busy server holds a socket per client and a file per running read or write.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


@contextmanager
def stop_signals() -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
    """Two events: `drain`, set by the first SIGTERM or SIGINT, and `abort`, set by the second."""
    drain, abort = asyncio.Event(), asyncio.Event()

    def received(name: str) -> None:
        if drain.is_set():
            log.warning("%s again: stopping at once.", name)
            abort.set()
        else:
            log.info("%s: draining; a second one stops at once.", name)
            drain.set()

    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, received, number.name)
    try:
        yield drain, abort
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
