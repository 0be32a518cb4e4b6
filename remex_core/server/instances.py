"""From the configuration's instances to those that the services ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from remex_core.digest import DigestFunctions
from remex_core.services.instances import Instance, Instances
from remex_core.store.contract import Content

if TYPE_CHECKING:
    from remex_core.config.model import Config, InstanceConfig
    from remex_core.store.build import StoreTrees

ANY_NAME: Final = "*"
"""The entry for every instance name that has none of its own."""


async def make_instances(config: Config, trees: StoreTrees, *, executes: bool) -> Instances:
    """The instances of a process, with their stores built.

    Raises:
        ConfigError: if an instance names a store that cannot be built.
    """
    made = {
        name: await _make(name, entry, trees, executes=executes)
        for name, entry in config.instances.items()
    }
    template = made.pop(ANY_NAME, None)
    return Instances(made.values(), template=template)


async def _make(name: str, entry: InstanceConfig, trees: StoreTrees, *, executes: bool) -> Instance:
    return Instance(
        name=name,
        cas=await trees.store(entry.cas, Content.CAS),
        ac=await trees.store(entry.ac, Content.AC),
        functions=DigestFunctions(entry.digest_functions),
        max_batch_bytes=entry.max_batch_bytes,
        max_blob_bytes=entry.max_blob_bytes,
        ac_updates=entry.ac_updates,
        executes=executes,
    )
