"""The HTTP server and the webhook caller: failures of connections."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web

from spotalis.embedded.http import HttpsWebhookCaller, _stream
from spotalis.embedded.server.admission import WebhookFailed


class _Disconnecting:
    """A stream whose client disconnects just before the next chunk is written."""

    def __init__(self, request: web.Request) -> None:
        self._transport = request.transport
        self.closed = False

    async def next(self) -> bytes:
        assert self._transport is not None
        self._transport.abort()
        return b"a chunk"

    def close(self) -> None:
        self.closed = True


async def test_a_client_that_disconnects_ends_its_watch_without_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    streams: list[_Disconnecting] = []

    async def watch(request: web.Request) -> web.StreamResponse:
        streams.append(_Disconnecting(request))
        return await _stream(request, web.StreamResponse(), streams[0])

    app = web.Application()
    app.router.add_get("/watch", watch)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                async with session.get(f"http://127.0.0.1:{port}/watch") as response:
                    await response.read()
    finally:
        await runner.cleanup()
    assert [stream.closed for stream in streams] == [True]
    assert caplog.messages == []


async def test_calls_after_close_fail_without_a_connection() -> None:
    """Controllers may still create pods while the cluster shuts down."""
    closed_port = {"url": "https://127.0.0.1:1/mutate"}
    used, unused = HttpsWebhookCaller(), HttpsWebhookCaller()
    with pytest.raises(WebhookFailed, match="Cannot connect"):
        await used(closed_port, b"{}", 10)
    for caller in (used, unused):
        await caller.close()
        with pytest.raises(WebhookFailed, match="the webhook caller is closed"):
            await caller(closed_port, b"{}", 10)
