"""Send requests: wait for the rate limit, report each request, retry reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from spotalis.kube.backoff import Backoff, retry_after_seconds
from spotalis.kube.limiter import RateLimiter
from spotalis.kube.resources import PLURALS
from spotalis.kube.server_clock import ServerClock
from spotalis.model.environment import Clock, Random
from spotalis.model.transport import Request, Response, StreamRefused, Transport, TransportError

OnRequest = Callable[[str, str, int, float], None]
"""Called after every request: (verb, resource, HTTP status or 0 without a response, seconds)."""

READ_ATTEMPTS = 4
MAX_RETRY_AFTER_SECONDS = 30.0
"""A response that asks for a longer delay is returned to the caller instead of retried."""
_BUSY = frozenset({429, 500, 502, 503, 504})


class NotSent(Exception):
    """The precondition of a request did not hold; the request was not sent."""


class Exchange:
    """Sends requests through a transport; requests for Leases have priority."""

    def __init__(
        self,
        transport: Transport,
        *,
        clock: Clock,
        rng: Random,
        limiter: RateLimiter | None,
        on_request: OnRequest | None,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._rng = rng
        self._limiter = limiter
        self._on_request = on_request
        self.server_clock = ServerClock(clock)

    async def send(
        self, request: Request, precondition: Callable[[], bool] = lambda: True
    ) -> Response:
        """Send a request once and return the response, whatever its status.

        Raises:
            NotSent: ``precondition`` returned False after the rate limit had been passed.
            TransportError: no response.
        """
        await self._wait_for_rate_limit(request)
        if not precondition():
            raise NotSent
        started_at = self._clock.monotonic()
        try:
            response = await self._transport.send(request)
        except TransportError:
            self._report(request, 0, started_at)
            raise
        self.server_clock.observe(response)
        self._report(request, response.status, started_at)
        return response

    async def read(self, request: Request) -> Response:
        """Send a read, with retries; returns the last response, whatever its status."""
        backoff = Backoff(self._rng, floor_seconds=0.25, ceiling_seconds=4.0)
        for _ in range(READ_ATTEMPTS - 1):
            delay = backoff.next_seconds()
            try:
                response = await self.send(request)
            except TransportError:
                pass
            else:
                if response.status not in _BUSY:
                    return response
                asked = retry_after_seconds(
                    response.headers.get("retry-after", ""), self._clock.now()
                )
                if asked is not None and asked > MAX_RETRY_AFTER_SECONDS:
                    return response
                delay = max(delay, asked or 0.0)
            await asyncio.sleep(delay)
        return await self.send(request)

    async def stream(self, request: Request) -> AsyncGenerator[bytes, None]:
        """Stream the bytes of a response; raises as ``Transport.stream`` does."""
        await self._wait_for_rate_limit(request)
        started_at = self._clock.monotonic()
        opened = False
        chunks = self._transport.stream(request)
        try:
            async for chunk in chunks:
                if not opened:
                    opened = True
                    self._report(request, 200, started_at)
                yield chunk
        except StreamRefused as refused:
            self._report(request, refused.response.status, started_at)
            raise
        except TransportError:
            if not opened:
                self._report(request, 0, started_at)
            raise
        finally:
            await _close(chunks)

    async def _wait_for_rate_limit(self, request: Request) -> None:
        if self._limiter is not None:
            await self._limiter.acquire(priority=_LEASES in request.path)

    def _report(self, request: Request, status: int, started_at: float) -> None:
        if self._on_request is not None:
            verb, resource = verb_and_resource(request)
            if not resource.startswith("/") and resource.partition("/")[0] not in PLURALS:
                resource = "other"
            self._on_request(verb, resource, status, self._clock.monotonic() - started_at)


_LEASES = "/apis/coordination.k8s.io/"


async def _close(chunks: AsyncIterator[bytes]) -> None:
    if isinstance(chunks, AsyncGenerator):
        await chunks.aclose()


def verb_and_resource(request: Request) -> tuple[str, str]:
    """The verb and resource as RBAC names them, such as ``("create", "pods/eviction")``."""
    parts = request.path.strip("/").split("/")
    if parts[0] not in ("api", "apis"):
        return request.method.lower(), request.path
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    if not rest:  # discovery
        return request.method.lower(), request.path
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        rest = rest[2:]
    resource = "/".join(rest[:1] + rest[2:3])
    if request.method != "GET":
        verb = _VERBS.get(request.method, request.method.lower())
    elif len(rest) > 1:
        verb = "get"
    else:
        verb = "watch" if ("watch", "true") in request.query else "list"
    return verb, resource


_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
