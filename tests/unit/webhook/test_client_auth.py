"""Which clients may use ``/mutate`` and ``/forward``, over real TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from spotalis.webhook.client_auth import ClientAuth
from spotalis.webhook.errors import NotLeader
from spotalis.webhook.forward import PeerRejected, PeerUnreachable
from spotalis.webhook.handler import HandlerResponse
from spotalis.webhook.issuer import issue_certificate
from spotalis.webhook.issuer_messages import IssuedCertificate, IssueRequest
from spotalis.webhook.peer_client import HttpsPeerClient
from spotalis.webhook.pem import KeyPair
from spotalis.webhook.server import WebhookServer
from spotalis.webhook.serving_certificate import ServingCertificate
from tests.support.http_caller import ask
from tests.support.manual_clock import ManualClock

NAME = "spotalis-webhook.spotalis-system.svc"


async def issue(
    name: str = NAME, *, signed_by: IssuedCertificate | None = None
) -> IssuedCertificate:
    request = IssueRequest(
        dns_names=(name, "localhost"),
        ip_addresses=("127.0.0.1",),
        valid_for=timedelta(days=1),
        ca_valid_for=timedelta(days=3),
        now=datetime.now(UTC),  # noqa: TID251  # TLS uses the system's clock
        ca_pem=signed_by.ca_pem if signed_by else b"",
        ca_key_pem=signed_by.ca_key_pem if signed_by else b"",
    )
    return await issue_certificate(request)


def key_pair(issued: IssuedCertificate, *, peer_ca: bytes) -> KeyPair:
    return replace(issued.key_pair, peer_ca=peer_ca)


def client(issued: IssuedCertificate | None, *, trusting: IssuedCertificate) -> ssl.SSLContext:
    """A client context with or without a certificate."""
    if issued is not None:
        pair = key_pair(issued, peer_ca=trusting.ca_pem)
        context = ServingCertificate(pair).client_context
        assert context is not None
        return context
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=trusting.ca_pem.decode())
    return context


async def _mutate(body: bytes) -> HandlerResponse:
    return HandlerResponse(b'{"path":"mutate"}')


async def _forward(body: bytes) -> HandlerResponse:
    if body == b"not the leader":
        raise NotLeader
    return HandlerResponse(b'{"path":"forward"}')


@dataclass
class Instance:
    """A served webhook with its certificate."""

    port: int
    issued: IssuedCertificate
    certificate: ServingCertificate
    requests: list[tuple[str, str]]
    """Operation and result of each request."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(*, api_server: IssuedCertificate | None = None) -> AsyncIterator[Instance]:
    issued = await issue()
    certificate = ServingCertificate(
        key_pair(issued, peer_ca=issued.ca_pem),
        client_ca=api_server.ca_pem if api_server else b"",
    )
    requests: list[tuple[str, str]] = []
    server = WebhookServer(
        _mutate,
        on_request=lambda operation, result, seconds: requests.append((operation, result)),
        clock=ManualClock(),
        forward_handler=_forward,
        # Every issued certificate has this common name, that of the API server here included.
        client_auth=ClientAuth(
            peer_name=NAME, api_server_name="spotalis-webhook" if api_server else ""
        ),
    )
    port = await server.start("127.0.0.1", 0, certificate)
    try:
        yield Instance(port, issued, certificate, requests)
    finally:
        await server.stop(grace_seconds=1)


@asynccontextmanager
async def peer_client(
    context: ssl.SSLContext | None, name: str = NAME
) -> AsyncIterator[HttpsPeerClient]:
    client = HttpsPeerClient(lambda: context, name)
    try:
        yield client
    finally:
        await client.close()


async def test_an_instance_may_forward() -> None:
    async with serving() as leader, peer_client(leader.certificate.client_context) as standby:
        response = await standby.send(leader.address, b"{}")
    assert response == b'{"path":"forward"}'
    assert leader.requests == [("forward", "answered")]


