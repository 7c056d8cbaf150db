"""A line on stderr for each request, as `kubectl -v 6` prints them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlencode

from spotalis.cli.output import tell
from spotalis.model.environment import Clock
from spotalis.model.transport import Request, Response, Transport, TransportError

REQUESTS_LEVEL = 6
"""The level of ``-v`` from which kubectl prints requests (client-go, round_trippers.go)."""


class LoggedTransport:
    """Prints each request with the status of its response and the milliseconds."""

    def __init__(self, transport: Transport, server: str, clock: Clock) -> None:
        self._transport = transport
        self._server = server
        self._clock = clock

    async def send(self, request: Request) -> Response:
        """Send the request."""
        started = self._clock.monotonic()
        result = "failed"
        try:
            response = await self._transport.send(request)
            result = str(response.status)
        except TransportError as error:
            result = f"failed: {error}"
            raise
        finally:
            took = 1000 * (self._clock.monotonic() - started)
            tell(f"{self._describe(request)} {result} in {took:.0f} ms")
        return response

    def stream(self, request: Request) -> AsyncIterator[bytes]:
        """Stream the response."""
        tell(f"{self._describe(request)} is a watch")
        return self._transport.stream(request)

    async def close(self) -> None:
        """Release every connection."""
        await self._transport.close()

    def _describe(self, request: Request) -> str:
        query = f"?{urlencode(request.query)}" if request.query else ""
        return f"{request.method} {self._server}{request.path}{query}"
