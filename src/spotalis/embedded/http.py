"""The HTTP face: the embedded API server on a port of loopback, and its calls to webhooks.

It has no security: whoever reaches the port is ``admin``, or whoever ``Authorization: Bearer NAME``
says. SCOPE.md says what that is good for.
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

_LARGEST_BODY = 3 * 1024 * 1024
"""Bytes; the real server's limit (apiserver/pkg/server/config.go, MaxRequestBodyBytes)."""
_STOP_SECONDS = 1.0
ADMIN = "admin"


class RunningServer:
    """An API server that listens; ``url`` and ``kubeconfig_text`` are for clients."""

    def __init__(self, runner: web.AppRunner, url: str) -> None:
        self._runner = runner
        self.url = url
        self.kubeconfig_text = _kubeconfig(url)

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        await self._runner.cleanup()


async def serve(api: Api, host: str, port: int) -> RunningServer:
    """Serve an API over HTTP/1.1.

    Args:
        api: the server.
        host: an address of loopback.
        port: 0 leaves it to the system.

    Raises:
        OSError: the address is taken, or not ours.
    """
    endpoints = Endpoints(api)

    async def handle(request: web.Request) -> web.StreamResponse:
        asked = Request(
            method=request.method,
            path=request.path,
            query=tuple(request.query.items()),
            body=await request.read(),
            content_type=request.headers.get("Content-Type", "application/json"),
        )
        accept = request.headers.get("Accept", "")
        answer = await endpoints.answer(asked, user=_user(request), accept=accept)
        if answer.stream is None:
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        return await _streamed(request, response, answer.stream)

    app = web.Application(client_max_size=_LARGEST_BODY)
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
    chosen = runner.addresses[0][1]
    return RunningServer(runner, f"http://{host}:{chosen}")


def _user(request: web.Request) -> str:
    scheme, _, name = request.headers.get("Authorization", "").partition(" ")
    return name if scheme == "Bearer" and name else ADMIN


async def _streamed(
    request: web.Request, response: web.StreamResponse, stream: Stream
) -> web.StreamResponse:
    """Write a watch out until it or its reader ends."""
    try:
        response.enable_chunked_encoding()
        await response.prepare(request)
        while chunk := await stream.next():
            await response.write(chunk)
        await response.write_eof()
    except ConnectionError:
        pass  # the reader hung up between two parts, which is how watches end
    finally:
        stream.close()
    return response


def _kubeconfig(url: str) -> str:
    named = {"name": "embedded"}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{**named, "cluster": {"server": url}}],
        "contexts": [{**named, "context": {"cluster": "embedded", "user": ADMIN}}],
        "users": [{"name": ADMIN, "user": {}}],
        "current-context": "embedded",
    }
    return msgspec.json.format(msgspec.json.encode(document)).decode() + "\n"


class HttpsWebhookCaller:
    """Calls webhooks as the API server does; connections are kept for the next call."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._closed = False

    async def __call__(
        self, client_config: Mapping[str, Any], body: bytes, seconds: float
    ) -> bytes:
        """Send one review; see :data:`spotalis.embedded.server.admission.WebhookCaller`."""
        url = client_config.get("url")
        if not url:
            raise WebhookFailed("no service can be resolved here; use clientConfig.url")
        if self._closed:  # what controllers still do while everything ends must not look like a bug
            raise WebhookFailed(f"Post {url}: this API server calls nobody any more")
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
            ) as answer:
                read = await answer.read()
        except aiohttp.ClientError as failed:
            raise WebhookFailed(f"Post {url}: {failed}") from None
        if answer.status != 200:
            why = 'an error on the server ("unknown") has prevented the request from succeeding'
            raise WebhookFailed(why)
        return read

    async def close(self) -> None:
        """Close every connection; from here on every call fails."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
            await asyncio.sleep(0)  # lets the transports say goodbye

    def _context(self, bundle: str) -> ssl.SSLContext:
        """Trust in a ``caBundle`` (base64 of PEM); none means the system's."""
        if bundle not in self._contexts:
            data = base64.b64decode(bundle).decode() if bundle else None
            self._contexts[bundle] = ssl.create_default_context(cadata=data)
        return self._contexts[bundle]
