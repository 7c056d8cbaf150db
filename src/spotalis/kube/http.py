"""The transport to a real API server: HTTP/1.1 over aiohttp."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from spotalis.kube.config.access import ClusterAccess
from spotalis.kube.config.credentials import Credential
from spotalis.kube.config.errors import ConfigError
from spotalis.kube.http_requests import CONNECT_SECONDS, SEND_SECONDS, HttpRequests
from spotalis.model.environment import Clock
from spotalis.model.transport import Request, Response, StreamRefused, TransportError


class HttpTransport:
    """Sends requests over a pool of connections, with credentials that are kept fresh."""

    def __init__(self, access: ClusterAccess, *, clock: Clock, replica: str = "") -> None:
        """``replica`` becomes part of the User-Agent, so that audit logs tell instances apart."""
        self._access = access
        self._clock = clock
        self._requests = HttpRequests(access, clock=clock, replica=replica)
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def send(self, request: Request) -> Response:
        """Send a request; again with fresh credentials if the first ones were rejected."""
        seconds = SEND_SECONDS if request.timeout_seconds is None else request.timeout_seconds
        timeout = aiohttp.ClientTimeout(total=seconds, connect=CONNECT_SECONDS)
        async with self._open(request, timeout) as response:
            return await _read_response(response)

    async def stream(self, request: Request) -> AsyncGenerator[bytes, None]:
        """Yield chunks until the server ends the response; silence raises TransportError."""
        timeout = aiohttp.ClientTimeout(
            total=None, connect=CONNECT_SECONDS, sock_read=request.timeout_seconds
        )
        opened = False
        try:
            async with self._open(request, timeout, streams=True) as response:
                opened = True
                if response.status != 200:
                    raise StreamRefused(await _read_response(response))
                async for chunk in response.content.iter_any():
                    yield chunk
        except TransportError as error:
            raise TransportError(str(error), maybe_sent=opened) from error

    async def close(self) -> None:
        """Close all connections for good."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def _open(
        self, request: Request, timeout: aiohttp.ClientTimeout, *, streams: bool = False
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The open response; failures while connecting and reading become TransportErrors."""
        try:
            credential = await self._access.credentials.get(self._clock)
            response = await self._request(request, credential, timeout, streams)
            if response.status == 401:
                fresh = await self._access.credentials.get(self._clock, rejected=credential)
                if fresh != credential:
                    response.release()
                    response = await self._request(request, fresh, timeout, streams)
            async with response:
                yield response
        except ConfigError as error:
            raise TransportError(error.what, maybe_sent=False) from error
        except _NEVER_SENT as error:
            self._requests.reread_ca()
            raise TransportError(_message(error), maybe_sent=False) from error
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
            # aiohttp raises RuntimeError for a read on a connection that this side has closed
            raise TransportError(_message(error)) from error

    async def _request(
        self,
        request: Request,
        credential: Credential,
        timeout: aiohttp.ClientTimeout,
        streams: bool,
    ) -> aiohttp.ClientResponse:
        if self._closed:
            raise aiohttp.ClientConnectionError("the transport is closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=_BUFFER_BYTES,
                max_field_size=_HEADER_BYTES,
                middlewares=(_send_once,),
            )
        return await self._session.request(
            request.method,
            URL(self._requests.url(request), encoded=True),
            data=request.body or None,
            headers=self._requests.headers(request, credential, streams=streams),
            timeout=timeout,
            allow_redirects=False,
            ssl=self._requests.tls_context(credential) or True,
            server_hostname=self._access.tls_server_name or None,
            proxy=self._access.proxy_url or None,
        )


_BUFFER_BYTES = 256 * 1024
_HEADER_BYTES = 64 * 1024
_NEVER_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
)


class _Broken(aiohttp.ClientError):
    """The connection broke after the request had been sent, completely or in part."""


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Hide broken connections from aiohttp, which would retry PUT and DELETE requests."""
    try:
        return await handler(request)
    except _NEVER_SENT:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Broken(str(error)) from error


async def _read_response(response: aiohttp.ClientResponse) -> Response:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Response(status=response.status, body=await response.read(), headers=headers)


def _message(error: Exception) -> str:
    return str(error) or "no response in time"
