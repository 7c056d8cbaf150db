"""Decides which client may use which path of the webhook, by its client certificate.

The TLS handshake has verified the certificate: it fails for a certificate that no trusted
authority signed. What remains is to decide whose certificate it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Name: TypeAlias = tuple[tuple[tuple[str, str], ...], ...]
"""A distinguished name in the form of :mod:`ssl`."""
PeerCertificate: TypeAlias = Mapping[str, Any]
"""The result of ``SSLObject.getpeercert``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientAuth:
    """The identities that clients must prove."""

    peer_name: str
    """The DNS name in the certificate of every instance."""
    api_server_name: str = ""
    """The common name that clients of ``/mutate`` must have; empty to accept every client."""

    def is_peer(self, presented: PeerCertificate | None, peer_ca_names: frozenset[Name]) -> bool:
        """Whether the client is another instance.

        The issuer must be one of the instances' own authorities: an authority that is trusted for
        the API server's certificate may have signed many others.
        """
        if not presented or presented.get("issuer") not in peer_ca_names:
            return False
        return ("DNS", self.peer_name) in presented.get("subjectAltName", ())

    def is_api_server(
        self, presented: PeerCertificate | None, peer_ca_names: frozenset[Name]
    ) -> bool:
        """Whether the client is the API server; always true without ``api_server_name``."""
        if not self.api_server_name:
            return True
        if not presented or presented.get("issuer") in peer_ca_names:
            return False
        return (("commonName", self.api_server_name),) in presented.get("subject", ())
