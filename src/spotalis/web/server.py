"""The plain HTTP servers: metrics on one port, health on another.

They answer ``GET`` and ``HEAD`` on a few fixed paths, and the error JSON on everything else. The
headers forbid a browser to do anything with an answer, and anybody to keep it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from aiohttp import web

from spotalis.model.environment import Clock
from spotalis.model.errors import PortInUse, error_json
from spotalis.web.exposition import Snapshot
from spotalis.web.health import HealthState, healthz, readyz
from spotalis.web.metrics import OPEN_METRICS, Metrics, content_type

logger = logging.getLogger(__name__)

Page: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_SCRAPES = 4
"""At once; each holds what it writes. Prometheus comes in pairs at most."""
_SCRAPE_SECONDS = 30.0
"""A reader so slow is cut off; Prometheus gives up after 10 s by default."""
_KEEP_ALIVE_SECONDS = 120.0
"""Longer than two scrapes at the usual 30 s or 60 s: Prometheus keeps its connection."""
_STOP_SECONDS = 2.0


class PlainServer:
    """Serves some pages over HTTP/1.1 until it is stopped."""

    def __init__(self, pages: Mapping[str, Page], *, clock: Clock) -> None:
        """Prepare; nothing is opened before :meth:`start`.

        Args:
            pages: by path.
            clock: for the stamps of errors.
        """
        self._pages = dict(pages)
        self._clock = clock
        self._http: web.Server | None = None
        self._listener: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port, which 0 leaves to the system.

        Args:
            host: an address; ``""`` is every one.
            port: to listen on.

        Raises:
            PortInUse: somebody else listens there.
            OSError: the address is not ours, or the port is privileged.
        """
        loop = asyncio.get_running_loop()
        self._http = http = web.Server(self._handle)
        try:
            self._listener = await loop.create_server(
                lambda: _Connection(http, self._error), host or None, port
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(host, port) from None
            raise
        return int(self._listener.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and end every connection; a second call does nothing."""
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
                response: web.StreamResponse = self._error(404, f"there is only {paths}")
            elif request.method not in ("GET", "HEAD"):
                response = self._error(405, "must be GET or HEAD")
                response.headers["Allow"] = "GET, HEAD"
            else:
                response = await page(request)
        except Exception as error:
            if not isinstance(error, ConnectionError | TimeoutError):
                logger.exception("a page failed")
            if request.writer.output_size and request.transport is not None:
                request.transport.abort()  # half an answer must not look like a whole one
            response = self._error(500, "the page failed; see the log")
        if request.can_read_body:
            response.force_close()  # nobody here reads bodies
        return response

    def _error(self, status: int, message: str) -> web.Response:
        body = error_json(_CODES.get(status, "INVALID_REQUEST"), message, at=self._clock.now())
        return web.Response(
            status=status, body=body, content_type="application/json", headers=HEADERS
        )


def health_server(facts: Callable[[], HealthState], *, clock: Clock) -> PlainServer:
    """``/healthz`` and ``/readyz``; ``facts`` is asked at every request, so it must be cheap."""

    async def health(request: web.BaseRequest) -> web.Response:
        return _json(*healthz(facts(), clock.now()))

    async def ready(request: web.BaseRequest) -> web.Response:
        return _json(*readyz(facts()))

    return PlainServer({"/healthz": health, "/readyz": ready}, clock=clock)


def metrics_server(
    metrics: Metrics, snapshot: Callable[[], Snapshot], *, clock: Clock
) -> PlainServer:
    """``/metrics``; ``snapshot`` is asked at every scrape."""
    scrapes = asyncio.Semaphore(_SCRAPES)

    async def scrape(request: web.BaseRequest) -> web.StreamResponse:
        kind = content_type(request.headers.get("Accept", ""))
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": kind})
        async with asyncio.timeout(_SCRAPE_SECONDS), scrapes:
            rows = snapshot()
            await response.prepare(request)
            if request.method == "GET":
                async for piece in metrics.expose(rows, open_metrics=kind == OPEN_METRICS):
                    await response.write(piece)
            await response.write_eof()
        return response

    return PlainServer({"/metrics": scrape}, clock=clock)


_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 500: "INTERNAL_ERROR"}


def _json(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json", headers=HEADERS)


class _Connection(web.RequestHandler):
    """aiohttp's connection, but what is no HTTP gets the error JSON and no traceback in the log."""

    __slots__ = ("_error",)

    def __init__(self, server: web.Server, error: Callable[[int, str], web.Response]) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
            access_log=None,  # type: ignore[arg-type]  # aiohttp's own runner passes it as well
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
