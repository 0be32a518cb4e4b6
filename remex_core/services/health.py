"""grpc.health.v1: whether this server takes calls, for load balancers and test tools (GEN-16)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from remex_core.errors import NotFound, Unavailable
from remex_core.proto import health
from remex_core.wire import methods

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping

    from remex_core.wire.call import Call, Handler
    from remex_core.wire.methods import Method

_Status = health.HealthCheckResponse.ServingStatus


class HealthService:
    """What is said of each service, and of the server as a whole under the empty name.

    Args:
        services: the full names of the services that are known from the start; each serves.
    """

    def __init__(self, services: Iterable[str] = ()) -> None:
        self._serving = dict.fromkeys(("", *services), True)
        self._changed = asyncio.Event()
        self._ended = False

    def handlers(self) -> Mapping[Method[Any, Any], Handler]:
        """The handlers by method."""
        return {methods.HEALTH_CHECK: self.check, methods.HEALTH_WATCH: self.watch}

    def set_serving(self, serving: bool, service: str = "") -> None:
        """Says whether a service, or the whole server, takes calls; tells those who watch."""
        self._serving[service] = serving
        self._tell()

    def end(self) -> None:
        """Says that nothing takes calls any more, and ends the watches, so that none is waited for.

        For a server that drains.
        """
        self._serving = dict.fromkeys(self._serving, False)
        self._ended = True
        self._tell()

    async def check(
        self, _call: Call, request: health.HealthCheckRequest
    ) -> health.HealthCheckResponse:
        """The status of one service now.

        Raises:
            NotFound: if there is no such service here.
        """
        if request.service not in self._serving:
            raise NotFound(f"There is no service {request.service!r} here.")
        return health.HealthCheckResponse(status=self._status(request.service))

    async def watch(
        self, _call: Call, request: health.HealthCheckRequest
    ) -> AsyncGenerator[health.HealthCheckResponse]:
        """The status of one service now and whenever it has changed, until the server ends.

        Raises:
            Unavailable: when the server ends, after the last status.
        """
        told = None
        while True:
            changed = self._changed
            status = self._status(request.service)
            if status != told:
                told = status
                yield health.HealthCheckResponse(status=status)
            elif self._ended:
                raise Unavailable("This server is shutting down.")
            else:
                await changed.wait()

    def _status(self, service: str) -> health.HealthCheckResponse.ServingStatus:
        serving = self._serving.get(service)
        if serving is None:
            return _Status.SERVICE_UNKNOWN
        return _Status.SERVING if serving else _Status.NOT_SERVING

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
