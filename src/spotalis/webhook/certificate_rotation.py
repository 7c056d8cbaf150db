"""Rotates the certificate that all instances share, and publishes its authorities.

Every write of the Secret states the resourceVersion that was read, so the first write wins and
the other instances adopt its result. Any instance may renew the certificate, leader or not.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import msgspec

from spotalis import logs
from spotalis.kube.client import Client, Conflict
from spotalis.kube.errors import ApiError, NotFound
from spotalis.kube.resources import SECRETS, WEBHOOK_CONFIGURATIONS, Resource
from spotalis.kube.store import Record, is_older
from spotalis.kube.waiting import wait_for_event
from spotalis.kube.watch import watch_object
from spotalis.model.environment import Clock, Random
from spotalis.model.single_objects import Secret, WebhookConfiguration
from spotalis.model.transport import TransportError
from spotalis.webhook.certificate_secret import CertificateSecret
from spotalis.webhook.issuer import IssueFailed, issue_certificate
from spotalis.webhook.issuer_messages import IssuedCertificate, IssueRequest
from spotalis.webhook.rotation_plan import Lifetimes, RotationStep, next_check, next_step
from spotalis.webhook.serving_certificate import CertificateMismatch, ServingCertificate
from spotalis.webhook.webhook_configuration import ca_bundle_differs, inject_ca_bundle

log = logs.get(__name__)

T = TypeVar("T", bound=Record)

RETRY_SECONDS = 10.0
"""Delay after a failed write."""
_ATTEMPTS = 10
"""Attempts at the start: with this many instances, each can win a conflict once."""
_JITTER = 0.1
"""Fraction of ``Lifetimes.settling`` over which the instances spread a renewal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationSettings:
    """Names and lifetimes of the shared certificate."""

    namespace: str
    """The namespace of the Secret."""
    secret: str
    """The name of the Secret; the manifests create it empty."""
    configuration: str
    """The name of the MutatingWebhookConfiguration."""
    dns_names: tuple[str, ...]
    """The names of the webhook's Service."""
    ip_addresses: tuple[str, ...] = ()
    lifetimes: Lifetimes

    @property
    def names(self) -> str:
        """All names, in the form in which the Secret stores them."""
        return ",".join((*self.dns_names, *self.ip_addresses))


