"""The requests to the certificate process and its results.

The process imports this module at every start, so it does not import asyncio (0.05 s).
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from spotalis.webhook.pem import KeyPair

BACKDATED = timedelta(minutes=5)
"""Issued certificates are valid from this long before, for clients whose clocks are behind."""


class CertificateInfo(msgspec.Struct, frozen=True):
    """The fields of a certificate that decide when it is replaced."""

    issuer: str
    """The issuer's common name; the names of authorities that Spotalis issues are unique."""
    subject: str
    issued_at: datetime
    expires_at: datetime


class IssueRequest(msgspec.Struct, tag="issue", kw_only=True):
    """Request to issue a serving certificate, and an authority unless one is given."""

    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...] = ()
    now: datetime
    valid_for: timedelta
    """Lifetime of the certificate, limited to that of the authority."""
    ca_valid_for: timedelta
    """Lifetime of a new authority."""
    ca_pem: bytes = b""
    """The authority that signs; empty to issue a new one."""
    ca_key_pem: bytes = b""


class InspectRequest(msgspec.Struct, tag="inspect"):
    """Request to read the fields of a certificate."""

    cert_pem: bytes


class IssuedCertificate(msgspec.Struct, kw_only=True):
    """A serving certificate with its key, and the authority that signed it."""

    ca_pem: bytes
    ca_key_pem: bytes
    ca_info: CertificateInfo
    cert_pem: bytes
    key_pem: bytes
    info: CertificateInfo

    @property
    def key_pair(self) -> KeyPair:
        """The certificate and its key, without an authority for other instances."""
        return KeyPair(
            cert_pem=self.cert_pem, key_pem=self.key_pem, expires_at=self.info.expires_at
        )
