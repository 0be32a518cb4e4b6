"""What the scheduler does with stored content: cached results, and keeping inputs alive."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from remex_core.errors import DataLoss, RemexError, ResourceExhausted
from remex_core.proto import reapi
from remex_core.store import ops

if TYPE_CHECKING:
    from collections.abc import Iterable

    from remex_core.digest import Key
    from remex_core.scheduler.events import ActionSpec
    from remex_core.scheduler.records import Submission
    from remex_core.services.instances import Instances

log = logging.getLogger("remex.scheduler")

MAX_RESULT_BYTES: Final = 3 * 1024 * 1024 + 512 * 1024
"""How large an ActionResult may be so that an operation with it stays below 4 MiB (GEN-05)."""

_TOUCHED_AT_ONCE: Final = 1000


class Content:
    """The action caches and the CAS of every instance, as far as the scheduler needs them."""

    def __init__(self, instances: Instances) -> None:
        self._instances = instances

    async def cached_result(self, spec: ActionSpec) -> reapi.ActionResult | None:
        """The result in the action cache that answers for a run of the action, or None.

        One that failed, cannot be read or would not fit into a message is as good as none: the
        action runs, and its result takes the place of that one (EXE-08, EXE-37).
        """
        instance = self._instances.resolve(spec.instance)
        try:
            data = await ops.read_or_none(
                instance.ac, instance.ac_key(spec.key), max_bytes=MAX_RESULT_BYTES
            )
            result = None if data is None else reapi.ActionResult.FromString(data)
        except (DecodeError, DataLoss, ResourceExhausted):
            return None
        except RemexError as error:
            log.warning("The action cache did not answer for %s: %s", spec.key, error.message)
            return None
        if result is None or result.exit_code:
            return None
        # Clients need it, whoever wrote the entry (AC-13).
        result.execution_metadata.SetInParent()
        return result

    async def store_result(self, spec: ActionSpec, result: reapi.ActionResult) -> None:
        """Puts a result into the action cache; where that fails, it is only not cached."""
        instance = self._instances.resolve(spec.instance)
        data = result.SerializeToString(deterministic=True)
        try:
            await ops.write_bytes(instance.ac, instance.ac_key(spec.key), data)
        except RemexError as error:
            log.warning("The result of %s could not be cached: %s", spec.key, error.message)

    async def read_result(self, spec: ActionSpec, hash_: str, size: int) -> bytes:
        """A result that a worker has put into the CAS, since it is large.

        Raises:
            RemexError: if it cannot be read.
        """
        instance = self._instances.resolve(spec.instance)
        key = instance.functions.for_name(spec.key.function).key(hash_, size)
        return await ops.read_all(instance.cas, key, max_bytes=MAX_RESULT_BYTES)

    async def touch(self, submissions: Iterable[Submission]) -> None:
        """Keeps the known inputs of these actions alive."""
        by_instance: dict[str, dict[Key, None]] = {}
        for submission in submissions:
            keys = by_instance.setdefault(submission.spec.instance, {})
            keys.update(dict.fromkeys(submission.inputs))
        for name, wanted in by_instance.items():
            cas, keys_left = self._instances.resolve(name).cas, list(wanted)
            try:
                while keys_left:
                    await cas.find_missing(keys_left[:_TOUCHED_AT_ONCE])
                    del keys_left[:_TOUCHED_AT_ONCE]
            except RemexError as error:
                log.warning("Inputs of waiting actions could not be touched: %s", error.message)
