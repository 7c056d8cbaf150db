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
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import msgspec

from spotalis.webhook.callers import Name
from spotalis.webhook.pem import expiry, load_pair

logger = logging.getLogger(__name__)

_CIPHERS_OF_TLS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Forward secrecy and authenticated encryption only; TLS 1.3 has nothing else anyway."""
_ISSUE_SECONDS = 60.0
"""Making a pair takes 0.2 s; a machine under load may take far longer to start a process."""


class CertificateMismatch(ValueError):
    """Certificate and key do not belong together, or one of them cannot be read."""


class IssueFailed(Exception):
    """The process that makes certificates made none; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A new certificate, its key, and the authority that vouches for it."""

    ca_pem: bytes
    ca_key_pem: bytes
    cert_pem: bytes
    key_pem: bytes
    expires_at: datetime


class ServingCertificate:
    """The certificate in use, and the TLS context of a listener that always shows it.

    Callers may show a certificate of their own; one that no trusted authority vouches for ends
    the handshake, none at all is fine. Who may ask for what is decided per request
    (:mod:`spotalis.webhook.callers`).
    """

    def __init__(
        self,
        cert_pem: bytes,
        key_pem: bytes,
        *,
        replicas_ca: bytes = b"",
        callers_ca: bytes = b"",
        minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> None:
        """Load the pair; see :meth:`replace` for the errors.

        Args:
            cert_pem: see :meth:`replace`.
            key_pem: see :meth:`replace`.
            replicas_ca: see :meth:`replace`.
            callers_ca: authorities that vouch for the API server's own certificate, if it is
                asked for one; PEM.
            minimum_version: of TLS.
        """
        self._files: tuple[Path, Path, Path | None] | None = None
        self._seen: tuple[bytes, bytes, bytes] = (cert_pem, key_pem, replicas_ca)
        self._callers_ca = callers_ca
        self.context = _front(minimum_version)
        self.replace(cert_pem, key_pem, replicas_ca)
        self.context.sni_callback = self._choose

    @classmethod
    def from_pem(
        cls,
        cert_pem: bytes,
        key_pem: bytes,
        *,
        replicas_ca: bytes = b"",
        callers_ca: bytes = b"",
        minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> ServingCertificate:
        """From PEM texts, such as the data of a Secret.

        Raises:
            CertificateMismatch: see :meth:`replace`.
        """
        return cls(
            cert_pem,
            key_pem,
            replicas_ca=replicas_ca,
            callers_ca=callers_ca,
            minimum_version=minimum_version,
        )

    @classmethod
    def from_files(
        cls,
        cert: Path,
        key: Path,
        *,
        replicas_ca: Path | None = None,
        callers_ca: bytes = b"",
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
            replicas_ca=replicas_ca.read_bytes() if replicas_ca else b"",
            callers_ca=callers_ca,
            minimum_version=minimum_version,
        )
        certificate._files = (cert, key, replicas_ca)
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
    def replicas_authorities(self) -> frozenset[Name]:
        """The names of those who vouch for replicas."""
        return self._replicas_authorities

    def replace(self, cert_pem: bytes, key_pem: bytes, replicas_ca: bytes = b"") -> None:
        """Show another certificate from the next handshake on; open connections live on.

        Args:
            cert_pem: the certificate, followed by intermediate ones if there are any.
            key_pem: its private key, not encrypted.
            replicas_ca: authorities that vouch for this certificate and those of other replicas,
                PEM; without it no replica is believed, and none can be asked.

        Raises:
            CertificateMismatch: the pair is of no use; the old one stays in use.
        """
        try:
            current = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            load_pair(current, cert_pem, key_pem)
            until = expiry(cert_pem)
            client = _client(cert_pem, key_pem, replicas_ca) if replicas_ca else None
            if trusted := self._callers_ca + replicas_ca:
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
        cert, key, replicas_ca = self._files
        try:
            pair = (
                cert.read_bytes(),
                key.read_bytes(),
                replicas_ca.read_bytes() if replicas_ca else b"",
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


async def issue(
    dns_names: Sequence[str],
    ip_addresses: Sequence[str] = (),
    *,
    valid_for: timedelta,
    ca_valid_for: timedelta,
    now: datetime,
    authority: tuple[bytes, bytes] | None = None,
) -> Issued:
    """Make a certificate for these names, and an authority, in a process of their own.

    Args:
        dns_names: of the webhook's Service.
        ip_addresses: for callers that use an address.
        valid_for: of the certificate, from ``now``; never beyond ``ca_valid_for``.
        ca_valid_for: of the authority, from ``now``.
        now: an aware datetime.
        authority: certificate and key of the one that is to sign; None makes a new one.

    Raises:
        IssueFailed: no process could be started, or it refused (bad names), or took too long.
    """
    wanted = {
        "dns_names": list(dns_names),
        "ip_addresses": list(ip_addresses),
        "now": now,
        "valid_for_seconds": valid_for.total_seconds(),
        "ca_valid_for_seconds": ca_valid_for.total_seconds(),
    }
    if authority is not None:
        wanted |= {"ca_pem": authority[0].decode(), "ca_key_pem": authority[1].decode()}
    said = await _child(msgspec.json.encode(wanted))
    try:
        made = msgspec.json.decode(said, type=dict[str, str])
        cert_pem = made["cert_pem"].encode()
        return Issued(
            ca_pem=made["ca_pem"].encode(),
            ca_key_pem=made["ca_key_pem"].encode(),
            cert_pem=cert_pem,
            key_pem=made["key_pem"].encode(),
            expires_at=expiry(cert_pem),
        )
    except (ValueError, KeyError) as error:
        raise IssueFailed(f"the certificate process answered nonsense: {error!r}") from None


async def _child(request: bytes) -> bytes:
    command = (sys.executable, "-P", "-m", "spotalis.webhook.issue")
    pipe = asyncio.subprocess.PIPE
    try:
        child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    except OSError as error:
        raise IssueFailed(f"the certificate process does not start: {error}") from error
    try:
        async with asyncio.timeout(_ISSUE_SECONDS):
            said, complaint = await child.communicate(request)
    except TimeoutError:
        raise IssueFailed(f"no certificate within {_ISSUE_SECONDS:g} s") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        lines = complaint.decode(errors="replace").strip().splitlines() or ["no word of why"]
        raise IssueFailed(f"no certificate was made (exit {child.returncode}): {lines[-1]}")
    return said


def _front(minimum_version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = minimum_version
    context.set_ciphers(_CIPHERS_OF_TLS_1_2)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0  # Go's client does not resume by default, and a ticket outlives a swap
    return context


def _client(cert_pem: bytes, key_pem: bytes, replicas_ca: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3  # the other end is one of us
    context.load_verify_locations(cadata=replicas_ca.decode("ascii"))
    load_pair(context, cert_pem, key_pem)
    return context


def _subjects(context: ssl.SSLContext | None) -> frozenset[Name]:
    if context is None:
        return frozenset()
    subjects = (cast("Name", ca["subject"]) for ca in context.get_ca_certs())
    return frozenset(subjects)
