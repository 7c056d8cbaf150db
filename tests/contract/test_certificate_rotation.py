"""The shared certificate with an API server and over real TLS: how it is issued and rotated."""

from __future__ import annotations

import asyncio
import base64
import random  # noqa: TID251  # jitter
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from cryptography import x509

from spotalis.app.clock import SystemClock
from spotalis.embedded.cluster import EmbeddedCluster
from spotalis.kube.client import Client
from spotalis.kube.errors import NotFound
from spotalis.kube.resources import WEBHOOK_CONFIGURATIONS
from spotalis.webhook.certificate_rotation import CertificateRotator, RotationSettings
from spotalis.webhook.client_auth import ClientAuth
from spotalis.webhook.handler import HandlerResponse
from spotalis.webhook.peer_client import HttpsPeerClient
from spotalis.webhook.pem import split_bundle
from spotalis.webhook.rotation_plan import Lifetimes
from spotalis.webhook.server import WebhookServer
from spotalis.webhook.serving_certificate import ServingCertificate
from spotalis.webhook.webhook_configuration import webhook_configuration
from tests.support.eventually import until
from tests.support.http_caller import Caller

NAMESPACE, SECRET, NAME = "spotalis-system", "spotalis-webhook-tls", "spotalis-webhook.home.svc"
LONG = Lifetimes()
SHORT = Lifetimes(
    certificate=timedelta(seconds=75),
    authority=timedelta(seconds=180),
    settling=timedelta(seconds=1),
    renewal=2 / 45,
)
"""Certificates are renewed after 3.3 s and authorities after 8 s, so that a test sees both twice.
They are valid for much longer, in case the machine pauses."""


async def _handler(body: bytes) -> HandlerResponse:
    return HandlerResponse(b"{}")


@dataclass(frozen=True)
class WrongClock(SystemClock):
    """A clock whose wall time is ahead."""

    ahead: timedelta = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.ahead


@dataclass
class Instance:
    """A served webhook with its certificate."""

    certificate: ServingCertificate
    port: int


