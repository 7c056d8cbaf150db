"""TLS contexts from PEM text."""

from __future__ import annotations

import base64
import os
import re
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

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
        ValueError: the key is encrypted.
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
        load_key_pair(context, certificate, key)
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


def load_key_pair(context: ssl.SSLContext, cert_pem: bytes, key_pem: bytes) -> None:
    """Load a certificate, its chain and its key into a TLS context, without a file on a disk.

    ``key_pem`` may be empty if the first text contains the key.

    Raises:
        ssl.SSLError: the certificate and the key do not match, or one of them is invalid.
        ValueError: the key is encrypted.
    """
    content = key_pem.rstrip() + b"\n" + cert_pem if key_pem else cert_pem
    with _file(content) as path:
        context.load_cert_chain(path, password=_no_password)


def _no_password() -> bytes:
    # Without a callback, OpenSSL prompts for the password on the terminal.
    raise ValueError("the private key must not be encrypted")


@contextmanager
def _file(content: bytes) -> Iterator[str]:
    """Provide ``content`` under a path; in memory if the system supports it."""
    if not hasattr(os, "memfd_create"):
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name
        return
    memory = os.memfd_create("spotalis-pair", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(memory), "wb") as file:
            file.write(content)
        yield f"/proc/self/fd/{memory}"
    finally:
        os.close(memory)
