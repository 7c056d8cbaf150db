"""The operator as a process: an API server, ports, a certificate, signals, and an orderly end."""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import socket
import ssl
import uuid
from collections.abc import Callable
from dataclasses import replace

from spotalis import __version__, logs
from spotalis.app.clock import SystemClock
from spotalis.app.operator import Operator
from spotalis.app.report import Report, count
from spotalis.kube.config.access import ClusterAccess
from spotalis.kube.errors import Forbidden, NotFound, error_from
from spotalis.kube.http import HttpTransport
from spotalis.kube.resources import NAMESPACES
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.environment import Clock
from spotalis.model.errors import NamespaceMissing
from spotalis.settings.options import ServingOptions
from spotalis.web.health import EventLoopMonitor, HealthState
from spotalis.web.metrics import Metrics
from spotalis.web.server import health_server, metrics_server
from spotalis.webhook.certificate_files import CertificateFiles
from spotalis.webhook.certificate_rotation import CertificateRotator, RotationSettings
from spotalis.webhook.client_auth import ClientAuth
from spotalis.webhook.forward import HttpsPeerClient
from spotalis.webhook.issuer import IssueRequest, issue_certificate
from spotalis.webhook.rotation_plan import Lifetimes
from spotalis.webhook.server import WebhookServer
from spotalis.webhook.serving_certificate import ServingCertificate

log = logs.get(__name__)

MOVE_GRACE_SECONDS = 3.0
"""For evictions that the API server is answering when the process is asked to end."""
ENDPOINT_DRAIN_SECONDS = 1.0
"""Still taking reviews after ``/readyz`` says no: endpoints and proxies take a moment to hear of
it, and a refused connection is a pod that nobody places."""
REVIEW_GRACE_SECONDS = 5.0
"""For reviews in flight when the process is asked to end. Together with releasing the Lease an
orderly end takes at most 15 s, half of Kubernetes' default grace."""


