"""The transport of commands: HTTP/1.1 over urllib3, each request in a thread.

The operator's transport (:mod:`spotalis.kube.http`) handles twice as many watch events, but aiohttp
and what it needs add 14 MB to an installation and 0.3 s of CPU to the start of a command. urllib3
adds 1 MB and 0.08 s (decision 0023).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    InsecureRequestWarning,
    ProxyError,
    SSLError,
)

from spotalis.kube.config.access import ClusterAccess
from spotalis.kube.config.credentials import Credential
from spotalis.kube.config.errors import ConfigError
from spotalis.kube.http_requests import CONNECT_SECONDS, SEND_SECONDS, HttpRequests
from spotalis.model.environment import Clock
from spotalis.model.transport import Request, Response, StreamRefused, TransportError

_T = TypeVar("_T")

_CHUNK_BYTES = 64 * 1024
_CONNECTIONS = 16
"""Open connections to keep: a command lists or watches ten kinds at the same time."""
_NEVER_SENT = (ConnectTimeoutError, ProxyError, SSLError)
"""Failures of connecting. TLS fails in the handshake, before the request is sent."""


class ThreadTransport:
    """Sends requests over a pool of connections, with credentials that are kept fresh."""

    def __init__(self, access: ClusterAccess, *, clock: Clock, replica: str = "") -> None:
        """``replica`` becomes part of the User-Agent."""
        self._access = access
        self._clock = clock
        self._requests = HttpRequests(access, clock=clock, replica=replica)
        self._pools: tuple[ssl.SSLContext | None, urllib3.PoolManager] | None = None
        self._open_streams: set[urllib3.BaseHTTPResponse] = set()
        self._closed = False

    async def send(self, request: Request) -> Response:
        """Send a request; again with fresh credentials if the first ones were rejected."""
        seconds = SEND_SECONDS if request.timeout_seconds is None else request.timeout_seconds
        timeout = urllib3.Timeout(total=seconds, connect=min(CONNECT_SECONDS, seconds))
        with _as_transport_errors(self._requests):
            async with asyncio.timeout(seconds):
                response = await self._request(request, timeout, streams=False)
        return Response(status=response.status, body=response.data, headers=_headers(response))

    async def stream(self, request: Request) -> AsyncGenerator[bytes, None]:
        """Yield chunks until the server ends the response; silence raises TransportError."""
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=request.timeout_seconds)
        with _as_transport_errors(self._requests):
            response = await self._request(request, timeout, streams=True)
        async with self._streaming(response):
            if response.status != 200:
                body = await _in_thread(response.read)
                raise StreamRefused(
                    Response(status=response.status, body=body, headers=_headers(response))
                )
            while chunk := await _in_thread(lambda: response.read1(_CHUNK_BYTES)):
                yield chunk
            if self._closed:
                raise TransportError("the transport is closed")

    async def close(self) -> None:
        """Close all connections for good."""
        self._closed = True
        for response in self._open_streams:
            _shut_down(response)
        if self._pools is not None:
            _close(self._pools[1])

    @asynccontextmanager
    async def _streaming(self, response: urllib3.BaseHTTPResponse) -> AsyncIterator[None]:
        """Turn failures of reading into TransportErrors; end the connection in any case."""
        self._open_streams.add(response)
        try:
            with _as_transport_errors(self._requests, opened=True):
                yield
        finally:
            self._open_streams.discard(response)
            _shut_down(response)

    async def _request(
        self, request: Request, timeout: urllib3.Timeout, *, streams: bool
    ) -> urllib3.BaseHTTPResponse:
        credential = await self._access.credentials.get(self._clock)
        response = await self._request_with(credential, request, timeout, streams)
        if response.status == 401:
            fresh = await self._access.credentials.get(self._clock, rejected=credential)
            if fresh != credential:
                response.close()
                response = await self._request_with(fresh, request, timeout, streams)
        return response

    async def _request_with(
        self, credential: Credential, request: Request, timeout: urllib3.Timeout, streams: bool
    ) -> urllib3.BaseHTTPResponse:
        if self._closed:
            raise TransportError("the transport is closed", maybe_sent=False)
        pool = self._pool(credential)
        headers = urllib3.HTTPHeaderDict()
        for name, value in self._requests.headers(request, credential, streams=streams):
            headers.add(name, value)
        return await _in_thread(
            lambda: pool.urlopen(
                request.method,
                self._requests.url(request),
                body=request.body or None,
                headers=headers,
                timeout=timeout,
                retries=False,  # nor are redirects followed
                preload_content=not streams,
            )
        )

    def _pool(self, credential: Credential) -> urllib3.PoolManager:
        """Connections with the current TLS context; a new context needs new connections."""
        context = self._requests.tls_context(credential)
        if self._pools is None or self._pools[0] is not context:
            if self._pools is not None:
                _close(self._pools[1])
            self._pools = (context, self._new_pool(context))
        return self._pools[1]

    def _new_pool(self, context: ssl.SSLContext | None) -> urllib3.PoolManager:
        options: dict[str, Any] = {"maxsize": _CONNECTIONS}
        if context is not None:
            options["ssl_context"] = context
            options["server_hostname"] = self._access.tls_server_name or None
            options["cert_reqs"] = context.verify_mode
            if not self._access.verify:
                options["assert_hostname"] = False
                warnings.simplefilter("ignore", InsecureRequestWarning)  # the user asked for it
        proxy = self._access.proxy_url
        if not proxy:
            return urllib3.PoolManager(**options)
        parts = urlsplit(proxy)
        user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        headers = urllib3.make_headers(proxy_basic_auth=user) if parts.username else None
        return urllib3.ProxyManager(proxy, proxy_headers=headers, **options)


def _close(connections: urllib3.PoolManager) -> None:
    """Close the idle connections. The others go on, and end after their response.

    ``clear`` alone would leave them open until the pools are collected.
    """
    for key in connections.pools.keys():  # noqa: SIM118  # the container is not iterable
        connections.pools[key].close()
    connections.clear()


@contextlib.contextmanager
def _as_transport_errors(requests: HttpRequests, *, opened: bool = False) -> Any:
    """Turn the expected failures into TransportErrors.

    Args:
        opened: the request was sent.
    """
    try:
        yield
    except TransportError:
        raise
    except ConfigError as error:
        raise TransportError(error.what, maybe_sent=False) from error
    except (HTTPError, OSError, ValueError) as error:
        never_sent = not opened and isinstance(error, _NEVER_SENT)
        if never_sent:
            requests.reread_ca()
        raise TransportError(_message(error), maybe_sent=not never_sent) from error


def _message(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no response in time"
    cause = error.__cause__ if isinstance(error, ProxyError) and error.__cause__ else error
    # urllib3 puts the connection before the reason: `HTTPConnection(host=...): Failed ...`.
    return str(cause).partition("): ")[2] or str(cause) or "no response in time"


def _headers(response: urllib3.BaseHTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _shut_down(response: urllib3.BaseHTTPResponse) -> None:
    """End a connection; a thread that reads from it wakes up."""
    with contextlib.suppress(ValueError, RuntimeError, OSError):
        response.shutdown()
    response.close()


async def _in_thread(call: Callable[[], _T]) -> _T:
    """Run a blocking call in a thread that does not prevent the end of the process.

    A pool of threads would: Python waits for its threads, for as long as a server is silent.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def finish(result: _T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # of type _T without an error

    def run() -> None:
        result, error = None, None
        try:
            result = call()
        except Exception as failure:  # passed on to the caller
            error = failure
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(finish, result, error)

    threading.Thread(target=run, daemon=True).start()
    return await done
