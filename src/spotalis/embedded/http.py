"""Serves the embedded API server on a loopback port, and calls webhooks over HTTPS.

The server has no security: a client is ``admin``, or the user NAME if it sends
``Authorization: Bearer NAME``. See SCOPE.md for its intended use.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from spotalis.embedded.server.admission import WebhookFailed
from spotalis.embedded.server.api import Api
from spotalis.embedded.server.endpoints import Endpoints
from spotalis.embedded.server.watching import Stream
from spotalis.model.transport import Request

_MAX_BODY_BYTES = 3 * 1024 * 1024
"""The limit of kube-apiserver (apiserver/pkg/server/config.go, MaxRequestBodyBytes)."""
_STOP_SECONDS = 1.0
ADMIN = "admin"


class RunningServer:
    """An API server that is listening; clients use ``url`` or ``kubeconfig_text``."""

    def __init__(self, runner: web.AppRunner, url: str) -> None:
        self._runner = runner
        self.url = url
        self.kubeconfig_text = _kubeconfig(url)

    async def stop(self) -> None:
        """Stop listening and close every connection."""
        await self._runner.cleanup()


async def serve(api: Api, host: str, port: int) -> RunningServer:
    """Serve an API over HTTP/1.1.

    Args:
        api: the server.
        host: a loopback address.
        port: 0 for any free port.

    Raises:
        OSError: the address cannot be bound.
    """
    endpoints = Endpoints(api)

    async def handle(request: web.Request) -> web.StreamResponse:
        received = Request(
            method=request.method,
            path=request.path,
            query=tuple(request.query.items()),
            body=await request.read(),
            content_type=request.headers.get("Content-Type", "application/json"),
        )
        accept = request.headers.get("Accept", "")
        response = await endpoints.handle(received, user=_user(request), accept=accept)
        if response.stream is None:
            return web.Response(
                status=response.status, body=response.body, headers=response.headers
            )
        streamed = web.StreamResponse(status=response.status, headers=response.headers)
        return await _stream(request, streamed, response.stream)

    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(
        app, access_log=None, handler_cancellation=True, shutdown_timeout=_STOP_SECONDS
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    bound_port = runner.addresses[0][1]
    return RunningServer(runner, f"http://{host}:{bound_port}")


def _user(request: web.Request) -> str:
    scheme, _, name = request.headers.get("Authorization", "").partition(" ")
    return name if scheme == "Bearer" and name else ADMIN


async def _stream(
    request: web.Request, response: web.StreamResponse, stream: Stream
) -> web.StreamResponse:
    """Write a watch to the client until either side ends it."""
    try:
        response.enable_chunked_encoding()
        await response.prepare(request)
        while chunk := await stream.next():
            await response.write(chunk)
        await response.write_eof()
    except ConnectionError:
        pass  # the client disconnected, which is how watches usually end
    finally:
        stream.close()
    return response


def _kubeconfig(url: str) -> str:
    name = {"name": "embedded"}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{**name, "cluster": {"server": url}}],
        "contexts": [{**name, "context": {"cluster": "embedded", "user": ADMIN}}],
        "users": [{"name": ADMIN, "user": {}}],
        "current-context": "embedded",
    }
    return msgspec.json.format(msgspec.json.encode(document)).decode() + "\n"


class HttpsWebhookCaller:
    """Calls webhooks as the API server does, and reuses connections."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._closed = False

    async def __call__(
        self, client_config: Mapping[str, Any], body: bytes, seconds: float
    ) -> bytes:
        """Call a webhook (:data:`spotalis.embedded.server.admission.WebhookCaller`)."""
        url = client_config.get("url")
        if not url:
            raise WebhookFailed("services cannot be resolved; use clientConfig.url")
        if self._closed:  # controllers may still create pods while the cluster shuts down
            raise WebhookFailed(f"Post {url}: the webhook caller is closed")
        if self._session is None:
            self._session = aiohttp.ClientSession()
        try:
            async with self._session.post(
                url,
                params={"timeout": f"{seconds:g}s"},
                data=body,
                headers={"Content-Type": "application/json", "Accept": "application/json"},
                ssl=self._context(client_config.get("caBundle") or ""),
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as response:
                content = await response.read()
        except aiohttp.ClientError as failed:
            raise WebhookFailed(f"Post {url}: {failed}") from None
        if response.status != 200:
            why = 'an error on the server ("unknown") has prevented the request from succeeding'
            raise WebhookFailed(why)
        return content

    async def close(self) -> None:
        """Close every connection; later calls fail."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
            await asyncio.sleep(0)  # lets the transports close

    def _context(self, bundle: str) -> ssl.SSLContext:
        """The TLS context for a ``caBundle`` (base64 of PEM); if empty, for the system's CAs."""
        if bundle not in self._contexts:
            data = base64.b64decode(bundle).decode() if bundle else None
            self._contexts[bundle] = ssl.create_default_context(cadata=data)
        return self._contexts[bundle]
