"""The platform properties of a worker: detected, given as values, or asked of a command."""

from __future__ import annotations

import asyncio
import os
import platform
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from remex_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ISA: Final = {"x86_64": "x86-64", "amd64": "x86-64", "aarch64": "arm-a64", "arm64": "arm-a64"}
_QUERY_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class QueryCommand:
    """A shell command whose output lines are the values of a property."""

    command: str


def detect() -> dict[str, list[str]]:
    """What can be told of any machine, by the names of the protocol's lexicon (ACT-13)."""
    machine = platform.machine().lower()
    return {"OSFamily": [platform.system().lower()], "ISA": [_ISA.get(machine, machine)]}


async def resolve(
    given: Mapping[str, Sequence[str] | QueryCommand], offered: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """All properties: `given` by the site, before `offered` by the executor, before detected ones.

    Raises:
        ConfigError: if a command fails or prints nothing.
    """
    properties: dict[str, list[str]] = detect()
    properties.update((name, list(values)) for name, values in offered.items())
    for name, value in given.items():
        properties[name] = (
            await _query(name, value.command) if isinstance(value, QueryCommand) else list(value)
        )
    return properties


async def _query(name: str, command: str) -> list[str]:
    process = await asyncio.create_subprocess_shell(
        command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(_QUERY_SECONDS):
            printed, complaint = await process.communicate()
    except TimeoutError:
        raise _failed(name, command, f"did not end within {_QUERY_SECONDS:.0f} s") from None
    finally:
        # What the shell started may live on and hold the pipes open.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if process.returncode:
        why = complaint.decode(errors="replace").strip()[-500:] or "without saying why"
        raise _failed(name, command, f"ended with {process.returncode}: {why}")
    values = [line.strip() for line in printed.decode(errors="replace").splitlines()]
    values = [value for value in values if value]
    if not values:
        raise _failed(name, command, "printed nothing")
    return values


def _failed(name: str, command: str, what: str) -> ConfigError:
    return ConfigError(
        f"The value of the platform property {name} cannot be found: "
        f"the command {command!r} {what}.",
        hint="Run the command by hand on this machine, or give the property a literal value.",
    )
