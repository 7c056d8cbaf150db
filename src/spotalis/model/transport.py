"""How a request reaches an API server: over HTTP(S), or in this process.

Two implementations exist: :mod:`spotalis.kube.http` speaks to any API server, and
:mod:`spotalis.embedded` answers in the same process, so that the unchanged operator runs in
virtual time.
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
    """A whole answer; header names are lower case."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class TransportError(Exception):
    """No answer came: refused, cut, timed out, or TLS failed.

    ``maybe_sent`` says whether the request may have been carried out all the same: ``False`` only
    where it is certain that it never left (no connection could be made).
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
    """Carries requests to one API server."""

    async def send(self, request: Request) -> Response:
        """Answer with whatever status the server gave.

        Raises:
            TransportError: no answer came; the outcome may be unknown.
        """
        ...

    def stream(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the body's bytes as they come, in chunks of any size, until the server ends.

        Raises:
            StreamRefused: the status was not 200.
            TransportError: the connection failed, was cut, or stayed silent too long.
        """
        ...

    async def close(self) -> None:
        """Release every connection; open streams end with a TransportError."""
        ...