class CertificateRotator:
    """Keeps the certificate of one instance, the Secret and the caBundle up to date."""

    def __init__(
        self,
        client: Client,
        settings: RotationSettings,
        *,
        clock: Clock,
        rng: Random,
        on_certificate: Callable[[ServingCertificate], None] = lambda certificate: None,
    ) -> None:
        """Prepare; :meth:`obtain` sends the first request.

        ``on_certificate`` is called with every certificate that comes into use.
        """
        self._client = client
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._on_certificate = on_certificate
        self._content = CertificateSecret()
        self._secret = Secret(namespace=settings.namespace, name=settings.secret)
        """As last read; a write keeps every field but ``data``."""
        self._configuration_missing = False
        self._published = b""
        """The caBundle in the webhook configuration, as far as known."""
        self._settled_at = 0.0
        """Monotonic time at which the last change of the certificates or the caBundle counts as
        observed by the API server and all instances."""
        self._changed = asyncio.Event()
        self._serving: ServingCertificate | None = None

    async def obtain(self, client_ca: bytes = b"") -> ServingCertificate:
        """Return the shared certificate; issues it if the Secret does not hold one.

        Raises:
            ApiError: the Secret does not exist, or access is forbidden.
            TransportError: the API server did not respond.
            IssueFailed: no certificate could be issued.
        """
        for _ in range(_ATTEMPTS):
            await self._read()
            step = self._next_step()
            if self._content.certificate is not None and not step.certificate:
                break
            try:
                await self._carry_out(step)
                break
            except Conflict:
                pass  # another instance was first; read what it wrote
        key_pair = self._content.key_pair
        if key_pair is None:
            secret = self._settings.secret
            raise IssueFailed(f"secret {secret} changes faster than it can be written")
        if skew := self._client.clock_skew():
            seconds = round(skew.total_seconds())
            log.warning("Clock differs from that of the API server", behind_seconds=seconds)
        self._serving = ServingCertificate(key_pair, client_ca=client_ca)
        self._on_certificate(self._serving)
        return self._serving

    async def run(self) -> None:
        """Watch the Secret and the caBundle, and renew certificates, until cancelled."""
        settings = self._settings
        secret = self._watch(SECRETS, settings.namespace, settings.secret, self._on_secret)
        configuration = self._watch(
            WEBHOOK_CONFIGURATIONS, "", settings.configuration, self._on_configuration
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(secret, name="certificate secret")
            group.create_task(configuration, name="webhook configuration")
            group.create_task(self._renew(), name="certificate renewal")

    async def _watch(
        self,
        resource: Resource[T],
        namespace: str,
        name: str,
        on_object: Callable[[T | None], None],
    ) -> None:
        await watch_object(self._client, resource, namespace, name, on_object=on_object)

    def _on_secret(self, secret: Secret | None) -> None:
        """Adopt what other instances write."""
        if secret is None:
            log.warning("Secret not found", secret=self._settings.secret)
        elif self._take(secret):
            self._serve_content()
            self._changed.set()

    def _on_configuration(self, configuration: WebhookConfiguration | None) -> None:
        """Have the caBundle written when it is missing or differs."""
        if configuration is None and not self._configuration_missing:
            name = self._settings.configuration
            log.warning("Webhook configuration not found", configuration=name)
        self._configuration_missing = configuration is None
        if configuration is None or ca_bundle_differs(configuration, self._content.bundle):
            self._published = b""
            self._changed.set()
        elif self._published != self._content.bundle:
            self._set_published(self._content.bundle)

    async def _renew(self) -> None:
        settling_seconds = self._settings.lifetimes.settling.total_seconds()
        while True:
            self._changed.clear()
            try:
                await self._publish()
                if self._next_step():
                    # The first instance to wake up spares the others the work.
                    await asyncio.sleep(self._rng.random() * _JITTER * settling_seconds)
                    if step := self._next_step():
                        await self._carry_out(step)
                        self._serve_content()
                        continue
                wait = self._seconds_to_next_check()
            except Conflict:
                wait = RETRY_SECONDS  # the watch delivers the other write
            except (ApiError, TransportError, IssueFailed) as error:
                log.warning("Certificate rotation failed; retrying", error=str(error))
                wait = min(self._seconds_to_next_check(), RETRY_SECONDS)
            await wait_for_event(self._changed, wait)

    def _now(self) -> datetime:
        """The wall clock of the API server: all instances agree on it, and it judges them."""
        return self._clock.now() + self._client.clock_skew()

    def _next_step(self) -> RotationStep:
        settled = self._clock.monotonic() >= self._settled_at
        return next_step(
            self._content,
            self._now(),
            settled=settled and self._published == self._content.bundle,
            names=self._settings.names,
            lifetimes=self._settings.lifetimes,
        )

    def _seconds_to_next_check(self) -> float:
        wait = next_check(self._content, self._now(), lifetimes=self._settings.lifetimes)
        unsettled = self._settled_at - self._clock.monotonic()
        return min(wait.total_seconds(), unsettled) if unsettled > 0 else wait.total_seconds()

    def _start_settling(self) -> None:
        settling = self._settings.lifetimes.settling
        self._settled_at = self._clock.monotonic() + settling.total_seconds()

    async def _publish(self) -> None:
        bundle = self._content.bundle
        if bundle and self._published != bundle:
            # Without a configuration, no API server has to be waited for.
            await inject_ca_bundle(self._client, self._settings.configuration, bundle)
            self._set_published(bundle)

    def _set_published(self, bundle: bytes) -> None:
        self._published = bundle
        self._start_settling()

    def _serve_content(self) -> None:
        """Serve with the certificate in the Secret, if there is a usable one."""
        key_pair = self._content.key_pair
        if self._serving is None or key_pair is None:
            return
        try:
            self._serving.replace(key_pair)
        except CertificateMismatch as error:
            log.warning("Cannot use the certificate in the Secret", error=str(error))
            return
        self._on_certificate(self._serving)

    async def _carry_out(self, step: RotationStep) -> None:
        """Issue what the step requires and write the Secret.

        Raises:
            Conflict: another instance wrote the Secret first.
        """
        content = self._content
        read = self._secret  # any change from here on makes the write conflict
        kept = tuple(pair for pair in content.authorities if pair[1].subject not in step.drop)
        content = dataclasses.replace(content, authorities=kept)
        if step.authority or step.certificate:
            issued = await self._issue(new_authority=step.authority)
            if step.authority:
                content = dataclasses.replace(
                    content,
                    authorities=(*kept, (issued.ca_pem, issued.ca_info)),
                    authority_key=issued.ca_key_pem,
                )
            if step.certificate:
                content = dataclasses.replace(
                    content,
                    certificate=(issued.cert_pem, issued.info),
                    key_pem=issued.key_pem,
                    names=self._settings.names,
                )
        await self._write(content, read)
        log.info(
            "Updated certificate secret",
            authority="added" if step.authority else "kept",
            dropped=len(step.drop),
            certificate="renewed" if step.certificate else "kept",
        )

    async def _issue(self, *, new_authority: bool) -> IssuedCertificate:
        content, settings = self._content, self._settings
        return await issue_certificate(
            IssueRequest(
                dns_names=settings.dns_names,
                ip_addresses=settings.ip_addresses,
                now=self._now(),
                valid_for=settings.lifetimes.certificate,
                ca_valid_for=settings.lifetimes.authority,
                ca_pem=b"" if new_authority else content.authorities[-1][0],
                ca_key_pem=b"" if new_authority else content.authority_key,
            )
        )

    async def _read(self) -> None:
        name = self._settings.secret
        secret = await self._client.get(SECRETS, self._settings.namespace, name)
        if secret is None:
            raise NotFound(404, "NotFound", f'secrets "{name}" not found')
        self._take(secret)

    async def _write(self, content: CertificateSecret, read: Secret) -> None:
        body: dict[str, object] = msgspec.json.decode(read.json)  # includes its resourceVersion
        body["data"] = {
            key: base64.b64encode(value).decode() for key, value in content.to_data().items()
        }
        settings = self._settings
        self._take(await self._client.replace(SECRETS, settings.namespace, settings.secret, body))

    def _take(self, secret: Secret) -> bool:
        """Adopt a version of the Secret; returns whether it is newer than the current one."""
        version, current = secret.resource_version, self._secret.resource_version
        if version == current or is_older(version, current):
            return False
        self._secret = secret
        content = CertificateSecret.from_data(secret.data)
        if content != self._content:
            self._content = content
            self._start_settling()
        return True
