"""The transport to an API server: over HTTP(S), or within this process.

:mod:`spotalis.kube.http` connects to any API server. :mod:`spotalis.embedded` answers within the
process, so that the unchanged operator runs in virtual time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request, relative to the API server's address."""

    method: str
    path: str
    """Absolute path without a query, such as ``/api/v1/pods``."""
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    content_type: str = "application/json"
    timeout_seconds: float | None = None
    """For ``send``: the whole exchange. For ``stream``: the longest silence between two chunks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A complete response; header names are lower case."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class TransportError(Exception):
    """No response: the connection was refused or broke, timed out, or TLS failed.

    ``maybe_sent`` is False only if the request certainly never reached the server, because no
    connection could be made. Otherwise the server may have carried it out.
    """

    def __init__(self, message: str, *, maybe_sent: bool = True) -> None:
        super().__init__(message)
        self.maybe_sent = maybe_sent


class StreamRefused(Exception):
    """The server answered a stream request with something other than 200."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"HTTP {response.status}")
        self.response = response


class Transport(Protocol):
    """Sends requests to one API server."""

    async def send(self, request: Request) -> Response:
        """Send a request and return the response, whatever its status.

        Raises:
            TransportError: no response; the outcome may be unknown.
        """
        ...

    def stream(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the chunks of the body as they arrive, until the server ends it.

        Raises:
            StreamRefused: the status was not 200.
            TransportError: the connection failed, broke, or was silent for too long.
        """
        ...

    async def close(self) -> None:
        """Release every connection; open streams end with a TransportError."""
        ...
