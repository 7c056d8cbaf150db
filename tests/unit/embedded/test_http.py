"""The HTTP face: what only sockets can do to it."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web

from spotalis.embedded.http import HttpsWebhookCaller, _streamed
from spotalis.embedded.server.admission import WebhookFailed


class _HangsUp:
    """A stream whose reader leaves just before the next part is written."""

    def __init__(self, request: web.Request) -> None:
        self._transport = request.transport
        self.closed = False

    async def next(self) -> bytes:
        assert self._transport is not None
        self._transport.abort()
        return b"a part"

    def close(self) -> None:
        self.closed = True


async def test_a_reader_that_hangs_up_between_two_parts_ends_its_watch_and_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    streams: list[_HangsUp] = []

    async def watch(request: web.Request) -> web.StreamResponse:
        streams.append(_HangsUp(request))
        return await _streamed(request, web.StreamResponse(), streams[0])

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


async def test_a_call_after_the_end_fails_as_any_call_may_and_opens_nothing() -> None:
    """Controllers go on for a moment while everything ends."""
    nobody = {"url": "https://127.0.0.1:1/mutate"}
    used, unused = HttpsWebhookCaller(), HttpsWebhookCaller()
    with pytest.raises(WebhookFailed, match="Cannot connect"):
        await used(nobody, b"{}", 10)
    for caller in (used, unused):
        await caller.close()
        with pytest.raises(WebhookFailed, match="calls nobody any more"):
            await caller(nobody, b"{}", 10)
