"""The child process that issues and inspects certificates (decision 0008).

``python -m spotalis.webhook.issuer_process`` reads one request of
:mod:`spotalis.webhook.issuer_messages` as JSON from its standard input, writes the result as JSON
to its standard output, and exits.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from datetime import datetime

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

from spotalis.webhook.issuer_messages import (
    BACKDATED,
    CertificateInfo,
    InspectRequest,
    IssuedCertificate,
    IssueRequest,
)

_SERVER_AND_CLIENT = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
"""An instance serves the API server with its certificate, and presents it to the leader."""


def issue(request: IssueRequest) -> IssuedCertificate:
    """Issue a serving certificate, signed by the given authority or by a new one.

    Raises:
        ValueError: a name is missing or invalid, or the authority's key does not match.
    """
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in request.dns_names]
    names += [x509.IPAddress(ipaddress.ip_address(text)) for text in request.ip_addresses]
    if not names:
        raise ValueError("a serving certificate needs at least one name or address")
    ca, ca_key = _given_authority(request) if request.ca_pem else _new_authority(request)
    expires_at = min(request.now + request.valid_for, ca.not_valid_after_utc)
    key = ec.generate_private_key(ec.SECP256R1())
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    leaf = (
        _builder(_name("spotalis-webhook"), ca.subject, key.public_key(), request.now, expires_at)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_SERVER_AND_CLIENT), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    return IssuedCertificate(
        ca_pem=ca.public_bytes(Encoding.PEM),
        ca_key_pem=_private(ca_key),
        ca_info=_info(ca),
        cert_pem=leaf.public_bytes(Encoding.PEM),
        key_pem=_private(key),
        info=_info(leaf),
    )


def inspect(request: InspectRequest) -> CertificateInfo:
    """Read the fields of the first certificate.

    Raises:
        ValueError: the text is not a certificate.
    """
    return _info(x509.load_pem_x509_certificate(request.cert_pem))


def _info(certificate: x509.Certificate) -> CertificateInfo:
    return CertificateInfo(
        issuer=_common_name(certificate.issuer),
        subject=_common_name(certificate.subject),
        issued_at=certificate.not_valid_before_utc + BACKDATED,
        expires_at=certificate.not_valid_after_utc,
    )


def _common_name(name: x509.Name) -> str:
    attributes = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(attributes[0].value) if attributes else ""


def _new_authority(request: IssueRequest) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Issue an authority with a unique name, by which its certificates name their issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"Spotalis webhook CA {os.urandom(8).hex()}")
    expires_at = request.now + request.ca_valid_for
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    ca = (
        _builder(name, name, key.public_key(), request.now, expires_at)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(key_id, critical=False)
        .sign(key, hashes.SHA256())
    )
    return ca, key


def _given_authority(request: IssueRequest) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    ca = x509.load_pem_x509_certificate(request.ca_pem)
    key = load_pem_private_key(request.ca_key_pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != ca.public_key():
        raise ValueError("the key of the authority does not match its certificate")
    return ca, key


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    expires_at: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(expires_at)
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
    """Exit with 0 and JSON on standard output, or with 1 and one line on standard error."""
    try:
        request = msgspec.json.decode(sys.stdin.buffer.read(), type=IssueRequest | InspectRequest)
        result = issue(request) if isinstance(request, IssueRequest) else inspect(request)
        sys.stdout.buffer.write(msgspec.json.encode(result))
    except (ValueError, OverflowError) as error:  # msgspec's errors are ValueErrors
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
