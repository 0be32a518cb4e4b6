"""ActionCache: results of actions by the digest of the action, one cache for each instance.

Whether a result's outputs are still there is checked by the store below, where the kind
`completeness_checking` stands in it (AC-02, AC-03, AC-18).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

from remex_core.clock import SYSTEM
from remex_core.errors import DataLoss, InvalidArgument, NotFound, PermissionDenied
from remex_core.proto import reapi
from remex_core.services.action_results import check_action_result, fill_metadata, store_inlined
from remex_core.services.frames import MAX_RESPONSE_BYTES
from remex_core.services.inlining import inline_outputs
from remex_core.store import ops
from remex_core.wire import methods

if TYPE_CHECKING:
    from collections.abc import Mapping

    from remex_core.clock import Clock
    from remex_core.digest import Key
    from remex_core.services.instances import Instance, Instances
    from remex_core.wire.call import Call, Handler
    from remex_core.wire.methods import Method

UPLOADER: Final = "client-upload"
"""The worker that a result names which a client ran itself and uploaded (AC-13)."""

_MAX_READ_BYTES: Final = 64 * 1024 * 1024


class ActionCacheService:
    """GetActionResult and UpdateActionResult, for every instance."""

    def __init__(self, instances: Instances, clock: Clock = SYSTEM) -> None:
        self._instances = instances
        self._clock = clock

    def handlers(self) -> Mapping[Method[Any, Any], Handler]:
        """The handlers by method."""
        return {
            methods.GET_ACTION_RESULT: self.get_action_result,
            methods.UPDATE_ACTION_RESULT: self.update_action_result,
        }

    async def get_action_result(
        self, _call: Call, request: reapi.GetActionResultRequest
    ) -> reapi.ActionResult | bytes:
        """The result that is cached for an action, with what should be inlined (AC-01..07).

        Raises:
            NotFound: if there is none that can be used.
        """
        instance = self._instances.resolve(request.instance_name)
        digest = request.action_digest
        maker = instance.functions.for_request(request.digest_function, (digest.hash,))
        action = maker.key(digest.hash, digest.size_bytes)
        value, result = await _read(instance, action)
        is_changed = False
        if not result.HasField("execution_metadata"):
            result.execution_metadata.SetInParent()
            is_changed = True
        if request.inline_stdout or request.inline_stderr or request.inline_output_files:
            await inline_outputs(instance.cas, maker, request, result)
            is_changed = True
        return result if is_changed else value

    async def update_action_result(
        self, _call: Call, request: reapi.UpdateActionResultRequest
    ) -> bytes:
        """Keeps a result, replacing one that is there, and answers what was kept (AC-08..17).

        Raises:
            PermissionDenied: if the instance takes no results from clients (AC-12).
            InvalidArgument: if the result breaks a rule; nothing is kept then (AC-10).
            StoreFull: if there is no room (AC-11).
        """
        instance = self._instances.resolve(request.instance_name)
        if not instance.ac_updates:
            raise PermissionDenied(
                f"The action cache of instance {instance.name!r} takes no results from clients.",
                hint="Bazel: --remote_upload_local_results=false",
            )
        digest = request.action_digest
        maker = instance.functions.for_request(request.digest_function, (digest.hash,))
        action = maker.key(digest.hash, digest.size_bytes)
        if not request.HasField("action_result"):
            raise InvalidArgument("The request has no action result.")
        result = reapi.ActionResult()
        result.CopyFrom(request.action_result)
        check_action_result(maker, result)
        await store_inlined(instance.cas, maker, result)
        fill_metadata(result, UPLOADER, self._clock.now())
        value = result.SerializeToString(deterministic=True)
        if len(value) > MAX_RESPONSE_BYTES:
            raise InvalidArgument(
                f"The action result has {len(value)} bytes, more than a message may have.",
                hint="Declare output directories instead of very many output files.",
            )
        await ops.write_bytes(instance.ac, instance.ac_key(action), value)
        return value


async def _read(instance: Instance, action: Key) -> tuple[bytes, reapi.ActionResult]:
    """The cached result, serialised and parsed.

    Raises:
        NotFound: if there is none, or one that cannot be used, which is dropped.
    """
    key = instance.ac_key(action)
    try:
        value = await ops.read_all(instance.ac, key, max_bytes=_MAX_READ_BYTES)
        result = reapi.ActionResult.FromString(value)
        if len(value) <= MAX_RESPONSE_BYTES:
            return value, result
    except NotFound:
        pass
    except (DecodeError, DataLoss):
        await instance.ac.discard((key,))
    raise NotFound(
        f"No result of the action {action.hash}/{action.size} is cached "
        f"in instance {instance.name!r}."
    )
