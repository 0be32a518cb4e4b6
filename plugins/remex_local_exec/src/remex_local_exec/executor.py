"""Runs commands through the worker's runner, with the worker's rights or another user's."""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from remex_core.plugin import Executor, FailedPrecondition, RunRequest, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from remex_core.plugin import Account, Runner, RunOutcome


class LocalExecutor(Executor):
    """Commands as processes of this machine, each in a session of its own.

    Args:
        runner: what starts them.
        work_root: where the worker makes its work directories.
        environment: variables for every command; its own win (ACT-07).
        account: whose rights commands get; None for the worker's.
    """

    def __init__(
        self,
        runner: Runner,
        work_root: Path,
        environment: Mapping[str, str],
        account: Account | None = None,
    ) -> None:
        self._runner = runner
        self._work_root = work_root
        self._environment = dict(environment)
        self._account = account

    async def offers(self) -> Mapping[str, Sequence[str]]:
        if self._account is not None:
            await self._try_account(self._account)
        return {}

    async def run(self, request: RunRequest) -> RunOutcome:
        account = self._account
        if account is not None:
            await asyncio.to_thread(_give_directories, (request.root, request.tmp), account)
        environment = {
            **self._environment,
            "TMPDIR": str(request.tmp),
            **request.environment,
        }
        return await self._runner.run(replace(request, environment=environment), account=account)

    async def close(self) -> None:
        """Nothing is held here: the runner is its worker's."""

    async def _try_account(self, account: Account) -> None:
        """Runs a command as the user that every action is to run as."""
        await asyncio.to_thread(self._work_root.mkdir, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._work_root, prefix="try-") as name:
            place = Path(name)
            root = place / "root"
            await asyncio.to_thread(_make_for_account, place, root)
            request = RunRequest(
                id="try",
                argv=("/bin/sh", "-c", ': > made && ls "$TMPDIR"'),
                environment=self._environment,
                root=root,
                working_directory="",
                stdout=place / "stdout",
                stderr=place / "stderr",
                tmp=root,
            )
            try:
                outcome = await self.run(request)
                problem = (place / "stderr").read_text(errors="replace").strip()
            except Unavailable as error:
                raise _unusable(account, self._work_root, error.message) from error
            if outcome.exit_code:
                raise _unusable(account, self._work_root, problem or outcome.spawn_error)


def _make_for_account(place: Path, root: Path) -> None:
    place.chmod(0o711)
    root.mkdir()


def _give_directories(places: Sequence[Path], account: Account) -> None:
    """Gives the user all directories, so that it can make outputs; inputs stay the worker's."""
    for place in places:
        for directory, _, _ in os.walk(place):
            os.chown(directory, account.user, account.group)


def _unusable(account: Account, work_root: Path, why: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"Actions cannot run as user {account.user} below {work_root}: {why}",
        hint="The worker has to run as root, and that user must be able to enter every directory "
        "on the way there.",
    )
