"""What every HTTP transport sends to an API server: addresses, headers and TLS contexts."""

from __future__ import annotations

import ssl
from urllib.parse import quote, urlencode

from spotalis import __version__
from spotalis.kube.config.access import ClusterAccess
from spotalis.kube.config.credentials import REFRESH_SECONDS, Credential, read_pem
from spotalis.kube.config.errors import BAD_TLS, ConfigError
from spotalis.kube.tls import client_context
from spotalis.model.environment import Clock
from spotalis.model.transport import Request

CONNECT_SECONDS = 10.0
SEND_SECONDS = 30.0
"""Timeout of requests that do not set one."""


class HttpRequests:
    """Makes the parts of requests to one API server."""

    def __init__(self, access: ClusterAccess, *, clock: Clock, replica: str) -> None:
        """``replica`` becomes part of the User-Agent, so that audit logs tell instances apart."""
        self._agent = f"spotalis/{__version__}" + (f" ({replica})" if replica else "")
        self._access = access
        self._clock = clock
        self._ca = b""
        self._ca_read_at = float("-inf")
        self._contexts: dict[tuple[bytes, bytes, bytes], ssl.SSLContext] = {}

    def url(self, request: Request) -> str:
        """The encoded address."""
        query = f"?{urlencode(request.query)}" if request.query else ""
        path = quote(request.path, safe="/:@")
        return f"{self._access.server.rstrip('/')}{path}{query}"

    def headers(
        self, request: Request, credential: Credential, *, streams: bool
    ) -> list[tuple[str, str]]:
        """The headers. Streams are not compressed, so that each line arrives at once."""
        compress = self._access.compress and not streams
        headers = [
            ("Accept", "application/json"),
            ("Accept-Encoding", "gzip" if compress else "identity"),
            ("User-Agent", self._agent),
            *credential.headers,
        ]
        if request.body:
            headers.append(("Content-Type", request.content_type))
        return headers

    def tls_context(self, credential: Credential) -> ssl.SSLContext | None:
        """The current TLS context; open connections keep the one they were made with.

        None: the server does not use TLS.

        Raises:
            ConfigError: a certificate or the key is unusable.
        """
        if not self._access.server.startswith("https:"):
            return None
        try:
            if self._clock.monotonic() - self._ca_read_at >= REFRESH_SECONDS:
                self._ca = self._read_ca()
                self._ca_read_at = self._clock.monotonic()
            key = (self._ca, credential.certificate, credential.key)
            if key not in self._contexts:
                context = client_context(
                    self._ca,
                    verify=self._access.verify,
                    certificate=credential.certificate,
                    key=credential.key,
                )
                self._contexts = {key: context}
        except (OSError, ValueError) as error:
            raise ConfigError(BAD_TLS, f"unusable TLS certificates: {error}") from error
        return self._contexts[key]

    def reread_ca(self) -> None:
        """Read the authorities again before the next connection: the server may have a new one."""
        self._ca_read_at = float("-inf")

    def _read_ca(self) -> bytes:
        try:
            return read_pem(self._access.ca)
        except OSError:
            if self._ca:
                return self._ca  # the file is being replaced
            raise
