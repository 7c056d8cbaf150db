"""TLS contexts from PEM text."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path


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
        context.load_verify_locations(cadata=ca.decode("ascii", "replace"))
    else:
        context.load_default_certs()
    if certificate:
        _load_pair(context, certificate, key)
    return context


def _load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:  # readable by this user only
        certificate_file, key_file = Path(folder, "tls.crt"), Path(folder, "tls.key")
        certificate_file.write_bytes(certificate)
        key_file.write_bytes(key or certificate)
        context.load_cert_chain(certificate_file, key_file, password="")  # never ask a terminal