@dataclass
class Installation:
    """An API server with the manifests applied, and instances of the webhook."""

    cluster: EmbeddedCluster
    lifetimes: Lifetimes
    ahead: timedelta = timedelta(0)
    """By which the clocks of the instances are ahead of the API server's."""
    instances: list[Instance] = field(default_factory=list)

    @property
    def secret_data(self) -> dict[str, bytes]:
        secret = self.cluster.store.get("secrets", NAMESPACE, SECRET)
        assert secret is not None
        return {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}

    @property
    def ca_bundle(self) -> bytes:
        found = self.cluster.store.get("mutatingwebhookconfigurations", "", "spotalis")
        assert found is not None
        return base64.b64decode(found["webhooks"][0]["clientConfig"].get("caBundle", ""))

    def secret_writes(self) -> list[int]:
        """The HTTP statuses of all writes of the Secret."""
        return [entry.code for entry in self.cluster.audit.find(verb="update", kind="secrets")]

    def api_server_context(self) -> ssl.SSLContext:
        """The TLS context that the API server creates from the caBundle for each connection."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.ca_bundle.decode())
        return context

    def rotator(self, number: int, *, ahead: timedelta | None = None) -> CertificateRotator:
        clock = WrongClock(self.ahead if ahead is None else ahead)
        rng = random.Random(number)
        settings = RotationSettings(
            namespace=NAMESPACE,
            secret=SECRET,
            configuration="spotalis",
            dns_names=(NAME, "localhost"),
            ip_addresses=("127.0.0.1",),
            lifetimes=self.lifetimes,
        )
        client = Client(self.cluster.transport(f"instance-{number}"), clock=clock, rng=rng)
        return CertificateRotator(client, settings, clock=clock, rng=rng)

    async def start_instance(self, number: int, stack: AsyncExitStack) -> None:
        rotator = self.rotator(number)
        certificate = await rotator.obtain()
        server = WebhookServer(
            _handler,
            clock=SystemClock(),
            forward_handler=_handler,
            client_auth=ClientAuth(peer_name=NAME),
        )
        port = await server.start("127.0.0.1", 0, certificate)
        stack.push_async_callback(server.stop, 1)
        running = asyncio.create_task(rotator.run())

        async def stop() -> None:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

        stack.push_async_callback(stop)
        self.instances.append(Instance(certificate, port))


@asynccontextmanager
async def installation(
    instances: int,
    lifetimes: Lifetimes = LONG,
    *,
    secret: bool = True,
    ahead: timedelta = timedelta(0),
) -> AsyncIterator[Installation]:
    cluster = EmbeddedCluster(clock=SystemClock(), rng=random.Random(1))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(cluster)
        await cluster.api.create("namespaces", {"metadata": {"name": NAMESPACE}})
        if secret:
            empty = {"metadata": {"name": SECRET, "namespace": NAMESPACE}, "type": "Opaque"}
            await cluster.api.create("secrets", empty)
        await cluster.api.create("mutatingwebhookconfigurations", _configuration())
        it = Installation(cluster, lifetimes, ahead)
        await asyncio.gather(*(it.start_instance(number, stack) for number in range(instances)))
        yield it


def _configuration() -> dict[str, object]:
    return webhook_configuration(
        name="spotalis",
        client_config={"url": "https://localhost/mutate"},
        excluded=[NAMESPACE],
    )


async def test_three_instances_agree_on_one_certificate_that_the_api_server_trusts() -> None:
    async with installation(3) as it:
        await until(lambda: it.ca_bundle != b"", every=0.02)
        assert it.secret_writes().count(200) == 1, "the first write wins, the others adopt it"
        assert it.ca_bundle == it.secret_data["ca.crt"]
        leaf = x509.load_pem_x509_certificate(it.secret_data["tls.crt"])
        for instance in it.instances:
            async with Caller(instance.port, it.api_server_context()) as caller:
                assert (await caller.ask("POST", "/mutate", b"{}")).status == 200
            assert instance.certificate.expires_at == leaf.not_valid_after_utc


async def test_a_later_instance_adopts_the_existing_certificate() -> None:
    async with installation(1) as it:
        before = it.secret_data
        later = await it.rotator(9).obtain()
        assert later.expires_at == it.instances[0].certificate.expires_at
        assert it.secret_data == before
        assert it.secret_writes() == [200]


@pytest.mark.parametrize("days", [400, -400])
async def test_an_instance_with_a_wrong_clock_keeps_the_certificate_of_the_others(
    days: int,
) -> None:
    async with installation(1) as it:
        before = it.secret_data
        later = await it.rotator(9, ahead=timedelta(days=days)).obtain()
        assert later.expires_at == it.instances[0].certificate.expires_at
        assert it.secret_data == before
        assert it.secret_writes() == [200]


@pytest.mark.parametrize("hours", [1, -1, 24 * 400])
async def test_a_certificate_that_is_issued_with_a_wrong_clock_is_valid_at_once(
    hours: int,
) -> None:
    async with installation(1, ahead=timedelta(hours=hours)) as it:
        await until(lambda: it.ca_bundle != b"", every=0.02)
        async with Caller(it.instances[0].port, it.api_server_context()) as caller:
            assert (await caller.ask("POST", "/mutate", b"{}")).status == 200
        leaf = x509.load_pem_x509_certificate(it.secret_data["tls.crt"])
        assert leaf.not_valid_after_utc - SystemClock().now() > timedelta(days=89)


async def test_a_removed_ca_bundle_is_written_again() -> None:
    async with installation(1) as it:
        await until(lambda: it.ca_bundle != b"", every=0.02)
        written = it.ca_bundle
        found = it.cluster.store.get("mutatingwebhookconfigurations", "", "spotalis")
        assert found is not None
        admin = Client(it.cluster.transport("admin"), clock=SystemClock(), rng=random.Random(0))
        version = found["metadata"]["resourceVersion"]
        body = _configuration() | {"metadata": {"name": "spotalis", "resourceVersion": version}}
        path = WEBHOOK_CONFIGURATIONS.path(name="spotalis")
        assert (await admin.raw("PUT", path, body)).status == 200
        assert it.ca_bundle == b""
        await until(lambda: it.ca_bundle == written, every=0.02)


async def test_a_missing_secret_is_not_created() -> None:
    with pytest.raises(NotFound):
        async with installation(1, secret=False):
            pass


@dataclass
class Observations:
    """What the rotation test sees while requests are sent."""

    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    errors: list[str] = field(default_factory=list)
    answered: int = 0
    forwarded: int = 0
    expiries: set[datetime] = field(default_factory=set)
    authorities: set[bytes] = field(default_factory=set)
    largest_bundle: int = 0

    async def send_requests(self, it: Installation, instance: Instance) -> None:
        while not self.stopped.is_set():
            try:
                async with Caller(instance.port, it.api_server_context()) as caller:
                    for _ in range(10):
                        reply = await caller.ask("POST", "/mutate", b"{}")
                        assert reply.status == 200
                        self.answered += 1
                        await asyncio.sleep(0.04)
            except Exception as error:
                self.errors.append(repr(error))

    async def forward_requests(self, standby: Instance, leader: Instance) -> None:
        client = HttpsPeerClient(lambda: standby.certificate.client_context, NAME)
        while not self.stopped.is_set():
            try:
                await client.send(f"127.0.0.1:{leader.port}", b"{}")
                self.forwarded += 1
            except Exception as error:
                self.errors.append(repr(error))
            await asyncio.sleep(0.05)
        await client.close()

    async def watch(self, it: Installation) -> None:
        while not self.stopped.is_set():
            self.expiries.add(it.instances[0].certificate.expires_at)
            bundle = split_bundle(it.ca_bundle)
            self.authorities.update(bundle)
            self.largest_bundle = max(self.largest_bundle, len(bundle))
            await asyncio.sleep(0.02)


async def test_no_request_fails_while_certificate_and_authority_are_rotated_twice() -> None:
    seen = Observations()
    async with installation(2, SHORT) as it:
        await until(lambda: it.ca_bundle != b"", every=0.02)
        began = asyncio.get_running_loop().time()
        tasks = [
            *(seen.send_requests(it, it.instances[number % 2]) for number in range(8)),
            seen.forward_requests(*it.instances),
            seen.watch(it),
        ]
        running = [asyncio.create_task(task) for task in tasks]
        try:
            await until(
                lambda: len(seen.authorities) >= 3 and len(seen.expiries) >= 4,
                within=240,
                every=0.02,
            )
        finally:
            took = asyncio.get_running_loop().time() - began
            seen.stopped.set()
            await asyncio.gather(*running)
    print(
        f"{seen.answered} requests in {took:.1f} s, {seen.forwarded} forwarded, "
        f"{len(seen.expiries)} certificates, {len(seen.authorities)} authorities"
    )
    assert seen.errors == []
    assert seen.largest_bundle == 2, "the new authority is trusted beside the old one"
    assert seen.answered > 200
