"""From a lease to a directory in which its command can start."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from remex_core.digest import FUNCTIONS, KeyMaker
from remex_core.errors import InvalidArgument, MissingBlobs
from remex_core.worker.command import parse_action, parse_command
from remex_core.worker.executor import RunRequest
from remex_core.worker.inputs import MAX_REPORTED, InputReader
from remex_core.worker.materialise import materialise

if TYPE_CHECKING:
    from remex_core.digest import DigestFunction, Key
    from remex_core.proto import reapi, worker
    from remex_core.store.contract import LinkPlan, Store
    from remex_core.worker.command import Command
    from remex_core.worker.executor import Limits
    from remex_core.worker.work_directory import ActionDirectory


@dataclass(frozen=True, slots=True)
class Staged:
    """A command whose inputs are on disk; `links` is what to verify after the run."""

    command: Command
    request: RunRequest
    links: LinkPlan | None


class Stager:
    """Makes actions ready to run.

    Args:
        store: where inputs come from.
        limits: what every action may use; the timeout comes with the lease.
        max_input_entries: how many paths one input tree may have.
    """

    def __init__(self, store: Store, limits: Limits, max_input_entries: int) -> None:
        self._store = store
        self._limits = limits
        self._reader = InputReader(store, max_entries=max_input_entries)
        self._makers = {name: KeyMaker(function) for name, function in FUNCTIONS.items()}

    def function(self, lease: worker.Lease) -> DigestFunction:
        """The digest function of a lease.

        Raises:
            InvalidArgument: if this worker cannot compute it.
        """
        return self._maker(lease).function

    def _maker(self, lease: worker.Lease) -> KeyMaker:
        maker = self._makers.get(lease.digest_function)
        if maker is None:
            raise InvalidArgument(
                f"This worker cannot compute the digest function {lease.digest_function!r}."
            )
        return maker

    async def stage(self, lease: worker.Lease, directory: ActionDirectory) -> Staged:
        """Fetches and makes everything that the leased action needs.

        Raises:
            InvalidArgument: if the action breaks a rule (EXE-17).
            MissingBlobs: naming all that is not in the CAS (EXE-13, EXE-16).
            OSError: if the disk does not take it.
        """
        maker = self._maker(lease)
        action = parse_action(
            lease.action
            or await self._reader.message(maker.key(lease.action_hash, lease.action_size_bytes))
        )
        root = maker.key(action.input_root_digest.hash, action.input_root_digest.size_bytes)
        command = await self._command(lease, action, maker, root)
        tree = await self._reader.tree(root, maker)
        tree.add_directories(command.directories_before_run())
        links = await materialise(self._store, directory.root, tree)
        _check_working_directory(directory.root, command.working_directory)
        timeout = lease.timeout.ToNanoseconds() / 1e9
        request = RunRequest(
            id=lease.lease_id,
            argv=command.argv,
            environment=command.environment,
            root=directory.root,
            working_directory=command.working_directory,
            stdout=directory.stdout,
            stderr=directory.stderr,
            tmp=directory.tmp,
            limits=replace(self._limits, timeout=timeout or None),
            properties=command.properties,
        )
        return Staged(command, request, links)

    async def _command(
        self, lease: worker.Lease, action: reapi.Action, maker: KeyMaker, root: Key
    ) -> Command:
        """The action's Command; where it is missing, all else that is missing is told with it."""
        digest = action.command_digest
        try:
            data = lease.command or await self._reader.message(
                maker.key(digest.hash, digest.size_bytes)
            )
        except MissingBlobs as missing:
            try:
                await self._reader.tree(root, maker)
            except MissingBlobs as more:
                keys = (*missing.keys, *more.keys)
                raise MissingBlobs(keys[:MAX_REPORTED]) from None
            raise
        platform = action.platform if action.HasField("platform") else None
        return parse_command(data, platform)


def _check_working_directory(root: Path, working_directory: str) -> None:
    """The working directory is a directory of the input tree (ACT-08)."""
    if not working_directory:
        return
    place = os.path.realpath(root / working_directory)
    if not os.path.isdir(place):  # noqa: PTH112 - realpath gives strings
        raise InvalidArgument(
            f"The working directory {working_directory!r} is not a directory of the input tree."
        )
    if not Path(place).is_relative_to(os.path.realpath(root)):
        raise InvalidArgument(
            f"The working directory {working_directory!r} leads out of the input root."
        )
