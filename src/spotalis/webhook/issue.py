"""A certificate authority and a serving certificate, made in a process of their own.

``cryptography`` costs 8.6 MB for as long as a process lives, and a certificate is needed every
few weeks: so this runs as ``python -m spotalis.webhook.issue``, reads one JSON request from its
standard input, writes the answer to its standard output, and is gone. The authority's key dies
with it; a renewal makes a new authority, and the old one stays trusted until it is taken out.
"""

from __future__ import annotations

import ipaddress
import sys
from datetime import datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BACKDATED = timedelta(minutes=5)
"""Valid from so long ago, for callers whose clocks are behind ours."""


class Wanted(msgspec.Struct):
    """What is asked for; the ask of :func:`spotalis.webhook.certificate.issue`."""

    dns_names: list[str]
    ip_addresses: list[str]
    now: datetime
    valid_for_seconds: float
    ca_valid_for_seconds: float


def issue(wanted: Wanted) -> dict[str, str]:
    """PEM texts by the names ``ca_pem``, ``cert_pem`` and ``key_pem``.

    Raises:
        ValueError: no name at all, or one that cannot stand in a certificate.
    """
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in wanted.dns_names]
    names += [x509.IPAddress(ipaddress.ip_address(text)) for text in wanted.ip_addresses]
    if not names:
        raise ValueError("a serving certificate needs at least one name or address")
    ca_until = wanted.now + timedelta(seconds=wanted.ca_valid_for_seconds)
    until = min(wanted.now + timedelta(seconds=wanted.valid_for_seconds), ca_until)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name, name = _name("Spotalis webhook CA"), _name("spotalis-webhook")
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key(), wanted.now, ca_until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(ca_id, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    leaf = (
        _builder(name, ca_name, key.public_key(), wanted.now, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    return {
        "ca_pem": ca.public_bytes(Encoding.PEM).decode(),
        "cert_pem": leaf.public_bytes(Encoding.PEM).decode(),
        "key_pem": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    }


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
