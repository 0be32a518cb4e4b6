"""What every check of the doctor is given, and how a check is run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from remex_core.errors import RemexError
from remex_core.plugins.descriptors import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from remex_core.plugins.descriptors import HealthCheck
    from remex_core.plugins.registry import Registry

_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Context:
    """What is looked at.

    Args:
        plugins: the plugins of this installation.
        data_dir: where `serve` would keep its data.
        config: the configuration file to look at, or None.
        cas: the URL of a running cas; empty for none.
        scheduler: the URL of a running scheduler; empty for none.
        named: whether a user named those servers, so that nothing is to be started here.
    """

    plugins: Registry
    data_dir: Path
    config: Path | None = None
    cas: str = ""
    scheduler: str = ""
    named: bool = False

    @property
    def servers(self) -> Sequence[str]:
        """The URLs of the running servers, each once."""
        return tuple(dict.fromkeys(url for url in (self.cas, self.scheduler) if url))


async def run_check(check: HealthCheck, context: Context) -> Sequence[Finding]:
    """What a check finds; that it failed itself is a finding too."""
    try:
        async with asyncio.timeout(_SECONDS):
            return await check.run(context)
    except TimeoutError:
        return [_failed(check, f"It found nothing within {_SECONDS:g} s.", "Look at the logs.")]
    except RemexError as error:
        return [_failed(check, error.message, error.hint)]
    except Exception as error:  # noqa: BLE001 - a check of a plugin may raise anything
        message = f"The check itself failed: {type(error).__name__}: {error}"
        return [_failed(check, message, "Report this to the check's author.")]


def _failed(check: HealthCheck, message: str, remedy: str) -> Finding:
    return Finding(check.name, "fail", message, remedy or "Look at the server's log.")
