"""When the webhook server handles what unknown clients send, with measured time as an argument."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from spotalis.web.event_loop_budget import EventLoopBudget
from spotalis.webhook.handler import HandlerResponse
from spotalis.webhook.serving_certificate import ServingCertificate
from tests.support.held_time import HeldTime, held_time
from tests.support.http_caller import Caller, Reply
from tests.support.tls_pairs import Pair, a_pair
from tests.support.webhook_server import MIB, Served, serving

SHARE = 0.25
BURST_SECONDS = 1.0
COSTS = {b"unknown": 0.0, b"costly": 2.0, b"very costly": 20.0}
"""Seconds that a request with this body takes. Clients that send such bodies are unknown,
others known."""


class Handler:
    """Takes time that passes at no other time."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.handled: list[bytes] = []

    async def __call__(self, body: bytes) -> HandlerResponse:
        self.seconds += COSTS.get(body, 0.0)
        self.handled.append(body[:20])
        is_known = body not in COSTS and not body.startswith(b"x")
        return HandlerResponse(b"{}", is_known_client=is_known)


class Clients:
    """Clients of a server whose loop time is held: its budget grows only if a test advances it."""

    def __init__(
        self,
        served: Served,
        time: HeldTime,
        handler: Handler,
        stack: AsyncExitStack,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.served = served
        self.time = time
        self.handled = handler.handled
        self._stack = stack
        self._tls = tls

    async def connect(self) -> Caller:
        return await self._stack.enter_async_context(Caller(self.served.port, self._tls))

    async def answered(self, body: bytes) -> Caller:
        """A client that has sent a request with this body."""
        client = await self.connect()
        assert await ask(client, body) == 200
        return client


@asynccontextmanager
async def clients(pair: Pair | None = None) -> AsyncIterator[Clients]:
    handler = Handler()
    budget = EventLoopBudget(
        share=SHARE, burst_seconds=BURST_SECONDS, timer=lambda: handler.seconds
    )
    certificate = None if pair is None else ServingCertificate(pair.key_pair)
    async with serving(handler, certificate, budget) as served, AsyncExitStack() as stack:
        with held_time() as time:
            tls = None if pair is None else pair.client()
            yield Clients(served, time, handler, stack, tls)


async def ask(client: Caller, body: bytes) -> int:
    return (await client.ask("POST", "/mutate", body)).status


async def expect_answers(client: Caller) -> None:
    """Expect that a client is answered at once, again and again."""
    for _ in range(20):
        assert await ask(client, b"known") == 200


async def test_known_clients_are_answered_while_unknown_ones_wait_for_their_turn() -> None:
    async with clients() as it:
        known, unknown = await it.answered(b"known"), await it.answered(b"unknown")
        await it.answered(b"costly")
        waiting = asyncio.create_task(ask(unknown, b"unknown"))
        await expect_answers(known)
        assert not waiting.done()
        it.time.advance((2.0 - BURST_SECONDS) / SHARE + 0.1)  # pays what was taken
        assert await waiting == 200


async def test_a_client_that_has_taken_little_time_comes_before_one_that_has_taken_much() -> None:
    async with clients() as it:
        known, late = await it.answered(b"known"), await it.answered(b"unknown")
        early = await it.answered(b"costly")
        asks = [asyncio.create_task(ask(early, b"xearly"))]
        await it.served.wait_for_requests(1)
        asks.append(asyncio.create_task(ask(late, b"xlate")))
        await it.served.wait_for_requests(2)
        await expect_answers(known)
        it.time.advance(5)
        assert await asyncio.gather(*asks) == [200, 200]
    assert it.handled[-2:] == [b"xlate", b"xearly"]


async def test_a_request_that_is_rejected_by_its_head_waits_for_its_turn_too() -> None:
    async with clients() as it:
        known, unknown = await it.answered(b"known"), await it.answered(b"unknown")
        await it.answered(b"costly")
        waiting = asyncio.create_task(unknown.ask("GET", "/"))
        await expect_answers(known)
        assert not waiting.done()
        it.time.advance(5)
        assert (await waiting).status == 404


async def test_a_request_without_a_turn_is_a_503_after_ten_seconds() -> None:
    async with clients() as it:
        known, unknown = await it.answered(b"known"), await it.answered(b"unknown")
        await it.answered(b"very costly")
        waiting = asyncio.create_task(unknown.ask("POST", "/mutate", b"unknown"))
        await expect_answers(known)
        it.time.advance(9.9)
        await expect_answers(known)
        assert not waiting.done()
        it.time.advance(0.2)
        reply: Reply = await waiting
        assert (reply.status, reply.json()["error"]["code"]) == (503, "OVERLOADED")
        assert reply.headers["retry-after"] == "1"


async def test_a_large_body_of_an_unknown_client_is_read_in_pieces_each_in_its_turn() -> None:
    body = b"x" * MIB
    async with clients(a_pair()) as it:
        known, unknown = await it.answered(b"known"), await it.answered(b"unknown")
        await it.answered(b"costly")
        waiting = asyncio.create_task(ask(unknown, body))
        await expect_answers(known)
        assert await ask(known, b"known" + body) == 200, "a known client sends as much as it wants"
        assert it.served.body_bytes < 64 * 1024, "a piece, in the turn before the budget was spent"
        it.time.advance(5)
        assert await waiting == 200


async def test_a_new_client_waits_for_its_turn_before_the_tls_handshake() -> None:
    async with clients(a_pair()) as it:
        known = await it.answered(b"known")
        await it.answered(b"costly")
        connections = len(it.served.listener)
        connecting = asyncio.create_task(it.connect())
        await expect_answers(known)
        assert (connecting.done(), len(it.served.listener)) == (False, connections)
        it.time.advance(5)
        assert await ask(await connecting, b"known") == 200
