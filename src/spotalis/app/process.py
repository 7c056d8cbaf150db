"""The operator as a process: an API server, ports, a certificate, signals, and an orderly end."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import signal
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from spotalis import __version__
from spotalis.app.clock import SystemClock
from spotalis.app.operator import Operator
from spotalis.app.report import Report, count
from spotalis.kube.client import ApiError
from spotalis.kube.config import ClusterAccess
from spotalis.kube.errors import error_from
from spotalis.kube.http import HttpTransport
from spotalis.model.clock import Clock
from spotalis.model.settings import ControllerConfiguration, ServingOptions
from spotalis.model.transport import TransportError
from spotalis.web.health import Facts, LoopWatch
from spotalis.web.metrics import Metrics
from spotalis.web.server import health_server, metrics_server
from spotalis.webhook.certificate import ServingCertificate, issue
from spotalis.webhook.registration import write_ca_bundle
from spotalis.webhook.server import WebhookServer

logger = logging.getLogger(__name__)

CERTIFICATE_LIFE = timedelta(days=90)
CA_LIFE = timedelta(days=365)
REVIEW_GRACE_SECONDS = 5.0
"""For reviews in flight when the process is asked to end."""
REGISTER_RETRY_SECONDS = 10.0


class Process:
    """One replica with its servers; :meth:`run` returns when it has ended in order."""

    def __init__(
        self,
        access: ClusterAccess,
        settings: ControllerConfiguration,
        serving: ServingOptions,
        *,
        hung_up: Callable[[], None] = lambda: None,
    ) -> None:
        """A process that is not started; ``hung_up`` is called at each SIGHUP."""
        self._hung_up = hung_up
        self._access = access
        self._settings = settings
        self._serving = serving
        self._clock: Clock = SystemClock()
        self._metrics = Metrics(version=__version__)
        self._loop_watch = LoopWatch(self._clock, report=self._metrics.event_loop_lag)
        self._stopping = asyncio.Event()
        self._task_ended = False
        self._certificate: ServingCertificate | None = None
        self._ready = False

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; a second one ends at once.

        Raises:
            PortTaken: a port is in use; nothing was started.
            CertificateMismatch, IssueFailed, OSError: no certificate to serve with.
            ApiError, TransportError: the API server did not answer at the start.
        """
        transport = HttpTransport(self._access, clock=self._clock)
        operator = self._operator(transport)
        report = Report(operator, self._clock)
        webhook = WebhookServer(
            operator.admission.answer,
            clock=self._clock,
            observe=lambda result, seconds: self._metrics.webhook_request(
                "create", result, seconds
            ),
        )
        health = health_server(lambda: self._facts(operator, webhook), clock=self._clock)
        metrics = metrics_server(self._metrics, report.snapshot, clock=self._clock)
        serving = self._serving
        try:
            await self._greet(operator)
            self._certificate, ca_pem = await self._obtain_certificate()
            await health.start(serving.host, serving.health_port)
            await metrics.start(serving.host, serving.metrics_port)
            await webhook.start(serving.host, serving.webhook_port, self._certificate)
            self._listen_to_signals()
            await self._serve(operator, webhook, ca_pem)
        finally:
            await webhook.stop(REVIEW_GRACE_SECONDS)
            await metrics.stop()
            await health.stop()
            await transport.close()

    async def _greet(self, operator: Operator) -> None:
        """One request before anything is opened: is there an API server that lets us in?"""
        answer = await operator.client.raw("GET", "/version")
        if answer.status >= 300:
            raise error_from(answer, self._clock.now())
        logger.info("connected", extra={"fields": {"server": self._access.server}})

    async def _serve(
        self, operator: Operator, webhook: WebhookServer, ca_pem: bytes | None
    ) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(operator.run(), name="operator"),
                group.create_task(self._loop_watch.run(), name="loop watch"),
                group.create_task(self._freeze_when_synced(operator), name="freeze"),
            ]
            if ca_pem is not None:
                registering = self._keep_registered(operator, ca_pem)
                tasks.append(group.create_task(registering, name="registration"))
            elif self._certificate is not None:
                following = self._certificate.watch_files()
                tasks.append(group.create_task(following, name="certificate"))
            await self._stopping.wait()
            logger.info("stopping")
            await operator.stop_moving()
            await webhook.stop(REVIEW_GRACE_SECONDS)
            for task in tasks:
                task.cancel()
        logger.info("stopped")

    def _operator(self, transport: HttpTransport) -> Operator:
        metrics = self._metrics
        settings = replace(
            self._settings,
            identity=self._settings.identity or f"spotalis-{uuid.uuid4().hex[:8]}",
        )
        return Operator(
            transport,
            settings=settings,
            clock=self._clock,
            dice=random.Random(),  # noqa: S311  # jitter, no secret
            turned=lambda turn, seconds: count(metrics, turn, seconds),
            decided=metrics.mutation,
            requested=lambda verb, resource, status, seconds: metrics.api_request(
                verb, resource, str(status or "none"), seconds
            ),
            led=metrics.leader,
        )

    async def _obtain_certificate(self) -> tuple[ServingCertificate, bytes | None]:
        """From files, or self-made; then with the CA to be written into caBundle."""
        serving = self._serving
        if serving.certificate_file is not None and serving.key_file is not None:
            files = ServingCertificate.from_files(serving.certificate_file, serving.key_file)
            return files, None
        service = f"{serving.webhook_service}.{self._settings.namespace}.svc"
        made = await issue(
            [service, f"{service}.cluster.local", "localhost"],
            ["127.0.0.1"],
            valid_for=CERTIFICATE_LIFE,
            ca_valid_for=CA_LIFE,
            now=self._clock.now(),
        )
        return ServingCertificate.from_pem(made.cert_pem, made.key_pem), made.ca_pem

    async def _keep_registered(self, operator: Operator, ca_pem: bytes) -> None:
        """Write caBundle, again and again: the configuration may be applied after we start."""
        name = self._serving.webhook_configuration
        while True:
            try:
                there = await write_ca_bundle(operator.client, self._clock, name, ca_pem)
                if not there:
                    fields = {"configuration": name}
                    logger.warning("webhook configuration not found", extra={"fields": fields})
            except (ApiError, TransportError) as error:
                logger.warning("caBundle not written", extra={"fields": {"error": str(error)}})
            await asyncio.sleep(REGISTER_RETRY_SECONDS)

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

    def _facts(self, operator: Operator, webhook: WebhookServer) -> Facts:
        election = self._settings.leader_election.enabled
        leads = operator.elector.leads
        missing = operator.cluster.missing_kinds()
        certificate = self._certificate
        return Facts(
            leader=leads,
            leader_election=("active" if leads else "standby") if election else "disabled",
            webhook_server="running" if webhook.running else "waiting",
            controllers="started" if self._ready else "waiting",
            caches="missing " + ", ".join(missing) if missing else "synced",
            stalled=self._loop_watch.stalled(),
            certificate_expired=certificate is not None
            and certificate.expires_at <= self._clock.now(),
            shutting_down=self._stopping.is_set(),
        )
