"""The certificate that the webhook shows, exchanged without a restart.

``SSLContext.load_cert_chain`` on a live context has a trap: if certificate and key do not belong
together, as when the files are read in the middle of a rotation, it raises *and* leaves the
context without any certificate, so that every later handshake fails. Here the listener's context
never holds a certificate. At each handshake it hands over to the current one, which was loaded
whole, from bytes read once, before it became current.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import cast

from spotalis.webhook.client_auth import Name
from spotalis.webhook.pem import expiry, load_pair

logger = logging.getLogger(__name__)

_CIPHERS_OF_TLS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Forward secrecy and authenticated encryption only; TLS 1.3 has nothing else anyway."""


class CertificateMismatch(ValueError):
    """Certificate and key do not belong together, or one of them cannot be read."""


class ServingCertificate:
    """The certificate in use, and the TLS context of a listener that always shows it.

    ClientAuth may show a certificate of their own; one that no trusted authority vouches for ends
    the handshake, none at all is fine. Who may ask for what is decided per request
    (:mod:`spotalis.webhook.client_auth`).
    """

    def __init__(
        self,
        cert_pem: bytes,
        key_pem: bytes,
        *,
        peer_ca: bytes = b"",
        client_ca: bytes = b"",
        minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> None:
        """Load the pair; see :meth:`replace` for the errors.

        Args:
            cert_pem: see :meth:`replace`.
            key_pem: see :meth:`replace`.
            peer_ca: see :meth:`replace`.
            client_ca: authorities that vouch for the API server's own certificate, if it is
                asked for one; PEM.
            minimum_version: of TLS.
        """
        self._files: tuple[Path, Path, Path | None] | None = None
        self._seen: tuple[bytes, bytes, bytes] = (cert_pem, key_pem, peer_ca)
        self._callers_ca = client_ca
        self.context = _front(minimum_version)
        self.replace(cert_pem, key_pem, peer_ca)
        self.context.sni_callback = self._choose

    @classmethod
    def from_files(
        cls,
        cert: Path,
        key: Path,
        *,
        peer_ca: Path | None = None,
        client_ca: bytes = b"",
        minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> ServingCertificate:
        """From files, such as a mounted Secret's; :meth:`watch_files` follows them.

        Raises:
            CertificateMismatch: see :meth:`replace`.
            OSError: a file cannot be read.
        """
        certificate = cls(
            cert.read_bytes(),
            key.read_bytes(),
            peer_ca=peer_ca.read_bytes() if peer_ca else b"",
            client_ca=client_ca,
            minimum_version=minimum_version,
        )
        certificate._files = (cert, key, peer_ca)
        return certificate

    @property
    def expires_at(self) -> datetime:
        """When the certificate shown now stops being valid."""
        return self._expires_at

    @property
    def client_context(self) -> ssl.SSLContext | None:
        """To ask another replica with; None if no authority vouches for replicas."""
        return self._client

    @property
    def peer_ca_names(self) -> frozenset[Name]:
        """The names of those who vouch for replicas."""
        return self._replicas_authorities

    def replace(self, cert_pem: bytes, key_pem: bytes, peer_ca: bytes = b"") -> None:
        """Show another certificate from the next handshake on; open connections live on.

        Args:
            cert_pem: the certificate, followed by intermediate ones if there are any.
            key_pem: its private key, not encrypted.
            peer_ca: authorities that vouch for this certificate and those of other replicas,
                PEM; without it no replica is believed, and none can be asked.

        Raises:
            CertificateMismatch: the pair is of no use; the old one stays in use.
        """
        try:
            current = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            load_pair(current, cert_pem, key_pem)
            until = expiry(cert_pem)
            client = _client(cert_pem, key_pem, peer_ca) if peer_ca else None
            if trusted := self._callers_ca + peer_ca:
                current.load_verify_locations(cadata=trusted.decode("ascii"))
                current.verify_mode = ssl.CERT_OPTIONAL  # or a caller's is not told of
        except (ssl.SSLError, ValueError) as error:
            raise CertificateMismatch(f"certificate and key cannot be used: {error}") from None
        self._current, self._client, self._expires_at = current, client, until
        self._replicas_authorities = _subjects(client)
        # The mode of a handshake is the front's, the authorities are the current context's.
        self.context.verify_mode = ssl.CERT_OPTIONAL if trusted else ssl.CERT_NONE

    def reload(self) -> bool:
        """Read the files of :meth:`from_files` again; whether another certificate is shown now.

        Whatever is wrong with them is logged once, and the old certificate stays in use.
        """
        if self._files is None:
            return False
        cert, key, peer_ca = self._files
        try:
            pair = (
                cert.read_bytes(),
                key.read_bytes(),
                peer_ca.read_bytes() if peer_ca else b"",
            )
        except OSError as error:
            if self._seen != (b"", b"", b""):
                self._seen = (b"", b"", b"")
                logger.warning(
                    "certificate files unreadable", extra={"fields": {"error": str(error)}}
                )
            return False
        if pair == self._seen:
            return False
        self._seen = pair
        before = self._expires_at
        try:
            self.replace(*pair)
        except CertificateMismatch as error:
            logger.warning("certificate files unusable", extra={"fields": {"error": str(error)}})
            return False
        logger.info(
            "certificate reloaded",
            extra={"fields": {"expired_before": before, "expires": self._expires_at}},
        )
        return True

    async def watch_files(
        self,
        *,
        interval_seconds: float = 10.0,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """Reload for ever. Polls, as kubelet swaps a directory link that inotify follows badly."""
        while True:
            await asyncio.sleep(interval_seconds)
            if self.reload():
                changed()

    def _choose(
        self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, front: ssl.SSLContext
    ) -> None:
        """Called in every handshake, also for callers that name no server."""
        connection.context = self._current


def _front(minimum_version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = minimum_version
    context.set_ciphers(_CIPHERS_OF_TLS_1_2)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0  # Go's client does not resume by default, and a ticket outlives a swap
    return context


def _client(cert_pem: bytes, key_pem: bytes, peer_ca: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3  # the other end is one of us
    context.load_verify_locations(cadata=peer_ca.decode("ascii"))
    load_pair(context, cert_pem, key_pem)
    return context


def _subjects(context: ssl.SSLContext | None) -> frozenset[Name]:
    if context is None:
        return frozenset()
    subjects = (cast("Name", ca["subject"]) for ca in context.get_ca_certs())
    return frozenset(subjects)
