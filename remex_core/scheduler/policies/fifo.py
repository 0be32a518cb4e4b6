"""The order in which actions came, the more urgent ones first."""

from __future__ import annotations

import heapq

from remex_core.scheduler.policy import Job, OrderPolicy


class Fifo(OrderPolicy):
    """By priority, then by the time of queueing; O(log queue) a job.

    A removed job stays in its heap until it comes up, and is passed over then.
    """

    def __init__(self) -> None:
        self._heaps: dict[int, list[tuple[int, float, int, Job]]] = {}
        self._queued: dict[str, int] = {}
        self._pushed = 0

    def push(self, job: Job) -> None:
        self._pushed += 1
        self._queued[job.id] = self._pushed
        heap = self._heaps.setdefault(job.shape, [])
        heapq.heappush(heap, (job.priority, job.queued_at, self._pushed, job))

    def remove(self, job: Job) -> None:
        self._queued.pop(job.id, None)

    def peek(self, shape: int) -> Job | None:
        heap = self._heaps.get(shape)
        while heap:
            _, _, pushed, job = heap[0]
            if self._queued.get(job.id) == pushed:
                return job
            heapq.heappop(heap)
        self._heaps.pop(shape, None)
        return None
