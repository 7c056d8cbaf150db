"""TLS contexts from PEM text."""

from __future__ import annotations

import base64
import re
import ssl
import tempfile
from pathlib import Path

_CERTIFICATE = re.compile(
    rb"^-----BEGIN CERTIFICATE-----[ \t\r]*$([A-Za-z0-9+/=\s]*)^-----END CERTIFICATE-----",
    re.MULTILINE,
)
"""The base64 text of a certificate."""


def client_context(
    ca: bytes, *, verify: bool = True, certificate: bytes = b"", key: bytes = b""
) -> ssl.SSLContext:
    """A client's TLS context: trusted authorities (without ``ca``: the system's) and certificate.

    As in Go, any certificate in ``ca`` is trusted, including intermediates and server certificates,
    and authorities need not satisfy the strict profile of newer Python versions.

    Raises:
        ssl.SSLError: one of the certificates or the key is invalid.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca:
        trust(context, ca)
    else:
        context.load_default_certs()
    if certificate:
        _load_pair(context, certificate, key)
    return context


def trust(context: ssl.SSLContext, bundle: bytes) -> None:
    """Trust the certificates of a PEM bundle.

    As in Go (crypto/x509, AppendCertsFromPEM), everything else in the bundle is ignored: comments
    in any encoding, other PEM blocks, and certificates that cannot be parsed.

    Raises:
        ssl.SSLError: the bundle contains no valid certificate.
    """
    found = False
    for block in _CERTIFICATE.findall(bundle):
        try:
            context.load_verify_locations(cadata=base64.b64decode(block))
        except (ssl.SSLError, ValueError):
            continue
        found = True
    if not found:
        raise ssl.SSLError("the bundle contains no valid certificate")


def _load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:  # readable by this user only
        certificate_file, key_file = Path(folder, "tls.crt"), Path(folder, "tls.key")
        certificate_file.write_bytes(certificate)
        key_file.write_bytes(key or certificate)
        context.load_cert_chain(certificate_file, key_file, password="")  # never ask a terminal
