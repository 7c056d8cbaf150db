"""A running webhook server, and helpers that look into it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from spotalis.web.event_loop_budget import EventLoopBudget
from spotalis.web.listener import Listener
from spotalis.webhook.handler import Handler, HandlerResponse
from spotalis.webhook.server import ServerLimits, WebhookServer
from spotalis.webhook.serving_certificate import ServingCertificate
from tests.support.manual_clock import ManualClock

MIB = 1024 * 1024


async def answer_length(body: bytes) -> HandlerResponse:
    """Answer as if every client were known, except for the body ``unknown``."""
    return HandlerResponse(b'{"length":%d}' % len(body), is_known_client=body != b"unknown")


@dataclass
class Served:
    """A running server and the results that it reported."""

    server: WebhookServer
    port: int
    results: list[str] = field(default_factory=list)

    @property
    def listener(self) -> Listener:
        assert self.server._listener is not None
        return self.server._listener

    @property
    def body_bytes(self) -> int:
        """What was read of large bodies that are not answered yet."""
        return self.server._bodies._total

    async def wait_for_requests(self, count: int) -> None:
        """Wait until the heads of this many requests have arrived."""
        while len(self.server._requests) < count:
            await asyncio.sleep(0)

    async def wait_for_connections(self, count: int) -> None:
        """Wait until this many connections are open."""
        while len(self.listener._open) < count:
            await asyncio.sleep(0)


@asynccontextmanager
async def serving(
    handler: Handler = answer_length,
    certificate: ServingCertificate | None = None,
    budget: EventLoopBudget | None = None,
    **limits: Any,
) -> AsyncIterator[Served]:
    results: list[str] = []
    server = WebhookServer(
        handler,
        clock=ManualClock(),
        on_request=lambda operation, result, seconds: results.append(result),
        limits=ServerLimits(**limits),
        budget=budget,
    )
    port = await server.start("127.0.0.1", 0, certificate)
    try:
        yield Served(server, port, results)
    finally:
        await server.stop(grace_seconds=1)


class Gate:
    """A handler that waits until it is opened."""

    def __init__(self) -> None:
        self.calls = 0
        self.open = asyncio.Event()
        self.entered_once = asyncio.Event()

    async def __call__(self, body: bytes) -> HandlerResponse:
        self.calls += 1
        self.entered_once.set()
        await self.open.wait()
        return HandlerResponse(b"{}")
