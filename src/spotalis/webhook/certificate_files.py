"""A serving certificate in files, such as those of a Secret that cert-manager fills."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from spotalis import logs
from spotalis.webhook.issuer import IssueFailed, inspect_certificate
from spotalis.webhook.pem import KeyPair, is_key_pair
from spotalis.webhook.serving_certificate import CertificateMismatch, ServingCertificate

log = logs.get(__name__)


class CertificateFiles:
    """The files of a certificate, its key and optionally its authority; reloads them on change."""

    def __init__(self, cert: Path, key: Path, peer_ca: Path | None = None) -> None:
        """Prepare; :meth:`load` reads the files."""
        self._paths = [path for path in (cert, key, peer_ca) if path is not None]
        self._content: list[bytes] | None = None
        """As last read; None if a file was not readable."""

    async def load(self, *, client_ca: bytes = b"") -> ServingCertificate:
        """Load the certificate.

        Raises:
            CertificateMismatch: the certificate and the key do not match.
            IssueFailed: the certificate cannot be inspected.
            OSError: a file cannot be read.
        """
        self._content = [path.read_bytes() for path in self._paths]
        return ServingCertificate(await _key_pair(self._content), client_ca=client_ca)

    async def reload(self, serving: ServingCertificate) -> bool:
        """Read the files again; returns whether ``serving`` presents another certificate now.

        Logs a problem with the files once, and keeps the old certificate in use.
        """
        try:
            content = [path.read_bytes() for path in self._paths]
        except OSError as error:
            if self._content is not None:
                log.warning("Cannot read certificate files", error=str(error))
            self._content = None
            return False
        if content == self._content:
            return False
        self._content = content
        previous_expiry = serving.expires_at
        try:
            serving.replace(await _key_pair(content))
        except CertificateMismatch as error:
            log.warning("Cannot use certificate files", error=str(error))
            return False
        except IssueFailed as error:
            self._content = []  # try again: the process may have failed for lack of memory
            log.warning("Cannot inspect certificate files", error=str(error))
            return False
        log.info("Reloaded certificate", previous_expiry=previous_expiry, expiry=serving.expires_at)
        return True

    async def watch(
        self,
        serving: ServingCertificate,
        *,
        interval_seconds: float = 10.0,
        on_certificate: Callable[[ServingCertificate], None] = lambda certificate: None,
    ) -> None:
        """Reload until cancelled; polls, because kubelet replaces a symbolic link to a folder."""
        while True:
            await asyncio.sleep(interval_seconds)
            if await self.reload(serving):
                on_certificate(serving)


async def _key_pair(content: list[bytes]) -> KeyPair:
    cert_pem, key_pem, *peer_ca = content
    if not is_key_pair(cert_pem, key_pem):
        raise CertificateMismatch("certificate and key are invalid or do not match")
    info = await inspect_certificate(cert_pem)
    return KeyPair(
        cert_pem=cert_pem,
        key_pem=key_pem,
        expires_at=info.expires_at,
        peer_ca=b"".join(peer_ca),
    )
