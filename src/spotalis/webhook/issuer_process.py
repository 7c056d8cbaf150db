"""A certificate authority and a serving certificate, made in a process of their own.

``cryptography`` costs 8.6 MB for as long as a process lives, and a certificate is needed every
few weeks: so this runs as ``python -m spotalis.webhook.issuer_process``, reads one JSON request
from its standard input, writes the answer to its standard output, and is gone.
"""

from __future__ import annotations

import ipaddress
import secrets
import sys
from datetime import datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from spotalis.webhook.pem import BACKDATED


class Wanted(msgspec.Struct):
    """What is asked for; the ask of :func:`spotalis.webhook.serving_certificate.issue`."""

    dns_names: list[str]
    ip_addresses: list[str]
    now: datetime
    valid_for_seconds: float
    ca_valid_for_seconds: float
    ca_pem: str = ""
    """With ``ca_key_pem``: the authority that signs; without: a new one is made."""
    ca_key_pem: str = ""


def issue(wanted: Wanted) -> dict[str, str]:
    """PEM texts by the names ``ca_pem``, ``ca_key_pem``, ``cert_pem`` and ``key_pem``.

    Raises:
        ValueError: no name at all, or one that cannot stand in a certificate, or an authority
            whose key is not its own.
    """
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in wanted.dns_names]
    names += [x509.IPAddress(ipaddress.ip_address(text)) for text in wanted.ip_addresses]
    if not names:
        raise ValueError("a serving certificate needs at least one name or address")
    ca, ca_key = _given_authority(wanted) if wanted.ca_pem else _new_authority(wanted)
    until = min(wanted.now + timedelta(seconds=wanted.valid_for_seconds), ca.not_valid_after_utc)
    key = ec.generate_private_key(ec.SECP256R1())
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    leaf = (
        _builder(_name("spotalis-webhook"), ca.subject, key.public_key(), wanted.now, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_BOTH_ENDS), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    return {
        "ca_pem": ca.public_bytes(Encoding.PEM).decode(),
        "ca_key_pem": _private(ca_key),
        "cert_pem": leaf.public_bytes(Encoding.PEM).decode(),
        "key_pem": _private(key),
    }


_BOTH_ENDS = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
"""A replica serves the API server with it, and shows it to another replica that it asks."""


def _new_authority(wanted: Wanted) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """An authority with a name of its own: by its name a certificate's issuer is told."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"Spotalis webhook CA {secrets.token_hex(8)}")
    until = wanted.now + timedelta(seconds=wanted.ca_valid_for_seconds)
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    ca = (
        _builder(name, name, key.public_key(), wanted.now, until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(key_id, critical=False)
        .sign(key, hashes.SHA256())
    )
    return ca, key


def _given_authority(wanted: Wanted) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    ca = x509.load_pem_x509_certificate(wanted.ca_pem.encode())
    key = load_pem_private_key(wanted.ca_key_pem.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != ca.public_key():
        raise ValueError("the authority's key is not its own")
    return ca, key


def _private(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(until)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def main() -> int:
    """Exit code 0 and JSON, or 1 and one line on standard error."""
    try:
        wanted = msgspec.json.decode(sys.stdin.buffer.read(), type=Wanted)
        sys.stdout.buffer.write(msgspec.json.encode(issue(wanted)))
    except (ValueError, OverflowError) as error:  # msgspec's errors are ValueErrors
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
