"""The operator as a process: servers, certificate, signals and an orderly shutdown."""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import socket
import uuid
from collections.abc import Callable
from dataclasses import replace

from spotalis import __version__, logs
from spotalis.app.build import build_operator
from spotalis.app.certificates import Certificates, peer_name
from spotalis.app.clock import SystemClock
from spotalis.app.telemetry import take_snapshot
from spotalis.kube.config.access import ClusterAccess
from spotalis.kube.errors import error_from
from spotalis.kube.http import HttpTransport
from spotalis.kube.resources import NAMESPACES
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.environment import Clock
from spotalis.model.errors import NamespaceMissing
from spotalis.settings.options import ServingOptions
from spotalis.web.health import EventLoopMonitor, HealthState
from spotalis.web.metrics import Metrics
from spotalis.web.server import health_server, metrics_server
from spotalis.webhook.client_auth import ClientAuth
from spotalis.webhook.peer_client import HttpsPeerClient
from spotalis.webhook.server import WebhookServer

log = logs.get(__name__)

EVICTION_GRACE_SECONDS = 3.0
"""Time for the API server to answer evictions that are in progress at shutdown."""
ENDPOINT_DRAIN_SECONDS = 1.0
"""How long the webhook still accepts requests after ``/readyz`` fails. Endpoints and proxies are
updated with a delay, and the pod of a refused request is created without placement."""
REQUEST_GRACE_SECONDS = 5.0
"""Time to answer admission requests in progress at shutdown. With the release of the Lease a
shutdown takes at most 15 s, half of the default grace period of Kubernetes."""


