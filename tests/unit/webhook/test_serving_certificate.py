"""The serving certificate: what clients receive before, during and after a replacement."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from spotalis.webhook.handler import HandlerResponse
from spotalis.webhook.server import WebhookServer
from spotalis.webhook.serving_certificate import CertificateMismatch, ServingCertificate
from tests.support.http_caller import Caller, ask
from tests.support.manual_clock import ManualClock
from tests.support.tls_pairs import Pair, a_pair


async def _handler(body: bytes) -> HandlerResponse:
    return HandlerResponse(b"{}")


@asynccontextmanager
async def serving(certificate: ServingCertificate) -> AsyncIterator[int]:
    server = WebhookServer(_handler, clock=ManualClock())
    port = await server.start("127.0.0.1", 0, certificate)
    try:
        yield port
    finally:
        await server.stop(grace_seconds=1)


async def _is_served(port: int, pair: Pair) -> bool:
    try:
        reply = await ask(port, "POST", "/mutate", b"{}", tls=pair.client())
    except ssl.SSLCertVerificationError:
        return False
    return reply.status == 200


async def test_new_connections_use_the_new_certificate_and_open_connections_stay_open() -> None:
    old, new = a_pair(), a_pair()
    certificate = ServingCertificate(old.key_pair)
    async with serving(certificate) as port, Caller(port, old.client()) as open_before:
        assert (await open_before.ask("POST", "/mutate", b"{}")).status == 200
        certificate.replace(new.key_pair)
        assert await _is_served(port, new)
        assert not await _is_served(port, old)
        assert (await open_before.ask("POST", "/mutate", b"{}")).status == 200
    assert certificate.expires_at == new.key_pair.expires_at


async def test_the_old_certificate_stays_in_use_if_the_new_pair_does_not_match() -> None:
    old, new = a_pair(), a_pair()
    certificate = ServingCertificate(old.key_pair)
    async with serving(certificate) as port:
        with pytest.raises(CertificateMismatch):
            certificate.replace(replace(new.key_pair, key_pem=old.key_pem))
        assert await _is_served(port, old)
        assert certificate.expires_at == old.key_pair.expires_at


@pytest.mark.parametrize(
    ("cert", "key"),
    [
        pytest.param(b"", b"", id="empty"),
        pytest.param(b"not", b"PEM", id="not PEM"),
        pytest.param(
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"", id="not DER"
        ),
    ],
)
def test_an_invalid_certificate_is_rejected(cert: bytes, key: bytes) -> None:
    with pytest.raises(CertificateMismatch):
        ServingCertificate(replace(a_pair().key_pair, cert_pem=cert, key_pem=key))


def test_a_truncated_certificate_is_rejected() -> None:
    pair = a_pair()
    with pytest.raises(CertificateMismatch):
        ServingCertificate(replace(pair.key_pair, cert_pem=pair.cert_pem[:300]))


def test_an_encrypted_key_is_rejected_without_a_password_prompt() -> None:
    pair = a_pair()
    encrypted = load_pem_private_key(pair.key_pem, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    with pytest.raises(CertificateMismatch, match="must not be encrypted"):
        ServingCertificate(replace(pair.key_pair, key_pem=encrypted))


async def test_tls_1_2_is_rejected_unless_it_is_allowed() -> None:
    pair = a_pair()
    old_client = pair.client(most=ssl.TLSVersion.TLSv1_2)
    async with serving(ServingCertificate(pair.key_pair)) as port:
        with pytest.raises(OSError):  # noqa: PT011  # the type depends on the timing in asyncio
            await ask(port, "POST", "/mutate", b"{}", tls=old_client)
        assert await _is_served(port, pair), "other clients are not affected"
    lenient = ServingCertificate(pair.key_pair, minimum_version=ssl.TLSVersion.TLSv1_2)
    async with serving(lenient) as port:
        reply = await ask(port, "POST", "/mutate", b"{}", tls=old_client)
    assert reply.status == 200


async def test_a_client_without_sni_receives_the_certificate() -> None:
    pair = a_pair()
    client = pair.client()
    client.check_hostname = False
    async with serving(ServingCertificate(pair.key_pair)) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="")
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        writer.close()
        await writer.wait_closed()


async def test_replacing_the_certificate_under_load_fails_no_request() -> None:
    pairs = [a_pair(), a_pair()]
    both = pairs[0].client()
    pairs[1].authority.configure_trust(both)
    key_pairs = [pair.key_pair for pair in pairs]
    certificate = ServingCertificate(key_pairs[0])
    replacements = 0

    async def ask_often(port: int) -> list[int]:
        return [(await ask(port, "POST", "/mutate", b"{}", tls=both)).status for _ in range(25)]

    async with serving(certificate) as port:
        load = asyncio.gather(*(ask_often(port) for _ in range(8)))
        while not load.done():
            replacements += 1
            new, other = key_pairs[replacements % 2], key_pairs[(replacements + 1) % 2]
            certificate.replace(new)
            with pytest.raises(CertificateMismatch):
                certificate.replace(replace(new, key_pem=other.key_pem))
            await asyncio.sleep(0)
        statuses = [status for some in await load for status in some]
    assert statuses == [200] * 200
    assert replacements > 10


def test_comments_in_the_authorities_of_clients_are_ignored() -> None:
    pair, other = a_pair(), a_pair()
    comment = "# für Ωmega\n".encode()
    key_pair = replace(pair.key_pair, peer_ca=comment + pair.authority.cert_pem.bytes())
    certificate = ServingCertificate(key_pair, client_ca=comment + other.authority.cert_pem.bytes())
    assert certificate.client_context is not None
    assert len(certificate.client_context.get_ca_certs()) == 1


def test_the_serving_process_does_not_import_cryptography() -> None:
    code = (
        "import sys, spotalis.webhook.server, spotalis.webhook.certificate_rotation;"
        "sys.exit('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