class Process:
    """One replica with its servers; :meth:`run` returns when it has ended in order."""

    def __init__(
        self,
        access: ClusterAccess,
        settings: ControllerConfiguration,
        serving: ServingOptions,
        *,
        on_sighup: Callable[[], None] = lambda: None,
        clock: Clock | None = None,
    ) -> None:
        """A process that is not started.

        Args:
            access: to the API server.
            settings, serving: what it does, and where it listens.
            on_sighup: called at each SIGHUP.
            clock: the system's by default.
        """
        self._hung_up = on_sighup
        self._access = access
        # The nonce: a process started with a copied name is another one (safety.md row 26).
        name = settings.identity or socket.gethostname()
        self._settings = replace(settings, identity=f"{name}_{uuid.uuid4().hex[:16]}")
        self._serving = serving
        self._replica_name = f"{serving.service_name}.{settings.namespace}.svc"
        self._clock: Clock = clock or SystemClock()
        self._dice = random.Random()  # noqa: S311  # jitter, no secret
        self._metrics = Metrics(version=__version__)
        self._loop_monitor = EventLoopMonitor(self._clock, on_lag=self._metrics.set_event_loop_lag)
        self._stopping = asyncio.Event()
        self._certificate: ServingCertificate | None = None
        self._certificate_files: CertificateFiles | None = None
        self._certificate_rotator: CertificateRotator | None = None
        self._ready = False

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; a second one ends at once.

        Raises:
            PortInUse: a port is in use; nothing was started.
            CertificateMismatch, IssueFailed, OSError: no certificate to serve with.
            ApiError, TransportError: the API server did not answer at the start.
        """
        replica = self._settings.identity
        transport = HttpTransport(self._access, clock=self._clock, replica=replica)
        peer_client = HttpsPeerClient(self._client_context, self._replica_name)
        operator = self._operator(transport, peer_client)
        report = Report(operator, self._clock)
        webhook = self._webhook(operator)
        health = health_server(lambda: self._facts(operator, webhook), clock=self._clock)
        metrics = metrics_server(self._metrics, report.snapshot, clock=self._clock)
        serving = self._serving
        try:
            await self._greet(operator)
            self._certificate = await self._obtain_certificate(operator)
            await health.start(serving.host, serving.health_port)
            await metrics.start(serving.host, serving.metrics_port)
            port = await webhook.start(serving.host, serving.webhook_port, self._certificate)
            operator.elector.address = self._address(port)
            self._listen_to_signals()
            await self._serve(operator, webhook)
        finally:
            await webhook.stop(REVIEW_GRACE_SECONDS)
            await peer_client.close()
            await metrics.stop()
            await health.stop()
            await transport.close()

    async def _greet(self, operator: Operator) -> None:
        """Before anything is opened: is there an API server that lets us in, and a place for us?"""
        answer = await operator.client.raw("GET", "/version")
        if answer.status >= 300:
            raise error_from(answer, self._clock.now())
        settings = self._settings
        writes_there = not settings.read_only or settings.leader_election.enabled
        if writes_there and not await operator.client.get(NAMESPACES, "", settings.namespace):
            raise NamespaceMissing(settings.namespace)
        log.info("Connected", server=self._access.server, identity=self._settings.identity)

    async def _serve(self, operator: Operator, webhook: WebhookServer) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(operator.run(), name="operator"),
                group.create_task(self._loop_monitor.run(), name="loop watch"),
                group.create_task(self._freeze_when_synced(operator), name="freeze"),
                group.create_task(self._keep_certificate(), name="certificate"),
            ]
            await self._stopping.wait()  # from here on /readyz says no
            await self._end(operator, webhook)
            for task in tasks:
                task.cancel()
        log.info("Stopped")

    async def _end(self, operator: Operator, webhook: WebhookServer) -> None:
        """Moves, then reviews, then the Lease: who leads next finds nothing half done."""
        log.info("Stopping")
        routed_until = self._clock.monotonic() + ENDPOINT_DRAIN_SECONDS
        webhook.drain()
        await operator.stop_moving(MOVE_GRACE_SECONDS)
        await asyncio.sleep(max(0.0, routed_until - self._clock.monotonic()))
        await webhook.stop(REVIEW_GRACE_SECONDS)
        await operator.release()

    def _operator(self, transport: HttpTransport, peer_client: HttpsPeerClient) -> Operator:
        metrics = self._metrics
        return Operator(
            transport,
            settings=self._settings,
            clock=self._clock,
            rng=self._dice,
            turned=lambda turn, seconds: count(metrics, turn, seconds),
            on_admission=metrics.record_admission,
            requested=lambda verb, resource, status, seconds: metrics.record_api_request(
                verb, resource, str(status or "none"), seconds
            ),
            led=metrics.set_leader,
            failed=lambda key, error: metrics.record_reconciliation_error(
                key.kind.lower(), type(error).__name__
            ),
            watched=lambda report: (
                metrics.record_watch_restart(report.resource) if report.retry_seconds else None
            ),
            peer_client=peer_client,
            on_forward=metrics.record_forward,
        )

    def _webhook(self, operator: Operator) -> WebhookServer:
        metrics = self._metrics
        return WebhookServer(
            operator.admission.handle,
            clock=self._clock,
            on_request=metrics.record_webhook_request,
            forward_handler=operator.admission.handle_forwarded,
            client_auth=ClientAuth(
                peer_name=self._replica_name, api_server_name=self._serving.client_name
            ),
        )

    def _address(self, port: int) -> str:
        """``ip:port`` for the Lease; empty if we cannot know where we are reached."""
        address = self._serving.advertise_address or self._serving.host
        if address in ("", "::", "0.0.0.0"):  # noqa: S104  # compared, not bound
            log.warning("No advertise address; not receiving forwarded requests")
            return ""
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

    def _client_context(self) -> ssl.SSLContext | None:
        return self._certificate.client_context if self._certificate else None

    async def _obtain_certificate(self, operator: Operator) -> ServingCertificate:
        """From files, or the shared one."""
        serving = self._serving
        client_ca = serving.client_ca_file.read_bytes() if serving.client_ca_file else b""
        if serving.certificate_file is not None and serving.key_file is not None:
            self._certificate_files = CertificateFiles(
                serving.certificate_file, serving.key_file, serving.ca_file
            )
            certificate = await self._certificate_files.load(client_ca=client_ca)
            self._on_certificate(certificate)
            return certificate
        self._certificate_rotator = CertificateRotator(
            operator.client,
            RotationSettings(
                namespace=self._settings.namespace,
                secret=serving.secret_name,
                configuration=serving.configuration_name,
                dns_names=(self._replica_name, f"{self._replica_name}.cluster.local", "localhost"),
                ip_addresses=("127.0.0.1",),
                lifetimes=Lifetimes(certificate=serving.duration, authority=serving.ca_duration),
            ),
            clock=self._clock,
            rng=self._dice,
            on_certificate=self._on_certificate,
        )
        try:
            return await self._certificate_rotator.obtain(client_ca)
        except (NotFound, Forbidden) as error:
            if not self._settings.read_only:
                raise
            # To look at a cluster takes no installation, and nobody calls the webhook then.
            log.warning("Using a self-signed certificate that no client trusts", error=str(error))
        self._certificate_rotator = None
        issued = await issue_certificate(
            IssueRequest(
                dns_names=(self._replica_name,),
                valid_for=serving.duration,
                ca_valid_for=serving.ca_duration,
                now=self._clock.now(),
            )
        )
        return ServingCertificate(issued.key_pair, client_ca=client_ca)

    def _on_certificate(self, certificate: ServingCertificate) -> None:
        self._metrics.set_certificate_expiry(certificate.expires_at)

    async def _keep_certificate(self) -> None:
        if self._certificate_rotator is not None:
            await self._certificate_rotator.run()
        elif self._certificate_files is not None and self._certificate is not None:
            await self._certificate_files.watch(
                self._certificate, on_certificate=self._on_certificate
            )

    async def _freeze_when_synced(self, operator: Operator) -> None:
        """Take what the first lists made out of the collector's sight: it would scan it in vain."""
        await operator.synced.wait()
        gc.collect()
        gc.freeze()
        self._ready = True

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()

        def stop() -> None:
            if self._stopping.is_set():
                loop.remove_signal_handler(signal.SIGTERM)
                loop.remove_signal_handler(signal.SIGINT)
                signal.raise_signal(signal.SIGTERM)
            self._stopping.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up)

    def _facts(self, operator: Operator, webhook: WebhookServer) -> HealthState:
        election = self._settings.leader_election.enabled
        leads = operator.elector.leads
        missing = operator.cluster.unsynced_kinds()
        certificate = self._certificate
        return HealthState(
            leader=leads,
            leader_election=("active" if leads else "standby") if election else "disabled",
            webhook_server="running" if webhook.running else "stopped",
            controllers="started" if self._ready else "waiting",
            caches="waiting for " + ", ".join(missing) if missing else "synced",
            api_reachable=not operator.cluster.stale_watch(),
            stalled=self._loop_monitor.is_stalled(),
            certificate_expired=certificate is not None
            and certificate.expires_at <= self._clock.now(),
            shutting_down=self._stopping.is_set(),
        )
