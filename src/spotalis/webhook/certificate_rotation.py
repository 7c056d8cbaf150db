"""Keeps the certificate that all replicas share, and the API server's trust in it.

Who writes the Secret first wins: every write names the resourceVersion that was read, and who
comes too late adopts what the other wrote. No replica is special, so a certificate is renewed as
long as one runs, leader or not.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable, Mapping
from contextlib import aclosing
from datetime import timedelta

import msgspec

from spotalis.kube.client import Client, Conflict
from spotalis.kube.errors import ApiError, error_from
from spotalis.kube.follow import follow
from spotalis.kube.store import is_older
from spotalis.model.environment import Clock, Random
from spotalis.model.transport import TransportError
from spotalis.webhook import rotation_plan
from spotalis.webhook.issuer import IssueFailed, issue_certificate
from spotalis.webhook.rotation_plan import (
    Held,
    Lifetimes,
    RotationStep,
    held,
    next_check,
    next_step,
)
from spotalis.webhook.serving_certificate import CertificateMismatch, ServingCertificate
from spotalis.webhook.webhook_configuration import (
    CONFIGURATIONS,
    ca_bundle_differs,
    inject_ca_bundle,
)

logger = logging.getLogger(__name__)

RETRY_SECONDS = 10.0
"""After a write that was refused or not answered."""
_ATTEMPTS = 10
"""At the start: as many replicas may come before us, each winning once."""


class _Meta(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _Secret(msgspec.Struct):
    metadata: _Meta
    data: dict[str, bytes] | None = None


class CertificateRotator:
    """One replica's part in keeping the shared certificate."""

    def __init__(
        self,
        client: Client,
        *,
        namespace: str,
        secret: str,
        configuration: str,
        dns_names: tuple[str, ...],
        ip_addresses: tuple[str, ...] = (),
        lifetimes: Lifetimes,
        clock: Clock,
        rng: Random,
        on_certificate: Callable[[ServingCertificate], None] = lambda certificate: None,
    ) -> None:
        """Prepare; nothing is read before :meth:`obtain`.

        Args:
            client: to read and write with.
            namespace: of the Secret.
            secret: its name; the manifests create it empty.
            configuration: name of the MutatingWebhookConfiguration.
            dns_names: of the webhook's Service.
            ip_addresses: for callers that use an address.
            lifetimes: of what is made.
            clock: the wall clock counts.
            rng: jitter, so that replicas do not all renew at once.
            on_certificate: told of each certificate that is shown from now on.
        """
        self._client = client
        self._collection = f"/api/v1/namespaces/{namespace}/secrets"
        self._secret = secret
        self._configuration = configuration
        self._dns_names = dns_names
        self._ip_addresses = ip_addresses
        self._names = ",".join((*dns_names, *ip_addresses))
        self._lifetimes = lifetimes
        self._clock = clock
        self._dice = rng
        self._on_certificate = on_certificate
        self._held = Held()
        self._secret_body = b""
        """As last read: what the manifests own of it is written back as it was."""
        self._version = ""
        self._published = b""
        """The bundle that the API server has been told to trust, as far as we know."""
        self._news = asyncio.Event()
        self._serving: ServingCertificate | None = None

    async def obtain(self, client_ca: bytes = b"") -> ServingCertificate:
        """The shared certificate, made by us if nobody was before us.

        Raises:
            ApiError: no such Secret, or not allowed.
            TransportError: no answer.
            IssueFailed: none could be made.
        """
        for _ in range(_ATTEMPTS):
            await self._read()
            change = self._next_change()
            if self._held.certificate is not None and not change.certificate:
                break
            try:
                await self._carry_out(change)
            except Conflict:
                continue
            if self._held.certificate is not None:
                break
        else:
            raise IssueFailed(f"secret {self._secret} changes faster than it can be written")
        self._serving = ServingCertificate(
            self._held.cert_pem,
            self._held.key_pem,
            peer_ca=self._held.bundle,
            client_ca=client_ca,
        )
        self._on_certificate(self._serving)
        return self._serving

    async def run(self) -> None:
        """Follow the Secret, renew what comes due, keep caBundle written; until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_secret(), name="certificate secret")
            group.create_task(self._follow_configuration(), name="webhook configuration")
            group.create_task(self._renew(), name="certificate renewal")

    async def _follow_secret(self) -> None:
        """Adopt whatever another replica has written."""
        versions = follow(
            self._client, self._collection, self._secret, clock=self._clock, rng=self._dice
        )
        async with aclosing(versions):
            async for version in versions:
                if version is None:
                    logger.warning("secret missing", extra={"fields": {"secret": self._secret}})
                elif self._take(version):
                    self._show()
                    self._news.set()

    async def _follow_configuration(self) -> None:
        """Write caBundle whenever the configuration appears, or somebody takes it out."""
        versions = follow(
            self._client, CONFIGURATIONS, self._configuration, clock=self._clock, rng=self._dice
        )
        said = False
        async with aclosing(versions):
            async for version in versions:
                if version is None and not said:
                    fields = {"configuration": self._configuration}
                    logger.warning("webhook configuration not found", extra={"fields": fields})
                said = version is None
                if version is None or ca_bundle_differs(version, self._held.bundle):
                    self._published = b""
                    self._news.set()
                else:
                    self._published = self._held.bundle

    async def _renew(self) -> None:
        while True:
            self._news.clear()
            wait = next_check(self._held, self._clock.now(), lifetimes=self._lifetimes)
            try:
                await self._publish()
                if change := self._next_change():
                    # Whoever is first spares the others the work.
                    await asyncio.sleep(self._dice.random() * _JITTER * self._settling_seconds())
                    if change := self._next_change():
                        await self._carry_out(change)
                        self._show()
                        continue
            except Conflict:
                wait = timedelta(seconds=RETRY_SECONDS)  # another was first: a watch shows it
            except (ApiError, TransportError, IssueFailed) as error:
                logger.warning("certificate not kept", extra={"fields": {"error": str(error)}})
                wait = min(wait, timedelta(seconds=RETRY_SECONDS))
            try:
                async with asyncio.timeout(wait.total_seconds()):
                    await self._news.wait()
            except TimeoutError:
                pass  # something may be due

    def _settling_seconds(self) -> float:
        return self._lifetimes.settling.total_seconds()

    def _next_change(self) -> RotationStep:
        return next_step(
            self._held,
            self._clock.now(),
            published=self._published == self._held.bundle,
            names=self._names,
            lifetimes=self._lifetimes,
        )

    async def _publish(self) -> None:
        bundle = self._held.bundle
        if not bundle or self._published == bundle:
            return
        # Where there is no configuration there is nobody to wait for.
        await inject_ca_bundle(self._client, self._clock, self._configuration, bundle)
        self._published = bundle

    async def _read(self) -> None:
        answer = await self._client.raw("GET", f"{self._collection}/{self._secret}")
        if answer.status >= 300:
            raise error_from(answer, self._clock.now())
        self._take(answer.body)

    def _take(self, body: bytes) -> bool:
        """Note what the Secret holds; whether that is news."""
        secret = msgspec.json.decode(body, type=_Secret)
        version = secret.metadata.resource_version
        if version == self._version or is_older(version, self._version):
            return False
        self._version = version
        self._secret_body = body
        self._held = held(secret.data or {})
        return True

    def _show(self) -> None:
        """Serve with what the Secret holds; a pair that does not match never gets here."""
        if self._serving is None or self._held.certificate is None:
            return
        try:
            self._serving.replace(self._held.cert_pem, self._held.key_pem, self._held.bundle)
        except CertificateMismatch as error:
            logger.warning("certificate unusable", extra={"fields": {"error": str(error)}})
            return
        self._on_certificate(self._serving)

    async def _carry_out(self, change: RotationStep) -> None:
        """Write the Secret as :func:`next_step` wants it.

        Raises:
            Conflict: another replica was first.
        """
        now, has = self._clock.now(), self._held
        read = self._secret_body  # what comes meanwhile makes this write too late
        signing = None
        if not change.authority:
            signing = (has.authorities[-1][0], has.authority_key)
        bundle = b"".join(pem for pem, found in has.authorities if found.subject not in change.drop)
        data: dict[str, bytes] = {
            rotation_plan.BUNDLE: bundle,
            rotation_plan.AUTHORITY_KEY: has.authority_key,
            rotation_plan.CERTIFICATE: has.cert_pem,
            rotation_plan.KEY: has.key_pem,
            rotation_plan.NAMES: has.names.encode(),
        }
        if change.authority or change.certificate:
            made = await issue_certificate(
                self._dns_names,
                self._ip_addresses,
                valid_for=self._lifetimes.certificate,
                ca_valid_for=self._lifetimes.authority,
                now=now,
                authority=signing,
            )
            if change.authority:
                data[rotation_plan.BUNDLE] = bundle + made.ca_pem
                data[rotation_plan.AUTHORITY_KEY] = made.ca_key_pem
            if change.certificate:
                data[rotation_plan.CERTIFICATE] = made.cert_pem
                data[rotation_plan.KEY] = made.key_pem
                data[rotation_plan.NAMES] = self._names.encode()
        await self._write(data, read)
        fields = {
            "authority": "added" if change.authority else "kept",
            "dropped": len(change.drop),
            "certificate": "renewed" if change.certificate else "kept",
        }
        logger.info("certificate secret written", extra={"fields": fields})

    async def _write(self, data: Mapping[str, bytes], read: bytes) -> None:
        body: dict[str, object] = msgspec.json.decode(read)  # names its resourceVersion
        body["data"] = {key: base64.b64encode(value).decode() for key, value in data.items()}
        path = f"{self._collection}/{self._secret}"
        answer = await self._client.raw("PUT", path, body)
        if answer.status >= 300:
            raise error_from(answer, self._clock.now())
        self._take(answer.body)


_JITTER = 0.1
