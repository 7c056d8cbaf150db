"""The content of the shared Secret: unusable content is treated as absent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from spotalis.webhook.certificate_secret import BUNDLE, INFO, CertificateSecret
from spotalis.webhook.issuer_messages import CertificateInfo
from tests.support.tls_pairs import Pair, a_pair

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
CA_INFO = CertificateInfo("ca", "ca", NOW, NOW + timedelta(days=365))
INFO_OF_LEAF = CertificateInfo("ca", "leaf", NOW, NOW + timedelta(days=90))


def a_secret(pair: Pair) -> CertificateSecret:
    ca_pem = pair.authority.cert_pem.bytes()
    return CertificateSecret(
        authorities=((ca_pem, CA_INFO),),
        authority_key=pair.authority.private_key_pem.bytes(),
        certificate=(pair.cert_pem, INFO_OF_LEAF),
        key_pem=pair.key_pem,
        names="a,b",
    )


def test_the_content_survives_a_round_trip() -> None:
    secret = a_secret(a_pair())
    assert CertificateSecret.from_data(secret.to_data()) == secret


def test_the_bundle_contains_every_authority() -> None:
    secret = a_secret(a_pair())
    assert secret.to_data()[BUNDLE] == secret.bundle == secret.authorities[0][0]


def test_a_certificate_without_its_key_is_absent() -> None:
    data = a_secret(a_pair()).to_data()
    secret = CertificateSecret.from_data({**data, "tls.key": a_pair().key_pem})
    assert (secret.certificate, secret.key_pair) == (None, None)


def test_the_key_of_another_authority_is_absent() -> None:
    data = a_secret(a_pair()).to_data()
    assert CertificateSecret.from_data({**data, "ca.key": a_pair().key_pem}).authority_key == b""


def test_certificates_that_were_replaced_by_hand_are_absent() -> None:
    data, other = a_secret(a_pair()).to_data(), a_secret(a_pair()).to_data()
    secret = CertificateSecret.from_data({**other, INFO: data[INFO]})
    assert secret == CertificateSecret(names="a,b")


def test_an_empty_secret_is_empty() -> None:
    assert CertificateSecret.from_data({}) == CertificateSecret()


def test_invalid_content_is_absent() -> None:
    data = {"ca.crt": b"junk", "tls.crt": b"junk", INFO: b"junk", "names": b"\xff"}
    assert CertificateSecret.from_data(data).authorities == ()
