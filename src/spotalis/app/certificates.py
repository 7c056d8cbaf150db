"""The webhook's certificate: from files, from the shared Secret, or self-signed."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from spotalis import logs
from spotalis.kube.client import Client
from spotalis.kube.errors import Forbidden, NotFound
from spotalis.model.controller_configuration import ControllerConfiguration
from spotalis.model.environment import Clock, Random
from spotalis.settings.options import ServingOptions
from spotalis.webhook.certificate_files import CertificateFiles
from spotalis.webhook.certificate_rotation import CertificateRotator, RotationSettings
from spotalis.webhook.issuer import issue_certificate
from spotalis.webhook.issuer_messages import IssueRequest
from spotalis.webhook.rotation_plan import Lifetimes
from spotalis.webhook.serving_certificate import ServingCertificate

log = logs.get(__name__)


def peer_name(settings: ControllerConfiguration, serving: ServingOptions) -> str:
    """The DNS name in the certificate of every instance: that of the webhook's Service."""
    return f"{serving.service_name}.{settings.namespace}.svc"


class Certificates:
    """Obtains the certificate of the webhook and keeps it up to date."""

    def __init__(
        self,
        client: Client,
        settings: ControllerConfiguration,
        serving: ServingOptions,
        *,
        clock: Clock,
        rng: Random,
        on_certificate: Callable[[ServingCertificate], None],
    ) -> None:
        """``on_certificate`` is called with each certificate that is used."""
        self._client = client
        self._settings = settings
        self._serving = serving
        self._clock = clock
        self._rng = rng
        self._on_certificate = on_certificate
        self._certificate: ServingCertificate | None = None
        self._files: CertificateFiles | None = None
        self._rotator: CertificateRotator | None = None
        self._peer_name = peer_name(settings, serving)

    def client_context(self) -> ssl.SSLContext | None:
        """For requests to other instances; None before :meth:`obtain`."""
        return self._certificate.client_context if self._certificate else None

    def is_expired(self) -> bool:
        """Whether the certificate in use has expired, by the clock of the API server."""
        now = self._clock.now() + self._client.clock_skew()
        return self._certificate is not None and self._certificate.expires_at <= now

    async def obtain(self) -> ServingCertificate:
        """Read the certificate, or issue it if no instance has.

        Raises:
            CertificateMismatch, IssueFailed, OSError: no certificate can be used.
            ApiError, TransportError: the Secret cannot be read.
        """
        self._certificate = await self._obtain()
        return self._certificate

    async def _obtain(self) -> ServingCertificate:
        serving = self._serving
        client_ca = serving.client_ca_file.read_bytes() if serving.client_ca_file else b""
        if serving.certificate_file is not None and serving.key_file is not None:
            self._files = CertificateFiles(
                serving.certificate_file, serving.key_file, serving.ca_file
            )
            certificate = await self._files.load(client_ca=client_ca)
            self._on_certificate(certificate)
            return certificate
        rotator = self._make_rotator()
        try:
            certificate = await rotator.obtain(client_ca)
        except (NotFound, Forbidden) as error:
            if not self._settings.read_only:
                raise
            # Observing a cluster requires no installation: no webhook is registered then, so it
            # does not matter that the API server does not trust this certificate.
            log.warning("Using a self-signed certificate that no client trusts", error=str(error))
            return await self._issue(client_ca)
        self._rotator = rotator
        return certificate

    def _make_rotator(self) -> CertificateRotator:
        serving = self._serving
        return CertificateRotator(
            self._client,
            RotationSettings(
                namespace=self._settings.namespace,
                secret=serving.secret_name,
                configuration=serving.configuration_name,
                dns_names=(self._peer_name, f"{self._peer_name}.cluster.local", "localhost"),
                ip_addresses=("127.0.0.1",),
                lifetimes=Lifetimes(certificate=serving.duration, authority=serving.ca_duration),
            ),
            clock=self._clock,
            rng=self._rng,
            on_certificate=self._on_certificate,
        )

    async def _issue(self, client_ca: bytes) -> ServingCertificate:
        issued = await issue_certificate(
            IssueRequest(
                dns_names=(self._peer_name,),
                valid_for=self._serving.duration,
                ca_valid_for=self._serving.ca_duration,
                now=self._clock.now(),
            )
        )
        return ServingCertificate(issued.key_pair, client_ca=client_ca)

    async def run(self) -> None:
        """Renew the certificate, or reload its files when they change, until cancelled."""
        if self._rotator is not None:
            await self._rotator.run()
        elif self._files is not None and self._certificate is not None:
            await self._files.watch(self._certificate, on_certificate=self._on_certificate)
