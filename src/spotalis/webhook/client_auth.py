"""Who is on the other end: decided from the certificate that a caller has shown, if any.

The handshake has verified it by then: a certificate that no trusted authority vouches for never
gets here. What is left to tell apart is whose it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Name: TypeAlias = tuple[tuple[tuple[str, str], ...], ...]
"""A distinguished name as :mod:`ssl` writes it."""
PeerCertificate: TypeAlias = Mapping[str, Any]
"""As ``SSLObject.getpeercert`` tells it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientAuth:
    """Whom the two paths of the webhook are for."""

    peer_name: str
    """What stands as a DNS name in every replica's certificate."""
    api_server_name: str = ""
    """Common name that ``/mutate`` insists on; empty: anybody may ask (behaviour.md 4)."""

    def is_peer(self, shown: PeerCertificate | None, authorities: frozenset[Name]) -> bool:
        """Whether one of us asks: vouched for by one of *our* authorities, and in our name.

        An authority for the API server's certificate may be trusted beside ours, and may have
        made many more.
        """
        if not shown or shown.get("issuer") not in authorities:
            return False
        return ("DNS", self.peer_name) in shown.get("subjectAltName", ())

    def is_api_server(self, shown: PeerCertificate | None, authorities: frozenset[Name]) -> bool:
        """Whether the API server asks, as far as we have been told to look."""
        if not self.api_server_name:
            return True
        if not shown or shown.get("issuer") in authorities:
            return False
        return (("commonName", self.api_server_name),) in shown.get("subject", ())
