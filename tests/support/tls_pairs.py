"""Certificates for servers on loopback."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

import trustme
from cryptography import x509

from spotalis.webhook.pem import KeyPair


@dataclass(frozen=True)
class Pair:
    """A certificate for localhost and 127.0.0.1, its key, and the CA that signed it."""

    cert_pem: bytes
    key_pem: bytes
    authority: trustme.CA

    @property
    def key_pair(self) -> KeyPair:
        """The certificate in the form that the webhook serves."""
        expires_at = x509.load_pem_x509_certificate(self.cert_pem).not_valid_after_utc
        return KeyPair(cert_pem=self.cert_pem, key_pem=self.key_pem, expires_at=expires_at)

    def client(self, *, most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        """A client context that trusts this CA only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.maximum_version = most
        self.authority.configure_trust(context)
        return context


def a_pair() -> Pair:
    """Create a pair signed by a new CA."""
    authority = trustme.CA()
    made = authority.issue_cert("localhost", "127.0.0.1")
    chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
    return Pair(chain, made.private_key_pem.bytes(), authority)
