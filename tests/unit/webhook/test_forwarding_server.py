"""The path for other replicas, over real TLS: who may ask, and who may not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from spotalis.webhook.client_auth import ClientAuth
from spotalis.webhook.errors import NotLeader
from spotalis.webhook.forward import HttpsPeerClient, PeerRejected, PeerUnreachable
from spotalis.webhook.issuer import IssuedCertificate, issue_certificate
from spotalis.webhook.server import WebhookServer
from spotalis.webhook.serving_certificate import ServingCertificate
from tests.support.http_caller import ask
from tests.support.manual_clock import ManualClock

NAME = "spotalis-webhook.spotalis-system.svc"


async def issued(name: str = NAME, *, by: IssuedCertificate | None = None) -> IssuedCertificate:
    return await issue_certificate(
        [name, "localhost"],
        ["127.0.0.1"],
        valid_for=timedelta(days=1),
        ca_valid_for=timedelta(days=3),
        now=datetime.now(UTC),  # noqa: TID251  # TLS knows no other clock
        authority=(by.ca_pem, by.ca_key_pem) if by else None,
    )


def showing(made: IssuedCertificate | None, *, trusting: IssuedCertificate) -> ssl.SSLContext:
    """A caller's context."""
    if made is not None:
        shown = ServingCertificate(
            made.cert_pem, made.key_pem, peer_ca=trusting.ca_pem
        ).client_context
        assert shown is not None
        return shown
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=trusting.ca_pem.decode())
    return context


async def _here(body: bytes) -> bytes:
    return b'{"path":"mutate"}'


async def _forwarded(body: bytes) -> bytes:
    if body == b"not you":
        raise NotLeader
    return b'{"path":"forward"}'


@dataclass
class Served:
    port: int
    ours: IssuedCertificate
    certificate: ServingCertificate


@asynccontextmanager
async def serving(*, api_server: IssuedCertificate | None = None) -> AsyncIterator[Served]:
    ours = await issued()
    certificate = ServingCertificate(
        ours.cert_pem,
        ours.key_pem,
        peer_ca=ours.ca_pem,
        client_ca=api_server.ca_pem if api_server else b"",
    )
    server = WebhookServer(
        _here,
        clock=ManualClock(),
        observe=lambda result, seconds: None,
        forwarded=_forwarded,
        # What we issue has this common name, so the API server's stand-in has it as well.
        client_auth=ClientAuth(
            peer_name=NAME, api_server_name="spotalis-webhook" if api_server else ""
        ),
    )
    port = await server.start("127.0.0.1", 0, certificate)
    try:
        yield Served(port, ours, certificate)
    finally:
        await server.stop(grace_seconds=1)


@asynccontextmanager
async def carrying(
    context: ssl.SSLContext | None, name: str = NAME
) -> AsyncIterator[HttpsPeerClient]:
    peer_client = HttpsPeerClient(lambda: context, name)
    try:
        yield peer_client
    finally:
        await peer_client.close()


async def test_a_replica_is_answered_on_the_path_for_replicas() -> None:
    async with serving() as served, carrying(served.certificate.client_context) as peer_client:
        answer = await peer_client.send(f"127.0.0.1:{served.port}", b"{}")
    assert answer == b'{"path":"forward"}'


async def test_a_replica_with_another_certificate_of_our_authority_is_answered_as_well() -> None:
    async with serving() as served:
        other = await issued(by=served.ours)
        async with carrying(showing(other, trusting=served.ours)) as peer_client:
            answer = await peer_client.send(f"127.0.0.1:{served.port}", b"{}")
    assert answer == b'{"path":"forward"}'


async def test_who_does_not_lead_refuses_a_forwarded_review() -> None:
    async with serving() as served, carrying(served.certificate.client_context) as peer_client:
        with pytest.raises(PeerRejected, match="421"):
            await peer_client.send(f"127.0.0.1:{served.port}", b"not you")


async def test_without_a_certificate_reviews_are_answered_and_the_other_path_is_forbidden() -> None:
    async with serving() as served:
        bare = showing(None, trusting=served.ours)
        review = await ask(served.port, "POST", "/mutate", b"{}", tls=bare)
        forward = await ask(served.port, "POST", "/forward", b"{}", tls=bare)
    assert (review.status, review.json()) == (200, {"path": "mutate"})
    assert (forward.status, forward.json()["error"]["code"]) == (403, "FORBIDDEN")


async def test_a_certificate_of_our_authority_for_another_name_is_no_replicas() -> None:
    async with serving() as served:
        stranger = await issued("some-other-service.default.svc", by=served.ours)
        tls = showing(stranger, trusting=served.ours)
        reply = await ask(served.port, "POST", "/forward", b"{}", tls=tls)
    assert reply.status == 403


async def test_a_certificate_of_an_unknown_authority_ends_the_handshake() -> None:
    async with serving() as served:
        tls = showing(await issued(), trusting=served.ours)
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await ask(served.port, "POST", "/forward", b"{}", tls=tls)


async def test_the_api_servers_authority_vouches_for_no_replica() -> None:
    api_server = await issued()
    async with serving(api_server=api_server) as served:
        tls = showing(api_server, trusting=served.ours)
        reply = await ask(served.port, "POST", "/forward", b"{}", tls=tls)
    assert reply.status == 403


async def test_an_api_server_that_must_show_its_certificate_is_told_from_anybody_else() -> None:
    api_server = await issued()
    async with serving(api_server=api_server) as served:
        statuses = [
            (await ask(served.port, "POST", "/mutate", b"{}", tls=tls)).status
            for tls in (
                showing(api_server, trusting=served.ours),
                showing(None, trusting=served.ours),
                showing(served.ours, trusting=served.ours),
            )
        ]
    assert statuses == [200, 403, 403], "the API server, nobody, a replica"


async def test_a_leader_that_is_not_one_of_us_is_not_told_of_reviews() -> None:
    async with serving() as served:
        stranger = await issued("some-other-service.default.svc", by=served.ours)
        for context, name in (
            (showing(await issued(), trusting=await issued()), NAME),
            (showing(stranger, trusting=served.ours), "some-other-name"),
        ):
            async with carrying(context, name) as peer_client:
                with pytest.raises(PeerUnreachable):
                    await peer_client.send(f"127.0.0.1:{served.port}", b"{}")


async def test_nobody_there_and_no_authority_are_unreachable() -> None:
    async with carrying(None) as peer_client:
        with pytest.raises(PeerUnreachable):
            await peer_client.send("127.0.0.1:1", b"{}")
    ours = await issued()
    async with carrying(showing(ours, trusting=ours)) as peer_client:
        with pytest.raises(PeerUnreachable):
            await peer_client.send("127.0.0.1:1", b"{}")


async def test_an_exchange_of_the_authority_is_followed_by_both_ends() -> None:
    """The new authority joins, then signs, then the old one goes: nobody is ever refused."""
    async with serving() as served:
        shown = served.certificate
        old, new = served.ours, await issued()
        steps = [
            (old.cert_pem, old.key_pem, old.ca_pem + new.ca_pem),
            (new.cert_pem, new.key_pem, old.ca_pem + new.ca_pem),
            (new.cert_pem, new.key_pem, new.ca_pem),
        ]
        for step in steps:
            before = shown.client_context
            shown.replace(*step)
            for context in (before, shown.client_context):  # a replica that is a step behind, too
                async with carrying(context) as peer_client:
                    await peer_client.send(f"127.0.0.1:{served.port}", b"{}")
