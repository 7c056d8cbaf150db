"""The plain HTTP servers: metrics on one port, health on another.

They answer ``GET`` and ``HEAD`` on fixed paths, and everything else with the JSON error body. Every
response closes its connection, so that no client can keep the others waiting by its requests. The
response headers forbid caching, and forbid browsers to run or embed a response.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

from aiohttp import web

from spotalis import logs
from spotalis.model.environment import Clock
from spotalis.model.errors import error_json
from spotalis.web.connections import Connection, connection_of, find_slowest
from spotalis.web.event_loop_budget import EventLoopBudget
from spotalis.web.exposition import Snapshot
from spotalis.web.health import HealthState, healthz, readyz
from spotalis.web.listener import Listener
from spotalis.web.metrics import OPEN_METRICS, Metrics, content_type

log = logs.get(__name__)

Page: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 500: "INTERNAL_ERROR"}
_MAX_CONNECTIONS = 64
"""On each port: kubelet and a pair of Prometheus servers use one or two at a time. A hostile client
without TLS costs less than 0.1 MB."""
_HEAD_SECONDS = 10.0
_MAX_SCRAPES = 4
"""Scrapes at the same time; each holds its snapshot. A pair of Prometheus servers makes two."""
_SCRAPE_SECONDS = 30.0
"""Time for one scrape; the default timeout of Prometheus is 10 s."""
_POLL_SECONDS = 0.02
_STOP_SECONDS = 2.0


class PlainServer:
    """Serves pages over HTTP/1.1 until it is stopped."""

    def __init__(self, pages: Mapping[str, Page], *, clock: Clock) -> None:
        """Prepare the server; the pages are by path, and the clock is for timestamps of errors."""
        self._pages = dict(pages)
        self._clock = clock
        self._http: web.Server | None = None
        self._listener: Listener | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen and return the port.

        Args:
            host: an address or a host name; ``""`` and ``::`` for all IPv4 and IPv6 addresses.
            port: 0 lets the system choose one.

        Raises:
            PortInUse: another process listens on the port.
            OSError: the address is not local, or the port is privileged.
        """
        self._http = web.Server(self._handle)
        self._listener = Listener(
            self._http,
            on_malformed=self._malformed,
            max_connections=_MAX_CONNECTIONS,
            first_request_seconds=_HEAD_SECONDS,
            keep_alive_seconds=_HEAD_SECONDS,
            budget=EventLoopBudget(burst_seconds=math.inf),  # no client becomes known here
        )
        return self._listener.listen(host, port)

    async def stop(self) -> None:
        """Stop listening and close every connection; a second call does nothing."""
        if self._listener is None or self._http is None:
            return
        listener, self._listener = self._listener, None
        await listener.close()
        listener.close_idle()
        await self._http.shutdown(timeout=_STOP_SECONDS)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = connection_of(request)
        connection.begin_request()
        connection.begin_answer()
        try:
            return await self._answer(request)
        finally:
            connection.end_request()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
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
        response.force_close()
        return response

    def _error(self, status: int, message: str) -> web.Response:
        code = _CODES.get(status, "INVALID_REQUEST")
        return _json(status, error_json(code, message, at=self._clock.now()))

    def _malformed(self) -> web.Response:
        response = self._error(400, "not valid HTTP/1.1")
        response.force_close()
        return response


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
    scraping: set[Connection] = set()

    async def scrape(request: web.BaseRequest) -> web.StreamResponse:
        format_ = content_type(request.headers.get("Accept", ""))
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": format_})
        response.force_close()
        async with asyncio.timeout(_SCRAPE_SECONDS), _place(scraping, connection_of(request)):
            rows = snapshot()
            await response.prepare(request)
            if request.method == "GET":
                async for piece in metrics.expose(rows, open_metrics=format_ == OPEN_METRICS):
                    await response.write(piece)
            await response.write_eof()
        return response

    return PlainServer({"/metrics": scrape}, clock=clock)


@asynccontextmanager
async def _place(scraping: set[Connection], connection: Connection) -> AsyncIterator[None]:
    """Take one of the places for scrapes; at the limit, the slowest reader gives way."""
    while len(scraping) >= _MAX_SCRAPES:
        if (slowest := find_slowest(scraping)) is not None:
            slowest.abort()
            scraping.discard(slowest)
        else:
            await asyncio.sleep(_POLL_SECONDS)
    scraping.add(connection)
    try:
        yield
    finally:
        scraping.discard(connection)


def _json(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json", headers=HEADERS)
