"""The plain HTTP servers: metrics on one port, health on another.

They answer ``GET`` and ``HEAD`` on fixed paths, and everything else with the JSON error body. The
response headers forbid caching, and forbid browsers to run or embed a response.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from aiohttp import web

from spotalis import logs
from spotalis.model.environment import Clock
from spotalis.model.errors import PortInUse, error_json
from spotalis.web.exposition import Snapshot
from spotalis.web.health import HealthState, healthz, readyz
from spotalis.web.metrics import OPEN_METRICS, Metrics, content_type

log = logs.get(__name__)

Page: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 500: "INTERNAL_ERROR"}
_MAX_SCRAPES = 4
"""Scrapes at the same time; each holds its snapshot. A pair of Prometheus servers makes two."""
_SCRAPE_SECONDS = 30.0
"""Time for one scrape; the default timeout of Prometheus is 10 s."""
_KEEP_ALIVE_SECONDS = 120.0
"""Longer than the usual 30 s or 60 s between two scrapes, so that Prometheus can reuse its
connection."""
_STOP_SECONDS = 2.0


class PlainServer:
    """Serves pages over HTTP/1.1 until it is stopped."""

    def __init__(self, pages: Mapping[str, Page], *, clock: Clock) -> None:
        """Prepare the server; the pages are by path, and the clock is for timestamps of errors."""
        self._pages = dict(pages)
        self._clock = clock
        self._http: web.Server | None = None
        self._listener: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen and return the port.

        Args:
            host: an address or a host name; ``""`` and ``::`` for all IPv4 and IPv6 addresses.
            port: 0 lets the system choose one.

        Raises:
            PortInUse: another process listens on the port.
            OSError: the address is not local, or the port is privileged.
        """
        loop = asyncio.get_running_loop()
        address = None if host in ("", "::") else host  # asyncio reads "::" as IPv6 only
        self._http = http = web.Server(self._handle)
        try:
            self._listener = await loop.create_server(
                lambda: _Connection(http, self._error), address, port
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(host, port) from None
            raise
        return int(self._listener.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and close every connection; a second call does nothing."""
        if self._listener is None or self._http is None:
            return
        listener, self._listener = self._listener, None
        listener.close()
        self._http.pre_shutdown()
        await self._http.shutdown(timeout=_STOP_SECONDS)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        page = self._pages.get(request.path)
        try:
            if page is None:
                paths = ", ".join(sorted(self._pages))
                response: web.StreamResponse = self._error(404, f"unknown path; use {paths}")
            elif request.method not in ("GET", "HEAD"):
                response = self._error(405, "must be GET or HEAD")
                response.headers["Allow"] = "GET, HEAD"
            else:
                response = await page(request)
        except Exception as error:
            if not isinstance(error, ConnectionError | TimeoutError):
                log.exception("Request failed", path=request.path)
            if request.writer.output_size and request.transport is not None:
                request.transport.abort()  # a partial response must not look complete
            response = self._error(500, "internal error; see the log of the operator")
        if request.can_read_body:
            response.force_close()  # request bodies are never read
        return response

    def _error(self, status: int, message: str) -> web.Response:
        code = _CODES.get(status, "INVALID_REQUEST")
        return _json(status, error_json(code, message, at=self._clock.now()))


def health_server(state: Callable[[], HealthState], *, clock: Clock) -> PlainServer:
    """Serve ``/healthz`` and ``/readyz``; calls ``state`` for every request."""

    async def health(request: web.BaseRequest) -> web.Response:
        return _json(*healthz(state(), clock.now()))

    async def ready(request: web.BaseRequest) -> web.Response:
        return _json(*readyz(state()))

    return PlainServer({"/healthz": health, "/readyz": ready}, clock=clock)


def metrics_server(
    metrics: Metrics, snapshot: Callable[[], Snapshot], *, clock: Clock
) -> PlainServer:
    """Serve ``/metrics``; calls ``snapshot`` for every scrape."""
    scrapes = asyncio.Semaphore(_MAX_SCRAPES)

    async def scrape(request: web.BaseRequest) -> web.StreamResponse:
        format_ = content_type(request.headers.get("Accept", ""))
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": format_})
        async with asyncio.timeout(_SCRAPE_SECONDS), scrapes:
            rows = snapshot()
            await response.prepare(request)
            if request.method == "GET":
                async for piece in metrics.expose(rows, open_metrics=format_ == OPEN_METRICS):
                    await response.write(piece)
            await response.write_eof()
        return response

    return PlainServer({"/metrics": scrape}, clock=clock)


def _json(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json", headers=HEADERS)


class _Connection(web.RequestHandler):
    """aiohttp's connection; answers invalid HTTP with the JSON error body, without a traceback."""

    __slots__ = ("_error",)

    def __init__(self, server: web.Server, error: Callable[[int, str], web.Response]) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
            access_log=None,  # type: ignore[arg-type]  # as aiohttp's own runner does
            lingering_time=1.0,
            max_headers=64,
            auto_decompress=False,
        )
        self._error = error

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        response = self._error(status, "not valid HTTP/1.1")
        response.force_close()
        return response
