"""Certificates that Spotalis makes for itself."""

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
from spotalis.webhook.issuer import IssueFailed, issue_certificate
from spotalis.webhook.pem import expiry
from spotalis.webhook.serving_certificate import ServingCertificate
from tests.support.tls_pairs import a_pair

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
NAMES = ("spotalis-webhook.spotalis-system.svc", "spotalis-webhook")


async def _issued() -> issuer.IssuedCertificate:
    return await issue_certificate(
        NAMES,
        ("10.0.0.1", "fd00::1"),
        valid_for=timedelta(days=90),
        ca_valid_for=timedelta(days=365),
        now=NOW,
    )


async def test_an_issued_certificate_names_its_service_and_serves_and_asks() -> None:
    issued = await _issued()
    leaf = x509.load_pem_x509_certificate(issued.cert_pem)
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


async def test_an_issued_certificate_is_valid_from_a_little_ago_to_when_it_was_asked() -> None:
    issued = await _issued()
    leaf = x509.load_pem_x509_certificate(issued.cert_pem)
    assert leaf.not_valid_before_utc == NOW - timedelta(minutes=5)
    assert leaf.not_valid_after_utc == NOW + timedelta(days=90) == issued.expires_at


async def test_the_authority_vouches_for_the_certificate_and_can_make_no_other_authority() -> None:
    issued = await _issued()
    leaf = x509.load_pem_x509_certificate(issued.cert_pem)
    ca = x509.load_pem_x509_certificate(issued.ca_pem)
    leaf.verify_directly_issued_by(ca)
    limits = ca.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (limits.ca, limits.path_length) == (True, 0)
    assert ca.not_valid_after_utc == NOW + timedelta(days=365)


async def test_a_certificate_never_outlives_its_authority() -> None:
    issued = await issue_certificate(
        NAMES, valid_for=timedelta(days=90), ca_valid_for=timedelta(days=30), now=NOW
    )
    assert issued.expires_at == NOW + timedelta(days=30)


async def test_an_issued_pair_can_be_served() -> None:
    issued = await _issued()
    assert ServingCertificate(issued.cert_pem, issued.key_pem).expires_at == issued.expires_at


@pytest.mark.parametrize(
    ("names", "addresses", "words"),
    [
        pytest.param([], [], "at least one name", id="no name"),
        pytest.param(["schön.example"], [], "A-label|ascii", id="a name with an umlaut"),
        pytest.param([], ["10.0.0.999"], "10.0.0.999", id="no address"),
    ],
)
async def test_a_name_that_no_certificate_can_have_is_refused_in_words(
    names: list[str], addresses: list[str], words: str
) -> None:
    with pytest.raises(IssueFailed, match=words):
        await issue_certificate(
            names,
            addresses,
            valid_for=timedelta(days=1),
            ca_valid_for=timedelta(days=1),
            now=NOW,
        )


async def test_a_process_that_cannot_start_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(IssueFailed, match="does not start"):
        await _issued()


async def test_a_process_that_dies_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(IssueFailed, match=r"exit 1"):
        await _issued()


async def test_a_process_that_hangs_is_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    script = tmp_path_factory.mktemp("bin") / "hangs"
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(issuer, "_ISSUE_SECONDS", 0.2)
    async with asyncio.timeout(50):
        with pytest.raises(IssueFailed, match="no certificate within"):
            await _issued()


@pytest.mark.parametrize(
    "until",
    [
        datetime(2026, 11, 24, 1, 2, 3, tzinfo=UTC),
        datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(2050, 1, 1, tzinfo=UTC),
    ],
    ids=["this year", "the last two-digit year", "the first four-digit year"],
)
async def test_the_expiry_is_read_in_both_of_its_forms(until: datetime) -> None:
    issued = await issue_certificate(
        NAMES, valid_for=until - NOW, ca_valid_for=until - NOW, now=NOW
    )
    assert expiry(issued.cert_pem) == until


def test_the_expiry_of_every_shortened_certificate_is_refused_or_right() -> None:
    pair = a_pair()
    right = expiry(pair.cert_pem)
    lines = pair.cert_pem.split(b"-----END CERTIFICATE-----")[0].splitlines()
    for kept in range(len(lines)):
        short = b"\n".join([*lines[:kept], b"-----END CERTIFICATE-----", b""])
        try:
            assert expiry(short) == right
        except ValueError:
            continue
