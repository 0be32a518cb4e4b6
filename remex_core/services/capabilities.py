"""Capabilities: what an instance offers, said before anything else is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from remex_core.proto import reapi, semver
from remex_core.wire import methods

if TYPE_CHECKING:
    from collections.abc import Mapping

    from remex_core.services.instances import Instance, Instances
    from remex_core.wire.call import Call, Handler
    from remex_core.wire.methods import Method

LOW_API_VERSION: Final = semver.SemVer(major=2)
HIGH_API_VERSION: Final = semver.SemVer(major=2, minor=11)

_EVERY_PRIORITY: Final = reapi.PriorityCapabilities(
    priorities=[
        reapi.PriorityCapabilities.PriorityRange(min_priority=-(2**31), max_priority=2**31 - 1)
    ]
)


class CapabilitiesService:
    """GetCapabilities, for every instance."""

    def __init__(self, instances: Instances) -> None:
        self._instances = instances

    def handlers(self) -> Mapping[Method[Any, Any], Handler]:
        """The handlers by method."""
        return {methods.GET_CAPABILITIES: self.get_capabilities}

    async def get_capabilities(
        self, _call: Call, request: reapi.GetCapabilitiesRequest
    ) -> reapi.ServerCapabilities:
        """What the requested instance offers (INS-04, CAP-01..15)."""
        instance = self._instances.resolve(request.instance_name)
        capabilities = reapi.ServerCapabilities(
            cache_capabilities=_cache_capabilities(instance),
            deprecated_api_version=LOW_API_VERSION,
            low_api_version=LOW_API_VERSION,
            high_api_version=HIGH_API_VERSION,
        )
        if instance.executes:
            capabilities.execution_capabilities.CopyFrom(_execution_capabilities(instance))
        return capabilities


def _execution_capabilities(instance: Instance) -> reapi.ExecutionCapabilities:
    """No node property is among them: workers support none (CAP-15, ACT-14)."""
    functions = _function_names(instance)
    return reapi.ExecutionCapabilities(
        digest_function=functions[0],
        digest_functions=functions,
        exec_enabled=True,
        execution_priority_capabilities=_EVERY_PRIORITY,
    )


def _cache_capabilities(instance: Instance) -> reapi.CacheCapabilities:
    """No compressor, no splitting and no splicing: none is offered yet (CAP-11, CAP-14)."""
    return reapi.CacheCapabilities(
        digest_functions=_function_names(instance),
        action_cache_update_capabilities=reapi.ActionCacheUpdateCapabilities(
            update_enabled=instance.ac_updates
        ),
        cache_priority_capabilities=_EVERY_PRIORITY,
        max_batch_total_size_bytes=instance.max_batch_bytes,
        symlink_absolute_path_strategy=reapi.SymlinkAbsolutePathStrategy.ALLOWED,
        max_cas_blob_size_bytes=instance.max_blob_bytes,
    )


def _function_names(instance: Instance) -> list[str]:
    return [function.name.upper() for function in instance.functions.announced]
