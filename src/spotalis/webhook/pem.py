"""PEM certificates and keys from memory, which :mod:`ssl` can only read from files."""

from __future__ import annotations

import os
import re
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

_CERTIFICATE = re.compile(b"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A serving certificate and its key."""

    cert_pem: bytes
    """The certificate, followed by intermediate certificates if there are any."""
    key_pem: bytes
    """Not encrypted."""
    expires_at: datetime
    peer_ca: bytes = b""
    """The authorities that sign this certificate and those of other instances; empty if no other
    instance is trusted."""


def load_key_pair(context: ssl.SSLContext, cert_pem: bytes, key_pem: bytes) -> None:
    """Load a certificate, its chain and its key into a TLS context.

    Raises:
        ssl.SSLError: the certificate and the key do not match, or one of them is invalid.
        ValueError: the key is encrypted.
    """
    with _file(key_pem.rstrip() + b"\n" + cert_pem) as path:
        context.load_cert_chain(path, password=_no_password)


def is_key_pair(cert_pem: bytes, key_pem: bytes) -> bool:
    """Whether the certificate and the key are valid and match."""
    try:
        load_key_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), cert_pem, key_pem)
    except (ssl.SSLError, ValueError):
        return False
    return True


def split_bundle(bundle_pem: bytes) -> list[bytes]:
    """Split a bundle into its certificates."""
    return [match.group() + b"\n" for match in _CERTIFICATE.finditer(bundle_pem)]


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
