"""The serving certificate of the webhook, replaced without a restart.

``SSLContext.load_cert_chain`` is dangerous on a context in use: if the certificate and the key do
not match, as when files are read in the middle of a rotation, it raises *and* leaves the context
without a certificate, so that every later handshake fails. Therefore the listener's context never
holds a certificate. At each handshake it switches to the current context, which was loaded
completely before it became current.
"""

from __future__ import annotations

import ssl
from datetime import datetime
from typing import cast

from spotalis.kube.tls import load_key_pair, trust
from spotalis.webhook.client_auth import Name
from spotalis.webhook.pem import KeyPair

_TLS_1_2_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Only ciphers with forward secrecy and authenticated encryption; TLS 1.3 has no others."""


class CertificateMismatch(ValueError):
    """The certificate and the key do not match, or one of them is invalid."""


class ServingCertificate:
    """The certificate in use, and the TLS context of a listener that presents it.

    Clients may present a certificate. The handshake fails if no trusted authority signed it, and
    succeeds without one. :mod:`spotalis.webhook.client_auth` decides which requests a client may
    send.
    """

    def __init__(
        self,
        key_pair: KeyPair,
        *,
        client_ca: bytes = b"",
        minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> None:
        """Load the certificate.

        Args:
            key_pair: the certificate and its key.
            client_ca: PEM bundle of the authorities that sign the API server's client
                certificate, if it must present one.
            minimum_version: of TLS.

        Raises:
            CertificateMismatch: see :meth:`replace`.
        """
        self._client_ca = client_ca
        self.context = _listener_context(minimum_version)
        self.replace(key_pair)
        self.context.sni_callback = self._use_current

    @property
    def expires_at(self) -> datetime:
        """When the current certificate expires."""
        return self._expires_at

    @property
    def client_context(self) -> ssl.SSLContext | None:
        """TLS context for requests to other instances; None without an authority for them."""
        return self._client_context

    @property
    def peer_ca_names(self) -> frozenset[Name]:
        """The names of the authorities that sign certificates of instances."""
        return self._peer_ca_names

    def replace(self, key_pair: KeyPair) -> None:
        """Present another certificate from the next handshake on; keeps open connections.

        Raises:
            CertificateMismatch: the pair cannot be used; the old one stays in use.
        """
        try:
            current = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            load_key_pair(current, key_pair.cert_pem, key_pair.key_pem)
            client = _client_context(key_pair) if key_pair.peer_ca else None
            if trusted := self._client_ca + key_pair.peer_ca:
                trust(current, trusted)
                current.verify_mode = ssl.CERT_OPTIONAL  # CERT_NONE discards client certificates
        except (ssl.SSLError, ValueError) as error:
            raise CertificateMismatch(f"certificate and key cannot be used: {error}") from None
        self._current, self._client_context = current, client
        self._expires_at = key_pair.expires_at
        self._peer_ca_names = _ca_names(client)
        # OpenSSL takes the verify mode from the listener's context and the authorities from the
        # current one.
        self.context.verify_mode = ssl.CERT_OPTIONAL if trusted else ssl.CERT_NONE

    def _use_current(
        self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, listener: ssl.SSLContext
    ) -> None:
        """Switch to the current context; called in every handshake, with or without SNI."""
        connection.context = self._current


def _listener_context(minimum_version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = minimum_version
    context.set_ciphers(_TLS_1_2_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0  # Go does not resume by default, and tickets outlive a replacement
    return context


def _client_context(key_pair: KeyPair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3  # the server is another instance
    trust(context, key_pair.peer_ca)
    load_key_pair(context, key_pair.cert_pem, key_pair.key_pem)
    return context


def _ca_names(context: ssl.SSLContext | None) -> frozenset[Name]:
    if context is None:
        return frozenset()
    return frozenset(cast("Name", ca["subject"]) for ca in context.get_ca_certs())
