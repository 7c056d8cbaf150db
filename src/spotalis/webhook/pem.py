"""PEM texts of certificates and keys."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from datetime import datetime

from spotalis.kube.tls import load_key_pair

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
