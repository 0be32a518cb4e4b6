"""What operators ask, of a server that answers by rote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from remex_core.client.remote import connect
from remex_core.errors import NotFound, Unimplemented
from remex_core.proto import admin, operations
from remex_core.services.health import HealthService
from remex_core.testing.server import serve_handlers
from remex_core.wire import methods

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from remex_core.client.remote import RemoteClient


class Rote:
    """Answers that show what was asked."""

    def __init__(self) -> None:
        self.drained: list[str] = []

    def handlers(self) -> dict[Any, Any]:
        return {
            methods.GET_STATUS: self.status,
            methods.LIST_WORKERS: self.workers,
            methods.LIST_QUEUE: self.queue,
            methods.EXPLAIN_OPERATION: self.explain,
            methods.DRAIN_WORKER: self.drain,
            methods.GET_OPERATION: self.operation,
        }

    async def status(self, _call: object, _request: object) -> admin.Status:
        return admin.Status(version="1", roles=["cas"])

    async def workers(self, _call: object, _request: object) -> admin.ListWorkersResponse:
        return admin.ListWorkersResponse(workers=[admin.Worker(name="w1"), admin.Worker(name="w2")])

    async def queue(
        self, _call: object, request: admin.ListQueueRequest
    ) -> admin.ListQueueResponse:
        queued = [admin.QueuedOperation(name=str(n)) for n in range(request.page_size)]
        return admin.ListQueueResponse(operations=queued)

    async def explain(
        self, _call: object, request: admin.ExplainOperationRequest
    ) -> admin.ExplainOperationResponse:
        return admin.ExplainOperationResponse(explanation=f"{request.operation} waits")

    async def drain(self, _call: object, request: admin.DrainWorkerRequest) -> bytes:
        if request.name != "w1":
            raise NotFound(f"There is no worker {request.name}.")
        self.drained.append(request.name)
        return b""

    async def operation(
        self, _call: object, request: operations.GetOperationRequest
    ) -> operations.Operation:
        return operations.Operation(name=request.name, done=True)


@pytest.fixture
def rote() -> Rote:
    return Rote()


@pytest.fixture
def health() -> HealthService:
    return HealthService(["a.Service"])


@pytest.fixture
async def client(rote: Rote, health: HealthService) -> AsyncIterator[RemoteClient]:
    async with (
        serve_handlers(rote.handlers(), health.handlers()) as served,
        connect(served.address) as connected,
    ):
        yield connected


async def test_what_is_asked_is_answered(client: RemoteClient) -> None:
    """Status, workers, queue, explanations and operations come as their messages."""
    assert ["cas"] == (await client.status()).roles
    assert ["w1", "w2"] == [worker.name for worker in await client.workers()]
    assert ["0", "1"] == [queued.name for queued in await client.queue(2)]
    assert "x waits" == (await client.explain("x")).explanation
    assert (await client.operation("x")).done


async def test_draining_a_worker(client: RemoteClient, rote: Rote) -> None:
    """A worker is drained by its name; the refusal of an unknown one keeps its sentence."""
    await client.drain_worker("w1")
    assert ["w1"] == rote.drained
    with pytest.raises(NotFound, match=r"There is no worker w9\."):
        await client.drain_worker("w9")


async def test_health(client: RemoteClient, health: HealthService) -> None:
    """GEN-16: the server and each of its services say whether they take calls."""
    assert await client.serves()
    health.set_serving(False, "a.Service")
    assert not await client.serves("a.Service")
    assert await client.serves()


async def test_a_server_without_the_service(client: RemoteClient) -> None:
    """GEN-01: what a server does not offer is Unimplemented, with the method's name."""
    with pytest.raises(Unimplemented, match="GetCapabilities"):
        await client.capabilities()
