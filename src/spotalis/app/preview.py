"""What the operator would do with a cluster, without any write: for ``spotalis preview``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from spotalis.app.build import build_operator
from spotalis.controller.cluster import WorkloadKey
from spotalis.controller.result import ReconcileResult
from spotalis.controller.telemetry import Telemetry
from spotalis.kube.errors import error_from
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.environment import Clock, Random
from spotalis.model.transport import Request, Response, Transport

POLL_SECONDS = 0.1


class ReadOnlyTransport:
    """Passes reads to an API server, and rejects every other request without sending it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def send(self, request: Request) -> Response:
        """Send a GET request; any other one is answered with 403."""
        if request.method != "GET":
            return Response(status=403, body=b'{"reason":"Forbidden","message":"preview"}')
        return await self._transport.send(request)

    def stream(self, request: Request) -> AsyncIterator[bytes]:
        """Stream the response of a GET request, as watches need."""
        return self._transport.stream(request)

    async def close(self) -> None:
        """Release every connection."""
        await self._transport.close()


class _Results(Telemetry):
    """Reports each result that differs from the last one of its workload."""

    def __init__(self, show: Callable[[ReconcileResult], None]) -> None:
        self._show = show
        self.seen: dict[WorkloadKey, str] = {}

    def on_reconcile(self, result: ReconcileResult, seconds: float) -> None:
        if self.seen.get(result.key) != result.decision.message:
            self._show(result)
        self.seen[result.key] = result.decision.message


async def preview(
    transport: Transport,
    *,
    settings: ControllerConfiguration,
    clock: Clock,
    rng: Random,
    show: Callable[[ReconcileResult], None],
    watch: bool,
) -> int:
    """Show what the operator would do; returns the number of opted-in workloads.

    Nothing is written, not even a Lease or an Event, and no port is opened.

    Args:
        show: called with the first result of each workload and with every different one.
        watch: continue until cancelled, instead of ending after one result of each workload.

    Raises:
        ApiError, TransportError: the API server rejected the credentials or did not answer.
    """
    election = replace(settings.leader_election, enabled=False)
    results = _Results(show)
    operator = build_operator(
        ReadOnlyTransport(transport),
        settings=replace(settings, read_only=True, leader_election=election, identity="preview"),
        clock=clock,
        rng=rng,
        telemetry=results,
    )
    response = await operator.client.raw("GET", "/version")
    if response.status >= 300:
        raise error_from(response, clock.now())
    running = asyncio.create_task(operator.run())
    try:
        await operator.synced.wait()
        while watch or not set(operator.cluster.managed_keys()) <= results.seen.keys():
            if running.done():
                await running
            await asyncio.sleep(POLL_SECONDS)
        return len(operator.cluster.managed_keys())
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
