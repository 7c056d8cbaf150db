"""The transport to a real API server: HTTP/1.1 over aiohttp."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from spotalis import __version__
from spotalis.kube.config.access import ClusterAccess
from spotalis.kube.config.credentials import REFRESH_SECONDS, Credential, read_pem
from spotalis.kube.config.errors import BAD_TLS, ConfigError
from spotalis.kube.tls import client_context
from spotalis.model.environment import Clock
from spotalis.model.transport import Request, Response, StreamRefused, TransportError

CONNECT_SECONDS = 10.0
SEND_SECONDS = 30.0
"""For requests that name no time of their own."""


class HttpTransport:
    """One server, one session of kept-alive connections, credentials that stay fresh."""

    def __init__(self, access: ClusterAccess, *, clock: Clock, replica: str = "") -> None:
        """``replica`` is named in the User-Agent: the audit log tells replicas apart by it."""
        self._agent = f"spotalis/{__version__}" + (f" ({replica})" if replica else "")
        self._access = access
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._ca = b""
        self._ca_read_at = float("-inf")
        self._contexts: dict[tuple[bytes, bytes, bytes], ssl.SSLContext] = {}
        self._closed = False

    async def send(self, request: Request) -> Response:
        """Send once, or once more with fresh credentials if the first were refused."""
        seconds = SEND_SECONDS if request.timeout_seconds is None else request.timeout_seconds
        timeout = aiohttp.ClientTimeout(total=seconds, connect=CONNECT_SECONDS)
        async with self._answer(request, timeout) as answer:
            return await _whole(answer)

    async def stream(self, request: Request) -> AsyncGenerator[bytes, None]:
        """Yield what comes until the server ends; silence is a failure."""
        timeout = aiohttp.ClientTimeout(
            total=None, connect=CONNECT_SECONDS, sock_read=request.timeout_seconds
        )
        opened = False
        try:
            async with self._answer(request, timeout, streams=True) as answer:
                opened = True
                if answer.status != 200:
                    raise StreamRefused(await _whole(answer))
                async for chunk in answer.content.iter_any():
                    yield chunk
        except TransportError as error:
            raise TransportError(str(error), maybe_sent=opened) from error

    async def close(self) -> None:
        """Close every connection; there will be no others."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def _answer(
        self, request: Request, timeout: aiohttp.ClientTimeout, *, streams: bool = False
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The open answer; whatever breaks on the way or inside becomes a TransportError."""
        try:
            credential = await self._access.credentials.get(self._clock)
            answer = await self._ask(request, credential, timeout, streams)
            if answer.status == 401:
                fresh = await self._access.credentials.get(self._clock, rejected=credential)
                if fresh != credential:
                    answer.release()
                    answer = await self._ask(request, fresh, timeout, streams)
            async with answer:
                yield answer
        except ConfigError as error:
            raise TransportError(error.what, maybe_sent=False) from error
        except _NEVER_SENT as error:
            self._ca_read_at = float("-inf")  # perhaps the server has a new CA
            raise TransportError(_message(error), maybe_sent=False) from error
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
            # RuntimeError: what aiohttp raises for a read on a connection closed by our side
            raise TransportError(_message(error)) from error

    async def _ask(
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
        compress = self._access.compress and not streams
        headers = [
            ("Accept", "application/json"),
            ("Accept-Encoding", "gzip" if compress else "identity"),
            ("User-Agent", self._agent),
            *credential.headers,
        ]
        if request.body:
            headers.append(("Content-Type", request.content_type))
        return await self._session.request(
            request.method,
            self._url(request),
            data=request.body or None,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
            ssl=self._context(credential),
            server_hostname=self._access.tls_server_name or None,
            proxy=self._access.proxy_url or None,
        )

    def _url(self, request: Request) -> URL:
        query = f"?{urlencode(request.query)}" if request.query else ""
        path = quote(request.path, safe="/:@")
        return URL(f"{self._access.server.rstrip('/')}{path}{query}", encoded=True)

    def _context(self, credential: Credential) -> ssl.SSLContext | bool:
        """The TLS context of the moment; open connections keep the one they were made with."""
        if not self._access.server.startswith("https:"):
            return True
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
            raise ConfigError(BAD_TLS, f"no TLS with these certificates: {error}") from error
        return self._contexts[key]

    def _read_ca(self) -> bytes:
        try:
            return read_pem(self._access.ca)
        except OSError:
            if self._ca:
                return self._ca  # the file is being replaced
            raise


_BUFFER_BYTES = 256 * 1024
_HEADER_BYTES = 64 * 1024
_NEVER_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
)


class _Broken(aiohttp.ClientError):
    """The connection broke after the request had been sent, in whole or in part."""


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Hide a broken connection from aiohttp, which would send a PUT or DELETE once more."""
    try:
        return await handler(request)
    except _NEVER_SENT:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Broken(str(error)) from error


async def _whole(answer: aiohttp.ClientResponse) -> Response:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Response(status=answer.status, body=await answer.read(), headers=headers)


def _message(error: Exception) -> str:
    return str(error) or "no answer in time"
