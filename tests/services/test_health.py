"""Health, over a real listener."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from remex_core.errors import Code, RpcFailed
from remex_core.proto import health
from remex_core.services.health import HealthService
from remex_core.testing.server import serve_handlers
from remex_core.wire import methods

CAS = methods.FIND_MISSING_BLOBS.service
SERVING = health.HealthCheckResponse.SERVING
NOT_SERVING = health.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health.HealthCheckResponse.SERVICE_UNKNOWN


def asking(service: str = "") -> health.HealthCheckRequest:
    return health.HealthCheckRequest(service=service)


async def test_check_answers_for_the_server_and_for_each_service() -> None:
    """GEN-16: the empty name is the server as a whole; each service has a status of its own."""
    service = HealthService([CAS])
    async with serve_handlers(service.handlers()) as served:
        for name in ("", CAS):
            response = await served.stub.call(methods.HEALTH_CHECK, asking(name))
            assert SERVING == response.status
        service.set_serving(False, CAS)
        assert NOT_SERVING == (await served.stub.call(methods.HEALTH_CHECK, asking(CAS))).status
        assert SERVING == (await served.stub.call(methods.HEALTH_CHECK, asking())).status


async def test_check_of_an_unknown_service_is_not_found() -> None:
    """GEN-16: a service that is not here is NOT_FOUND."""
    async with serve_handlers(HealthService().handlers()) as served:
        with pytest.raises(RpcFailed, match=r"pkg\.Nope") as failed:
            await served.stub.call(methods.HEALTH_CHECK, asking("pkg.Nope"))
    assert Code.NOT_FOUND == failed.value.remote_code


async def test_watch_tells_the_status_now_and_each_change() -> None:
    """GEN-16: a watcher hears the current status at once, then changes and nothing else."""
    service = HealthService([CAS])
    async with (
        serve_handlers(service.handlers()) as served,
        aclosing(served.stub.stream(methods.HEALTH_WATCH, asking(CAS))) as statuses,
    ):
        assert SERVING == (await anext(statuses)).status
        service.set_serving(True, CAS)
        service.set_serving(False)
        service.set_serving(False, CAS)
        assert NOT_SERVING == (await anext(statuses)).status
        service.set_serving(True, CAS)
        assert SERVING == (await anext(statuses)).status


async def test_watch_of_an_unknown_service_waits_for_it() -> None:
    """GEN-16: a watcher of what is not here yet hears so, and hears when it appears."""
    service = HealthService()
    async with (
        serve_handlers(service.handlers()) as served,
        aclosing(served.stub.stream(methods.HEALTH_WATCH, asking("late"))) as statuses,
    ):
        assert SERVICE_UNKNOWN == (await anext(statuses)).status
        service.set_serving(True, "late")
        assert SERVING == (await anext(statuses)).status


async def test_a_server_that_ends_ends_its_watches() -> None:
    """GEN-16: a drain need not wait for watchers; they hear the last status first."""
    service = HealthService([CAS])
    async with (
        serve_handlers(service.handlers()) as served,
        aclosing(served.stub.stream(methods.HEALTH_WATCH, asking(CAS))) as statuses,
    ):
        assert SERVING == (await anext(statuses)).status
        service.end()
        assert NOT_SERVING == (await anext(statuses)).status
        with pytest.raises(RpcFailed, match="shutting down") as failed:
            await anext(statuses)
        assert Code.UNAVAILABLE == failed.value.remote_code
        assert NOT_SERVING == (await served.stub.call(methods.HEALTH_CHECK, asking())).status
