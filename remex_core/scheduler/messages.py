"""The machine's commands to workers, as worker.proto spells them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from remex_core.proto import worker as protocol

if TYPE_CHECKING:
    from remex_core.scheduler.commands import Acknowledge, Lease, Revoke
    from remex_core.scheduler.records import GroupRecord


def lease_message(lease: Lease, record: GroupRecord, epoch: int) -> protocol.FromScheduler:
    """Gives an action to a worker."""
    submission = record.submission
    spec = submission.spec
    message = protocol.Lease(
        lease_id=lease.lease,
        attempt=protocol.Attempt(group=lease.group, number=lease.attempt, epoch=epoch),
        instance_name=spec.instance,
        digest_function=spec.key.function,
        action_hash=spec.key.hash,
        action_size_bytes=spec.key.size,
        priority=spec.priority,
        traceparent=submission.traceparent,
        request_metadata=submission.request_metadata,
        action=submission.action,
        command=submission.command,
    )
    if submission.timeout is not None:
        message.timeout.FromNanoseconds(int(submission.timeout * 1e9))
    message.queued_at.FromNanoseconds(int(record.queued_at * 1e9))
    return protocol.FromScheduler(lease=message)


def revoke_message(revoke: Revoke) -> protocol.FromScheduler:
    """Takes a lease back."""
    message = protocol.Revoke(lease_id=revoke.lease, reason=revoke.reason, kill=revoke.kill)
    return protocol.FromScheduler(revoke=message)


def acknowledge_message(acknowledge: Acknowledge) -> protocol.FromScheduler:
    """Lets a worker forget a result."""
    return protocol.FromScheduler(acknowledge=protocol.Acknowledge(lease_id=acknowledge.lease))
