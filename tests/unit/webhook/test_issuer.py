"""Certificates issued and inspected by the child process."""

from __future__ import annotations

import asyncio
import ipaddress
import sys
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from spotalis.webhook import issuer
from spotalis.webhook.issuer import IssueFailed, inspect_certificate, issue_certificate
from spotalis.webhook.issuer_messages import IssuedCertificate, IssueRequest
from spotalis.webhook.serving_certificate import ServingCertificate
from tests.support.tls_pairs import a_pair

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
NAMES = ("spotalis-webhook.spotalis-system.svc", "spotalis-webhook")


async def _issue(
    dns_names: tuple[str, ...] = NAMES,
    ip_addresses: tuple[str, ...] = ("10.0.0.1", "fd00::1"),
    *,
    ca_valid_for: timedelta = timedelta(days=365),
    signed_by: IssuedCertificate | None = None,
) -> IssuedCertificate:
    request = IssueRequest(
        dns_names=dns_names,
        ip_addresses=ip_addresses,
        now=NOW,
        valid_for=timedelta(days=90),
        ca_valid_for=ca_valid_for,
        ca_pem=signed_by.ca_pem if signed_by else b"",
        ca_key_pem=signed_by.ca_key_pem if signed_by else b"",
    )
    return await issue_certificate(request)


async def test_a_certificate_has_the_requested_names_and_is_for_servers_and_clients() -> None:
    leaf = x509.load_pem_x509_certificate((await _issue()).cert_pem)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert tuple(names.get_values_for_type(x509.DNSName)) == NAMES
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("10.0.0.1"),
        ipaddress.ip_address("fd00::1"),
    ]
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"


async def test_a_certificate_is_backdated_and_valid_for_the_requested_time() -> None:
    issued = await _issue()
    leaf = x509.load_pem_x509_certificate(issued.cert_pem)
    assert leaf.not_valid_before_utc == NOW - timedelta(minutes=5)
    assert leaf.not_valid_after_utc == NOW + timedelta(days=90) == issued.info.expires_at
    assert issued.info.issued_at == NOW


async def test_the_authority_signs_the_certificate_and_cannot_sign_other_authorities() -> None:
    issued = await _issue()
    leaf = x509.load_pem_x509_certificate(issued.cert_pem)
    ca = x509.load_pem_x509_certificate(issued.ca_pem)
    leaf.verify_directly_issued_by(ca)
    limits = ca.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (limits.ca, limits.path_length) == (True, 0)
    assert ca.not_valid_after_utc == NOW + timedelta(days=365) == issued.ca_info.expires_at
    assert issued.info.issuer == issued.ca_info.subject == issued.ca_info.issuer


async def test_a_given_authority_signs_the_certificate() -> None:
    first = await _issue()
    second = await _issue(signed_by=first)
    assert second.ca_pem == first.ca_pem
    assert second.info.issuer == first.ca_info.subject
    assert second.cert_pem != first.cert_pem


async def test_new_authorities_have_different_names() -> None:
    assert (await _issue()).ca_info.subject != (await _issue()).ca_info.subject


async def test_a_certificate_does_not_outlive_its_authority() -> None:
    issued = await _issue(ca_valid_for=timedelta(days=30))
    assert issued.info.expires_at == NOW + timedelta(days=30)


async def test_an_issued_pair_can_be_served() -> None:
    issued = await _issue()
    assert ServingCertificate(issued.key_pair).expires_at == issued.info.expires_at


@pytest.mark.parametrize(
    ("names", "addresses", "message"),
    [
        pytest.param((), (), "at least one name", id="no name"),
        pytest.param(("schön.example",), (), "A-label|ascii", id="not ASCII"),
        pytest.param((), ("10.0.0.999",), "10.0.0.999", id="invalid address"),
    ],
)
async def test_an_invalid_name_is_rejected_with_a_message(
    names: tuple[str, ...], addresses: tuple[str, ...], message: str
) -> None:
    with pytest.raises(IssueFailed, match=message):
        await _issue(names, addresses)


async def test_a_process_that_does_not_start_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(IssueFailed, match="cannot start"):
        await _issue()


async def test_a_process_that_fails_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(IssueFailed, match=r"exit 1"):
        await _issue()


async def test_a_process_that_writes_nothing_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with pytest.raises(IssueFailed, match="invalid output"):
        await _issue()


async def test_a_process_that_hangs_is_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    script = tmp_path_factory.mktemp("bin") / "hangs"
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(issuer, "_TIMEOUT_SECONDS", 0.2)
    async with asyncio.timeout(50):
        with pytest.raises(IssueFailed, match="no certificate within"):
            await _issue()


async def test_inspection_reads_the_expiry_of_the_first_certificate() -> None:
    pair = a_pair()
    info = await inspect_certificate(pair.cert_pem + a_pair().cert_pem)
    assert info.expires_at == pair.key_pair.expires_at


async def test_inspection_of_an_invalid_certificate_is_reported() -> None:
    with pytest.raises(IssueFailed, match=r"exit 1"):
        await inspect_certificate(b"not PEM")
