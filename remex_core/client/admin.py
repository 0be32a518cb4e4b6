"""What operators ask of a remex."""

from __future__ import annotations

from typing import TYPE_CHECKING

from remex_core.client.caller import Caller
from remex_core.proto import admin, health, operations
from remex_core.wire import methods

if TYPE_CHECKING:
    from collections.abc import Sequence


class Admin(Caller):
    """The calls of `remex.admin.v1`, of the operations service and of health."""

    async def status(self) -> admin.Status:
        """What the server is and how busy."""
        return await self.call(methods.GET_STATUS, admin.GetStatusRequest())

    async def workers(self) -> Sequence[admin.Worker]:
        """The workers that have a session with the scheduler."""
        return (await self.call(methods.LIST_WORKERS, admin.ListWorkersRequest())).workers

    async def queue(self, page_size: int = 0) -> Sequence[admin.QueuedOperation]:
        """Operations that have not completed, in the order they came; 0: as many as it likes."""
        request = admin.ListQueueRequest(page_size=page_size)
        return (await self.call(methods.LIST_QUEUE, request)).operations

    async def explain(self, operation: str) -> admin.ExplainOperationResponse:
        """What an operation waits for."""
        return await self.call(
            methods.EXPLAIN_OPERATION, admin.ExplainOperationRequest(operation=operation)
        )

    async def drain_worker(self, name: str) -> None:
        """Lets a worker finish what it has, and gives it nothing more."""
        await self.call(methods.DRAIN_WORKER, admin.DrainWorkerRequest(name=name))

    async def operation(self, name: str) -> operations.Operation:
        """An operation as it stands (OP-06)."""
        return await self.call(methods.GET_OPERATION, operations.GetOperationRequest(name=name))

    async def serves(self, service: str = "") -> bool:
        """Whether the server, or one service of it, says that it takes calls."""
        response = await self.call(methods.HEALTH_CHECK, health.HealthCheckRequest(service=service))
        return response.status == health.HealthCheckResponse.SERVING