class Process:
    """One instance of the operator with its servers."""

    def __init__(
        self,
        access: ClusterAccess,
        settings: ControllerConfiguration,
        serving: ServingOptions,
        *,
        on_sighup: Callable[[], None] = lambda: None,
        clock: Clock | None = None,
    ) -> None:
        """Make a process that is not started; ``on_sighup`` is called at each SIGHUP."""
        # The suffix distinguishes two processes that were started with the same identity.
        name = settings.identity or socket.gethostname()
        settings = replace(settings, identity=f"{name}_{uuid.uuid4().hex[:16]}")
        clock = clock or SystemClock()
        rng = random.Random()  # noqa: S311  # jitter, no secret
        self.settings = settings
        self._access = access
        self._serving = serving
        self._on_sighup = on_sighup
        self._clock = clock
        self._stopping = asyncio.Event()
        self._is_started = False
        metrics = Metrics(version=__version__)
        self._loop_monitor = EventLoopMonitor(clock, on_lag=metrics.set_event_loop_lag)
        self._transport = HttpTransport(access, clock=clock, replica=settings.identity)
        peer = peer_name(settings, serving)
        self._peer_client = HttpsPeerClient(lambda: self._certificates.client_context(), peer)
        self.operator = operator = build_operator(
            self._transport,
            settings=settings,
            clock=clock,
            rng=rng,
            telemetry=metrics,
            peer_client=self._peer_client,
        )
        self._certificates = Certificates(
            operator.client,
            settings,
            serving,
            clock=clock,
            rng=rng,
            on_certificate=lambda used: metrics.set_certificate_expiry(used.expires_at),
        )
        self._webhook = WebhookServer(
            operator.admission.handle,
            clock=clock,
            on_request=metrics.on_webhook_request,
            forward_handler=operator.admission.handle_forwarded,
            client_auth=ClientAuth(peer_name=peer, api_server_name=serving.client_name),
        )
        self._health_server = health_server(self.health_state, clock=clock)
        self._metrics_server = metrics_server(
            metrics, lambda: take_snapshot(operator, clock), clock=clock
        )

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; a second signal terminates the process at once.

        Raises:
            NamespaceMissing: the operator's namespace does not exist.
            PortInUse: another process listens on a port; nothing was started.
            CertificateMismatch, IssueFailed, OSError: no certificate can be used.
            ApiError, TransportError: the API server rejected a request or did not answer.
        """
        serving = self._serving
        try:
            await self._preflight()
            certificate = await self._certificates.obtain()
            await self._health_server.start(serving.host, serving.health_port)
            await self._metrics_server.start(serving.host, serving.metrics_port)
            port = await self._webhook.start(serving.host, serving.webhook_port, certificate)
            self.operator.elector.address = self._advertised_address(port)
            self._handle_signals()
            await self._serve()
        finally:
            await self._webhook.stop(REQUEST_GRACE_SECONDS)
            await self._peer_client.close()
            await self._metrics_server.stop()
            await self._health_server.stop()
            await self._transport.close()

    async def _preflight(self) -> None:
        """Check that the API server accepts the credentials and that the namespace exists."""
        client = self.operator.client
        response = await client.raw("GET", "/version")
        if response.status >= 300:
            raise error_from(response, self._clock.now())
        settings = self.settings
        writes_to_namespace = not settings.read_only or settings.leader_election.enabled
        if writes_to_namespace and not await client.get(NAMESPACES, "", settings.namespace):
            raise NamespaceMissing(settings.namespace)
        log.info("Connected", server=self._access.server, identity=settings.identity)

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self.operator.run(), name="operator"),
                group.create_task(self._loop_monitor.run(), name="event loop monitor"),
                group.create_task(self._freeze_when_synced(), name="freeze"),
                group.create_task(self._certificates.run(), name="certificate"),
            ]
            await self._stopping.wait()  # /readyz fails from now on
            await self._shut_down()
            for task in tasks:
                task.cancel()
        log.info("Stopped")

    async def _shut_down(self) -> None:
        """Stop evictions, drain the webhook, then release the Lease.

        In this order the next leader finds no work in progress.
        """
        log.info("Stopping")
        drain_until = self._clock.monotonic() + ENDPOINT_DRAIN_SECONDS
        self._webhook.drain()
        await self.operator.stop_evictions(EVICTION_GRACE_SECONDS)
        await asyncio.sleep(max(0.0, drain_until - self._clock.monotonic()))
        await self._webhook.stop(REQUEST_GRACE_SECONDS)
        await self.operator.release()

    def _advertised_address(self, port: int) -> str:
        """``ip:port`` for the Lease; empty if the address of this instance is not known."""
        address = self._serving.advertise_address or self._serving.host
        if address in ("", "::", "0.0.0.0"):  # noqa: S104  # compared, not bound
            log.warning("No advertise address; not receiving forwarded requests")
            return ""
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

    async def _freeze_when_synced(self) -> None:
        """Exclude the objects of the first lists from garbage collection; they live long."""
        await self.operator.synced.wait()
        gc.collect()
        gc.freeze()
        self._is_started = True

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()

        def stop() -> None:
            if self._stopping.is_set():
                loop.remove_signal_handler(signal.SIGTERM)
                loop.remove_signal_handler(signal.SIGINT)
                signal.raise_signal(signal.SIGTERM)
            self._stopping.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        loop.add_signal_handler(signal.SIGHUP, self._on_sighup)

    def health_state(self) -> HealthState:
        """The state that ``/healthz`` and ``/readyz`` report."""
        operator = self.operator
        leads = operator.elector.leads
        elects = self.settings.leader_election.enabled
        health = operator.cluster.health
        missing, denied = health.missing_lists(), health.denied_lists()
        return HealthState(
            leader=leads,
            leader_election=("active" if leads else "standby") if elects else "disabled",
            webhook_server="running" if self._webhook.running else "stopped",
            controllers="started" if self._is_started else "waiting",
            caches="waiting for " + ", ".join(missing) if missing else "synced",
            denied=tuple(denied),
            api_reachable=not health.is_cut_off(),
            stalled=self._loop_monitor.is_stalled(),
            certificate_expired=self._certificates.is_expired(),
            shutting_down=self._stopping.is_set(),
        )
