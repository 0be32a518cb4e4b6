"""The scheduler's tunables, with the values that fit most sites."""

from __future__ import annotations

from dataclasses import dataclass, field

from remex_core.platform import MatchRules


@dataclass(frozen=True, slots=True)
class SchedulerOptions:
    """What a site may set. Times are in seconds.

    Args:
        max_attempts: how often an action is tried before a loss of its worker is final (EXE-26).
        max_cas_failures: how often an action is tried again because the CAS failed.
        lease_timeout: silence after which a worker is given up and its leases go elsewhere.
        statement_interval: how often workers repeat what they hold.
        unsatisfiable_grace: how long an action waits for a worker that could run it (EXE-19).
        default_timeout: time limit of actions that bring none; None for no limit (EXE-27).
        max_timeout: the largest time limit an action may ask for; None for no bound (EXE-27).
        retain_seconds: how long finished operations can be asked for (OP-04).
        retain_operations: how many of them at most.
        retain_bytes: how many bytes their results may have together.
        carried_bytes: how many bytes of Actions and Commands are kept in memory to spare workers
            the reading; beyond that they read for themselves.
        max_queued: how many actions may wait; more are refused with RESOURCE_EXHAUSTED (EXE-20).
        update_interval: how often a waiting client hears that nothing changed (EXE-35).
        touch_interval: how often the inputs of waiting and running actions are touched.
        rules: how platform properties are compared.
    """

    max_attempts: int = 5
    max_cas_failures: int = 10
    lease_timeout: float = 30.0
    statement_interval: float = 5.0
    unsatisfiable_grace: float = 30.0
    default_timeout: float | None = 3600.0
    max_timeout: float | None = 86_400.0
    retain_seconds: float = 600.0
    retain_operations: int = 10_000
    retain_bytes: int = 64 * 1024 * 1024
    carried_bytes: int = 256 * 1024 * 1024
    max_queued: int = 100_000
    update_interval: float = 25.0
    touch_interval: float = 300.0
    rules: MatchRules = field(default_factory=MatchRules)
