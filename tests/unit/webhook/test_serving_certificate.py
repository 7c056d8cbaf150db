"""The serving certificate: what callers see before, during and after an exchange."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from spotalis.webhook.server import WebhookServer
from spotalis.webhook.serving_certificate import CertificateMismatch, ServingCertificate
from tests.support.http_caller import Caller, ask
from tests.support.manual_clock import ManualClock
from tests.support.tls_pairs import Pair, a_pair


async def _answer(body: bytes) -> bytes:
    return b"{}"


@asynccontextmanager
async def serving(certificate: ServingCertificate) -> AsyncIterator[int]:
    server = WebhookServer(_answer, clock=ManualClock(), observe=lambda result, seconds: None)
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


def _not_after(pair: Pair) -> object:
    return x509.load_pem_x509_certificate(pair.cert_pem).not_valid_after_utc


async def test_callers_see_the_new_certificate_at_once_and_open_connections_live_on() -> None:
    old, new = a_pair(), a_pair()
    certificate = ServingCertificate(old.cert_pem, old.key_pem)
    async with serving(certificate) as port, Caller(port, old.client()) as open_before:
        assert (await open_before.ask("POST", "/mutate", b"{}")).status == 200
        certificate.replace(new.cert_pem, new.key_pem)
        assert await _is_served(port, new)
        assert not await _is_served(port, old)
        assert (await open_before.ask("POST", "/mutate", b"{}")).status == 200


async def test_a_pair_that_does_not_match_leaves_the_old_certificate_in_use() -> None:
    old, new = a_pair(), a_pair()
    certificate = ServingCertificate(old.cert_pem, old.key_pem)
    async with serving(certificate) as port:
        with pytest.raises(CertificateMismatch):
            certificate.replace(new.cert_pem, old.key_pem)
        assert await _is_served(port, old)
        assert certificate.expires_at == _not_after(old)


@pytest.mark.parametrize(
    ("cert", "key"),
    [
        pytest.param(b"", b"", id="empty files"),
        pytest.param(b"no PEM", b"at all", id="no PEM"),
        pytest.param(
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"", id="junk"
        ),
    ],
)
def test_what_is_no_certificate_is_refused(cert: bytes, key: bytes) -> None:
    with pytest.raises(CertificateMismatch):
        ServingCertificate(cert, key)


def test_a_truncated_file_is_refused() -> None:
    pair = a_pair()
    with pytest.raises(CertificateMismatch):
        ServingCertificate(pair.cert_pem[:300], pair.key_pem)


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password() -> None:
    pair = a_pair()
    encrypted = load_pem_private_key(pair.key_pem, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    with pytest.raises(CertificateMismatch, match="must not be encrypted"):
        ServingCertificate(pair.cert_pem, encrypted)


def test_the_expiry_is_that_of_the_leaf() -> None:
    pair = a_pair()
    certificate = ServingCertificate(pair.cert_pem, pair.key_pem)
    assert certificate.expires_at == _not_after(pair)


async def test_tls_1_2_is_refused_unless_it_is_allowed() -> None:
    pair = a_pair()
    old_client = pair.client(most=ssl.TLSVersion.TLSv1_2)
    strict = ServingCertificate(pair.cert_pem, pair.key_pem)
    async with serving(strict) as port:
        with pytest.raises(OSError):  # noqa: PT011  # cut, or told the version: as asyncio likes
            await ask(port, "POST", "/mutate", b"{}", tls=old_client)
        assert await _is_served(port, pair), "others are unaffected"
    lenient = ServingCertificate(
        pair.cert_pem, pair.key_pem, minimum_version=ssl.TLSVersion.TLSv1_2
    )
    async with serving(lenient) as port:
        reply = await ask(port, "POST", "/mutate", b"{}", tls=old_client)
    assert reply.status == 200


async def test_a_caller_that_names_no_server_gets_the_certificate_too() -> None:
    pair = a_pair()
    client = pair.client()
    client.check_hostname = False
    certificate = ServingCertificate(pair.cert_pem, pair.key_pem)
    async with serving(certificate) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="")
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        writer.close()
        await writer.wait_closed()


async def test_exchanging_under_load_fails_no_review() -> None:
    pairs = [a_pair(), a_pair()]
    both = pairs[0].client()
    pairs[1].authority.configure_trust(both)
    certificate = ServingCertificate(pairs[0].cert_pem, pairs[0].key_pem)
    exchanges = 0

    async def ask_often(port: int) -> list[int]:
        return [(await ask(port, "POST", "/mutate", b"{}", tls=both)).status for _ in range(25)]

    async with serving(certificate) as port:
        load = asyncio.gather(*(ask_often(port) for _ in range(8)))
        while not load.done():
            exchanges += 1
            pair = pairs[exchanges % 2]
            certificate.replace(pair.cert_pem, pair.key_pem)
            with pytest.raises(CertificateMismatch):
                certificate.replace(pair.cert_pem, pairs[(exchanges + 1) % 2].key_pem)
            await asyncio.sleep(0)
        statuses = [status for some in await load for status in some]
    assert statuses == [200] * 200
    assert exchanges > 10


def _write(folder: Path, pair: Pair) -> tuple[Path, Path]:
    cert, key = folder / "tls.crt", folder / "tls.key"
    cert.write_bytes(pair.cert_pem)
    key.write_bytes(pair.key_pem)
    return cert, key


def test_files_are_read_again_when_both_have_changed(tmp_path: Path) -> None:
    old, new = a_pair(), a_pair()
    cert, key = _write(tmp_path, old)
    certificate = ServingCertificate.from_files(cert, key)
    assert not certificate.reload(), "nothing has changed"
    cert.write_bytes(new.cert_pem)
    assert not certificate.reload(), "the middle of a rotation"
    assert certificate.expires_at == _not_after(old)
    key.write_bytes(new.key_pem)
    assert certificate.reload()
    assert certificate.expires_at == _not_after(new)


def test_files_that_stay_bad_are_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = _write(tmp_path, a_pair())
    certificate = ServingCertificate.from_files(cert, key)
    with caplog.at_level(logging.WARNING):
        key.write_bytes(b"junk")
        assert [certificate.reload() for _ in range(3)] == [False] * 3
        key.unlink()
        assert [certificate.reload() for _ in range(3)] == [False] * 3
    assert [record.message for record in caplog.records] == [
        "certificate files unusable",
        "certificate files unreadable",
    ]


async def test_watched_files_are_followed(tmp_path: Path) -> None:
    old, new = a_pair(), a_pair()
    certificate = ServingCertificate.from_files(*_write(tmp_path, old))
    async with serving(certificate) as port:
        watch = asyncio.create_task(certificate.watch_files(interval_seconds=0.01))
        _write(tmp_path, new)
        async with asyncio.timeout(60):
            while not await _is_served(port, new):
                assert not watch.done()
        watch.cancel()


def test_a_pair_from_memory_has_no_files_to_read() -> None:
    pair = a_pair()
    assert not ServingCertificate(pair.cert_pem, pair.key_pem).reload()


def test_a_process_that_serves_never_imports_cryptography() -> None:
    import subprocess
    import sys

    code = (
        "import sys, spotalis.webhook.server, spotalis.webhook.serving_certificate;"
        "sys.exit('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
