"""The Secret that holds the certificate shared by all instances (decision 0013)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from spotalis.webhook.issuer_messages import CertificateInfo
from spotalis.webhook.pem import KeyPair, is_key_pair, split_bundle

BUNDLE, AUTHORITY_KEY, CERTIFICATE, KEY = "ca.crt", "ca.key", "tls.crt", "tls.key"
"""Keys of the Secret's data, as in a Secret of type kubernetes.io/tls."""
NAMES = "names"
"""The names and addresses that the certificate was issued for, separated by commas."""
INFO = "info.json"
"""The :class:`CertificateInfo` of each certificate in the Secret, by its fingerprint."""

Certificate = tuple[bytes, CertificateInfo]
"""A PEM text and its fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateSecret:
    """The usable content of the Secret."""

    authorities: tuple[Certificate, ...] = ()
    """The trusted authorities; the last one signs."""
    authority_key: bytes = b""
    """The key of the last authority; empty if it is missing or does not match."""
    certificate: Certificate | None = None
    """None if the certificate is missing or does not match its key."""
    key_pem: bytes = b""
    names: str = ""

    @property
    def bundle(self) -> bytes:
        """The certificates of all trusted authorities."""
        return b"".join(pem for pem, _ in self.authorities)

    @property
    def key_pair(self) -> KeyPair | None:
        """The certificate to serve with, if there is one."""
        if self.certificate is None:
            return None
        cert_pem, info = self.certificate
        return KeyPair(
            cert_pem=cert_pem,
            key_pem=self.key_pem,
            expires_at=info.expires_at,
            peer_ca=self.bundle,
        )

    def to_data(self) -> dict[str, bytes]:
        """Return the data of the Secret."""
        certificates = [*self.authorities, *([self.certificate] if self.certificate else [])]
        return {
            BUNDLE: self.bundle,
            AUTHORITY_KEY: self.authority_key,
            CERTIFICATE: self.certificate[0] if self.certificate else b"",
            KEY: self.key_pem,
            NAMES: self.names.encode(),
            INFO: msgspec.json.encode({_fingerprint(pem): info for pem, info in certificates}),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, bytes]) -> CertificateSecret:
        """Read the data of the Secret; treats unusable content as absent."""
        infos = _decode_infos(data.get(INFO, b""))
        authorities = tuple(
            (pem, info)
            for pem in split_bundle(data.get(BUNDLE, b""))
            if (info := infos.get(_fingerprint(pem)))
        )
        authority_key = data.get(AUTHORITY_KEY, b"")
        if not authorities or not is_key_pair(authorities[-1][0], authority_key):
            authority_key = b""
        cert_pem, key_pem = data.get(CERTIFICATE, b""), data.get(KEY, b"")
        info = infos.get(_fingerprint(cert_pem)) if is_key_pair(cert_pem, key_pem) else None
        return cls(
            authorities=authorities,
            authority_key=authority_key,
            certificate=(cert_pem, info) if info else None,
            key_pem=key_pem if info else b"",
            names=data.get(NAMES, b"").decode("utf-8", "replace"),
        )


def _decode_infos(encoded: bytes) -> dict[str, CertificateInfo]:
    try:
        return msgspec.json.decode(encoded, type=dict[str, CertificateInfo])
    except ValueError:
        return {}


def _fingerprint(cert_pem: bytes) -> str:
    return hashlib.sha256(cert_pem.strip()).hexdigest()
