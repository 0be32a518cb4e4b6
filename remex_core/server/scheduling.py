"""From the configuration's scheduler section to a scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from remex_core.platform import Kind, MatchRules
from remex_core.scheduler.engine import Scheduler
from remex_core.scheduler.journal import NoJournal
from remex_core.scheduler.options import SchedulerOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from remex_core.config.model import SchedulerConfig
    from remex_core.plugins.descriptors import PolicyType, StoreNode
    from remex_core.plugins.registry import Registry
    from remex_core.services.instances import Instances


def make_scheduler(config: SchedulerConfig, plugins: Registry, instances: Instances) -> Scheduler:
    """The scheduler that a site has configured, not yet started.

    Raises:
        ConfigError: if a policy is unknown or its options are wrong.
    """
    kinds = {name: Kind(kind) for name, kind in config.property_kinds.items()}
    kinds |= {name: Kind.EXACT for name in config.known_properties if name not in kinds}
    options = SchedulerOptions(
        max_attempts=config.max_attempts,
        lease_timeout=config.lease_timeout,
        statement_interval=config.statement_interval,
        unsatisfiable_grace=config.unsatisfiable_grace,
        default_timeout=config.default_timeout,
        max_timeout=config.max_timeout,
        rules=MatchRules(kinds),
    )
    return Scheduler(
        options,
        instances,
        _policy(plugins, plugins.orders, config.order, "order policy"),
        _policy(plugins, plugins.placements, config.placement, "placement policy"),
        NoJournal(),
    )


def _policy(
    plugins: Registry, kinds: Mapping[str, PolicyType[Any]], node: StoreNode, what: str
) -> Any:
    kind, spec = plugins.validate(kinds, node.kind, node.options, what)
    return kind.build(spec)