async def test_an_instance_with_another_certificate_of_the_authority_may_forward() -> None:
    async with serving() as leader:
        other = await issue(signed_by=leader.issued)
        async with peer_client(client(other, trusting=leader.issued)) as standby:
            response = await standby.send(leader.address, b"{}")
    assert response == b'{"path":"forward"}'


async def test_an_instance_that_does_not_lead_rejects_forwarded_requests() -> None:
    async with serving() as other, peer_client(other.certificate.client_context) as standby:
        with pytest.raises(PeerRejected, match="421"):
            await standby.send(other.address, b"not the leader")


async def test_a_client_without_a_certificate_may_only_mutate() -> None:
    async with serving() as instance:
        tls = client(None, trusting=instance.issued)
        mutate = await ask(instance.port, "POST", "/mutate", b"{}", tls=tls)
        forward = await ask(instance.port, "POST", "/forward", b"{}", tls=tls)
    assert (mutate.status, mutate.json()) == (200, {"path": "mutate"})
    assert (forward.status, forward.json()["error"]["code"]) == (403, "FORBIDDEN")


async def test_a_certificate_for_another_name_may_not_forward() -> None:
    async with serving() as instance:
        other = await issue("some-other-service.default.svc", signed_by=instance.issued)
        tls = client(other, trusting=instance.issued)
        reply = await ask(instance.port, "POST", "/forward", b"{}", tls=tls)
    assert reply.status == 403


async def test_a_certificate_of_an_unknown_authority_fails_the_handshake() -> None:
    async with serving() as instance:
        tls = client(await issue(), trusting=instance.issued)
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await ask(instance.port, "POST", "/forward", b"{}", tls=tls)


async def test_a_certificate_of_the_api_servers_authority_may_not_forward() -> None:
    api_server = await issue()
    async with serving(api_server=api_server) as instance:
        tls = client(api_server, trusting=instance.issued)
        reply = await ask(instance.port, "POST", "/forward", b"{}", tls=tls)
    assert reply.status == 403


async def test_only_the_api_server_may_mutate_if_its_certificate_is_required() -> None:
    api_server = await issue()
    async with serving(api_server=api_server) as instance:
        statuses = [
            (await ask(instance.port, "POST", "/mutate", b"{}", tls=tls)).status
            for tls in (
                client(api_server, trusting=instance.issued),
                client(None, trusting=instance.issued),
                client(instance.issued, trusting=instance.issued),
            )
        ]
    assert statuses == [200, 403, 403], "the API server, no certificate, another instance"


async def test_a_standby_sends_nothing_to_a_server_that_is_not_an_instance() -> None:
    async with serving() as instance:
        other = await issue("some-other-service.default.svc", signed_by=instance.issued)
        for context, name in (
            (client(await issue(), trusting=await issue()), NAME),
            (client(other, trusting=instance.issued), "some-other-name"),
        ):
            async with peer_client(context, name) as standby:
                with pytest.raises(PeerUnreachable):
                    await standby.send(instance.address, b"{}")


async def test_a_closed_port_and_a_missing_authority_are_unreachable() -> None:
    async with peer_client(None) as standby:
        with pytest.raises(PeerUnreachable):
            await standby.send("127.0.0.1:1", b"{}")
    issued = await issue()
    async with peer_client(client(issued, trusting=issued)) as standby:
        with pytest.raises(PeerUnreachable):
            await standby.send("127.0.0.1:1", b"{}")


async def test_a_change_of_authority_never_interrupts_forwarding() -> None:
    """The new authority joins, then signs, then the old one is removed."""
    async with serving() as leader:
        certificate = leader.certificate
        old, new = leader.issued, await issue()
        for step in (
            key_pair(old, peer_ca=old.ca_pem + new.ca_pem),
            key_pair(new, peer_ca=old.ca_pem + new.ca_pem),
            key_pair(new, peer_ca=new.ca_pem),
        ):
            before = certificate.client_context
            certificate.replace(step)
            for context in (before, certificate.client_context):
                async with peer_client(context) as standby:
                    assert await standby.send(leader.address, b"{}") == b'{"path":"forward"}'
