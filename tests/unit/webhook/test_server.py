"""The webhook server against callers that follow the rules, and callers that do not."""

from __future__ import annotations

import asyncio
import gc
import logging
import tracemalloc
from asyncio import sslproto
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from spotalis.model.errors import PortInUse
from spotalis.webhook import connections
from spotalis.webhook.server import InvalidAdmissionReview, WebhookServer
from spotalis.webhook.serving_certificate import ServingCertificate
from tests.support.held_time import held_time
from tests.support.hostile_callers import Attack, half_open, huge_head, slow_body
from tests.support.http_caller import Caller, ask
from tests.support.manual_clock import ManualClock
from tests.support.tls_pairs import a_pair

MIB = 1024 * 1024


async def _echo_length(body: bytes) -> bytes:
    return b'{"length":%d}' % len(body)


@dataclass
class Served:
    """A running server and what it observed."""

    server: WebhookServer
    port: int
    observed: list[str] = field(default_factory=list)


@asynccontextmanager
async def serving(
    answer: Callable[[bytes], Awaitable[bytes]] = _echo_length,
    certificate: ServingCertificate | None = None,
    **options: float,
) -> AsyncIterator[Served]:
    observed: list[str] = []
    server = WebhookServer(
        answer,
        clock=ManualClock(),
        observe=lambda result, seconds: observed.append(result),
        **options,  # type: ignore[arg-type]  # all of them are numbers
    )
    port = await server.start("127.0.0.1", 0, certificate)
    try:
        yield Served(server, port, observed)
    finally:
        await server.stop(grace_seconds=1)


async def under_way(served: Served, reviews: int) -> None:
    """Until the heads of so many reviews are in."""
    while len(served.server._reviews) < reviews:
        await asyncio.sleep(0)


async def connected(served: Served, callers: int) -> None:
    """Until so many connections are open."""
    connections = served.server._connections
    assert connections is not None
    while len(connections._open) < callers:
        await asyncio.sleep(0)


def is_a_servers(found: object) -> bool:
    """A connection of a server's, or what asyncio holds of one with TLS."""
    if isinstance(found, sslproto.SSLProtocol):
        return bool(found._server_side)
    return isinstance(found, connections.Connection) and found.asked


def open_connections(served: Served) -> int:
    """How many there are, those in the handshake included."""
    assert served.server._connections is not None
    return len(served.server._connections)


class Gate:
    """An answer that waits until it is let through."""

    def __init__(self) -> None:
        self.entered = 0
        self.most = 0
        self._inside = 0
        self.open = asyncio.Event()
        self.someone_inside = asyncio.Event()

    async def __call__(self, body: bytes) -> bytes:
        self.entered += 1
        self._inside += 1
        self.most = max(self.most, self._inside)
        self.someone_inside.set()
        await self.open.wait()
        self._inside -= 1
        return b"{}"


async def test_a_review_is_answered_with_what_the_answer_returns() -> None:
    async with serving() as served:
        reply = await ask(served.port, "POST", "/mutate?timeout=2s", b"12345")
    assert (reply.status, reply.json()) == (200, {"length": 5})
    assert reply.headers["content-type"] == "application/json"
    assert served.observed == ["answered"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "code"),
    [
        pytest.param("POST", "/", {}, b"{}", 404, "NOT_FOUND", id="another path"),
        pytest.param("POST", "/mutate/", {}, b"{}", 404, "NOT_FOUND", id="a slash too many"),
        pytest.param("GET", "/mutate", {}, None, 405, "METHOD_NOT_ALLOWED", id="GET"),
        pytest.param("PUT", "/mutate", {}, b"{}", 405, "METHOD_NOT_ALLOWED", id="PUT"),
        pytest.param(
            "POST",
            "/mutate",
            {"Content-Type": "text/plain"},
            b"{}",
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            id="a content type that is not JSON",
        ),
        pytest.param(
            "POST",
            "/mutate",
            {"Content-Type": "application/json-patch+json"},
            b"{}",
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            id="a content type that only begins like JSON",
        ),
        pytest.param(
            "POST",
            "/mutate",
            {"Content-Encoding": "gzip"},
            b"\x1f\x8b",
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            id="a compressed body",
        ),
        pytest.param(
            "POST",
            "/mutate",
            {"Content-Length": str(8 * MIB)},
            b"",
            413,
            "PAYLOAD_TOO_LARGE",
            id="a length beyond the limit",
        ),
        pytest.param(
            "POST", "/mutate", {"X-Much": "x" * 9000}, b"{}", 400, "INVALID_REQUEST", id="long head"
        ),
        pytest.param("PO ST", "/mutate", {}, b"{}", 400, "INVALID_REQUEST", id="no HTTP at all"),
    ],
)
async def test_a_request_that_is_no_review_gets_the_error_json(
    method: str, path: str, headers: dict[str, str], body: bytes | None, status: int, code: str
) -> None:
    async with serving() as served:
        reply = await ask(served.port, method, path, body, headers=headers)
    assert reply.status == status
    assert reply.headers["content-type"] == "application/json"
    assert reply.json()["error"]["code"] == code
    assert reply.json()["error"]["message"]
    assert isinstance(reply.json()["error"]["details"], dict)
    assert reply.json()["timestamp"] == "2026-11-23T10:00:00Z"
    assert served.observed == [code.lower()]


async def test_a_wrong_method_is_told_the_right_one() -> None:
    async with serving() as served:
        reply = await ask(served.port, "GET", "/mutate")
    assert reply.headers["allow"] == "POST"


async def test_a_bad_review_is_answered_with_400_and_its_details() -> None:
    async def unreadable(body: bytes) -> bytes:
        raise InvalidAdmissionReview("not an AdmissionReview", {"at": "$.kind"})

    async with serving(unreadable) as served:
        reply = await ask(served.port, "POST", "/mutate", b"{}")
    assert reply.status == 400
    assert reply.json() == {
        "error": {
            "code": "INVALID_REQUEST",
            "message": "not an AdmissionReview",
            "details": {"at": "$.kind"},
        },
        "timestamp": "2026-11-23T10:00:00Z",
    }


async def test_a_failing_answer_is_a_logged_500_and_the_connection_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def picky(body: bytes) -> bytes:
        if body == b"bad":
            raise RuntimeError("a bug")
        return b"{}"

    async with serving(picky) as served, Caller(served.port) as caller:
        with caplog.at_level(logging.ERROR):
            failed = await caller.ask("POST", "/mutate", b"bad")
        fine = await caller.ask("POST", "/mutate", b"good")
    assert failed.status == 500
    assert failed.json()["error"]["code"] == "INTERNAL_ERROR"
    assert "a bug" not in failed.body.decode(), "what went wrong is for the log alone"
    assert "a bug" in caplog.text
    assert fine.status == 200
    assert served.observed == ["internal_error", "answered"]


async def test_seven_mebibytes_are_a_review_like_any_other() -> None:
    async with serving() as served:
        reply = await ask(served.port, "POST", "/mutate", b"x" * (7 * MIB))
    assert (reply.status, reply.json()) == (200, {"length": 7 * MIB})


async def test_a_body_without_a_length_is_cut_off_at_the_limit() -> None:
    chunk = b"%x\r\n%s\r\n" % (MIB, b"x" * MIB)
    async with serving() as served, Caller(served.port) as caller:
        await caller.send(
            b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(8):
            await caller.send(chunk)
        reply = await caller.answer()
    assert (reply.status, reply.json()["error"]["details"]) == (413, {"limit": 7 * MIB})
    assert reply.headers["connection"] == "close"


async def test_a_body_without_a_length_within_the_limit_is_answered() -> None:
    async with serving() as served, Caller(served.port) as caller:
        await caller.send(
            b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        )
        reply = await caller.answer()
    assert reply.json() == {"length": 3}


async def test_a_caller_that_asks_first_is_told_to_go_on() -> None:
    head = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    async with serving() as served, Caller(served.port) as caller:
        await caller.send(head + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert (await caller.answer()).status == 100
        await caller.send(b"abc")
        assert (await caller.answer()).json() == {"length": 3}


async def test_a_caller_that_asks_first_and_hangs_up_is_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def hang_up(request: web.BaseRequest) -> None:
        assert request.transport is not None
        request.transport.abort()

    head = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    async with serving() as served, Caller(served.port) as caller:
        monkeypatch.setattr(served.server, "_check", hang_up)
        await caller.send(head + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert await caller.closed()
    assert served.observed == ["caller_gone"]
    assert caplog.messages == []


async def test_a_caller_whose_tls_breaks_in_mid_body_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pair = a_pair()
    head = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    async with (
        serving(certificate=ServingCertificate(pair.cert_pem, pair.key_pem)) as served,
        Caller(served.port, pair.client()) as caller,
    ):
        await caller.send(head + b"Content-Length: 1000\r\n\r\n{")
        await under_way(served, 1)
        tls: Any = caller.writer.transport
        tls._ssl_protocol._transport.write(b"no TLS")
        while not served.observed:
            await asyncio.sleep(0)
    assert served.observed == ["caller_gone"]
    assert caplog.messages == []


async def test_a_body_that_does_not_come_is_a_408_and_disturbs_nobody() -> None:
    head = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    async with serving(read_timeout_seconds=10) as served:
        with held_time() as time:
            async with Caller(served.port) as slow:
                await slow.send(head + b"Content-Length: 1000\r\n\r\n{")
                await under_way(served, 1)
                time.advance(9)
                other = await ask(served.port, "POST", "/mutate", b"12")
                assert served.observed == ["answered"], "the slow one is not over yet"
                time.advance(1)
                cut = await slow.answer()
    assert other.status == 200
    assert (cut.status, cut.json()["error"]["code"]) == (408, "REQUEST_TIMEOUT")
    assert cut.headers["connection"] == "close"


async def test_a_connection_that_never_sends_a_whole_head_is_closed() -> None:
    async with serving(read_timeout_seconds=10) as served:
        with held_time() as time:
            async with Caller(served.port) as slow:
                await slow.send(b"POST /mutate HTTP/1.1\r\nX-Slow: ")
                await connected(served, 1)
                time.advance(10)
                assert await slow.closed()


async def test_a_caller_that_goes_away_leaves_the_server_well() -> None:
    async with serving() as served:
        async with Caller(served.port) as caller:
            await caller.send(
                b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: 1000\r\n\r\n{"
            )
        reply = await ask(served.port, "POST", "/mutate", b"{}")
    assert reply.status == 200


async def test_two_hundred_reviews_at_once_are_all_answered_so_many_at_a_time() -> None:
    gate = Gate()
    async with serving(gate, max_concurrent=16) as served:
        asks = [asyncio.create_task(ask(served.port, "POST", "/mutate", b"{}")) for _ in range(200)]
        await gate.someone_inside.wait()
        gate.open.set()
        replies = await asyncio.gather(*asks)
    assert [reply.status for reply in replies] == [200] * 200
    assert gate.entered == 200
    assert gate.most <= 16


async def test_whose_request_waited_while_we_stood_still_is_not_taken_for_silent() -> None:
    async with serving(max_connections=1) as served, Caller(served.port) as first:
        await connected(served, 1)
        with held_time() as time:
            asked = asyncio.create_task(first.ask("POST", "/mutate", b"{}"))
            second = asyncio.create_task(ask(served.port, "POST", "/mutate", b"{}"))
            await asyncio.sleep(0)
            time.advance(0.3)  # more than a stranger has, and nothing was read meanwhile
            assert (await asked).status == 200
            time.advance(2)  # an idle connection of a known caller makes room
            assert (await second).status == 200
    assert served.observed == ["answered", "answered"]


async def test_an_answer_that_never_comes_is_a_504() -> None:
    gate = Gate()
    async with serving(gate, answer_timeout_seconds=0.05) as served:
        reply = await ask(served.port, "POST", "/mutate", b"{}")
    assert (reply.status, reply.json()["error"]["code"]) == (504, "DEADLINE_EXCEEDED")


async def test_large_bodies_that_do_not_come_hold_up_no_ordinary_review() -> None:
    head = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    async with serving(read_timeout_seconds=10) as served:
        with held_time() as time:
            callers = [Caller(served.port) for _ in range(8)]
            for caller in callers:
                await caller.__aenter__()
                await caller.send(head + b"Content-Length: %d\r\n\r\n{" % (7 * MIB))
            await under_way(served, 8)
            ordinary = await ask(served.port, "POST", "/mutate", b"{}")
            time.advance(10)
            large = await asyncio.gather(*(caller.answer() for caller in callers))
            for caller in callers:
                await caller.__aexit__(None, None, None)
    assert ordinary.status == 200
    assert {reply.status for reply in large} <= {408, 503}


async def test_a_large_body_that_finds_no_room_in_time_is_a_503_to_be_tried_again() -> None:
    gate = Gate()
    async with serving(gate, read_timeout_seconds=5, answer_timeout_seconds=10) as served:
        body = b"x" * 100_000
        with held_time() as time:
            asks = [
                asyncio.create_task(ask(served.port, "POST", "/mutate", body)) for _ in range(3)
            ]
            await under_way(served, 3)
            while gate.entered < 2:
                await asyncio.sleep(0)
            time.advance(5)
            done, held = await asyncio.wait(asks, return_when=asyncio.FIRST_COMPLETED)
            gate.open.set()
            await asyncio.wait(held)
        assert [(await one).status for one in held] == [200] * 2
        (refused,) = [await one for one in done]
    assert (refused.status, refused.json()["error"]["code"]) == (503, "OVERLOADED")
    assert refused.headers["retry-after"] == "1"


async def test_large_bodies_one_after_the_other_are_all_answered() -> None:
    async with serving() as served:
        replies = [await ask(served.port, "POST", "/mutate", b"x" * 100_000) for _ in range(6)]
    assert [reply.status for reply in replies] == [200] * 6


async def test_when_full_a_connection_that_never_asked_makes_room_before_an_older_one_that_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "_IDLE_SECONDS", 0.0)
    monkeypatch.setattr(connections, "_STRANGER_SECONDS", 0.0)
    async with serving(max_connections=2) as served, Caller(served.port) as kept:
        assert (await kept.ask("POST", "/mutate", b"{}")).status == 200
        async with Caller(served.port) as silent:
            open_now = served.server._connections
            assert open_now is not None
            while len(open_now._open) < 2:
                await asyncio.sleep(0)
            assert (await ask(served.port, "POST", "/mutate", b"{}")).status == 200
            assert await silent.closed()
            assert (await kept.ask("POST", "/mutate", b"{}")).status == 200


async def test_when_full_a_connection_in_use_is_left_alone_for_a_second() -> None:
    async with (
        serving(max_connections=2) as served,
        Caller(served.port) as kept,
        Caller(served.port) as silent,
    ):
        assert (await kept.ask("POST", "/mutate", b"{}")).status == 200
        assert (await ask(served.port, "POST", "/mutate", b"{}")).status == 200
        assert await silent.closed()
        assert (await kept.ask("POST", "/mutate", b"{}")).status == 200


async def test_when_full_a_body_that_does_not_come_makes_room_too() -> None:
    head = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    async with serving(max_connections=1) as served, Caller(served.port) as slow:
        await slow.send(head + b"Content-Length: 1000\r\n\r\n{")
        assert (await ask(served.port, "POST", "/mutate", b"{}")).status == 200
        assert await slow.closed()
    assert served.observed == ["caller_gone", "answered"]


async def test_when_full_a_review_being_answered_is_never_dropped() -> None:
    gate = Gate()
    async with serving(gate, max_connections=1) as served:
        first = asyncio.create_task(ask(served.port, "POST", "/mutate", b"{}"))
        await gate.someone_inside.wait()
        second = asyncio.create_task(ask(served.port, "POST", "/mutate", b"{}"))
        await asyncio.wait([first, second], timeout=0.5)  # twice what a stranger is given
        assert not first.done()
        assert not second.done()
        gate.open.set()
        assert [(await first).status, (await second).status] == [200, 200]


async def test_what_is_refused_unread_never_gets_into_memory() -> None:
    head = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    piece = bytes(MIB)
    async with serving() as served, Caller(served.port) as caller:
        tracemalloc.start()
        await caller.send(head + b"Content-Length: %d\r\n\r\n" % (100 * MIB))
        try:
            for _ in range(32):
                await caller.send(piece)
        except ConnectionError:
            pass  # cut off already
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert served.observed == ["payload_too_large"]
    assert peak < 4 * MIB


async def test_callers_that_go_away_in_mid_body_leave_nothing_in_memory() -> None:
    """Whether or not the collector of cycles comes by."""
    head = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    async with serving() as served:
        gc.disable()
        tracemalloc.start()
        try:
            for number in range(4):
                async with Caller(served.port) as caller:
                    await caller.send(head + b"Content-Length: %d\r\n\r\n" % (7 * MIB))
                    await caller.send(bytes(6 * MIB))
                async with asyncio.timeout(60):
                    while len(served.observed) <= number:
                        await asyncio.sleep(0)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            gc.enable()
    assert served.observed == ["caller_gone"] * 4
    assert held < 2 * MIB


@pytest.mark.parametrize(
    ("attack", "tls", "hit"),
    [
        pytest.param(slow_body(30_000), True, lambda served: served.server._reviews, id="body"),
        pytest.param(slow_body(7 * MIB), True, lambda served: served.server._reviews, id="large"),
        pytest.param(huge_head, True, lambda served: served.observed, id="head"),
        pytest.param(half_open, False, lambda served: open_connections(served), id="handshake"),
    ],
)
async def test_callers_that_go_away_leave_no_connection_in_memory(
    attack: Attack, tls: bool, hit: Callable[[Served], object]
) -> None:
    """Whether or not the collector comes by: asyncio has 256 kB of buffers for each."""
    pair = a_pair()
    certificate = ServingCertificate(pair.cert_pem, pair.key_pem)
    async with serving(certificate=certificate) as served:
        gc.collect()
        gc.disable()
        try:
            async with Caller(served.port, pair.client() if tls else None) as caller:
                attacking = asyncio.create_task(attack(caller))
                async with asyncio.timeout(60):
                    while not hit(served):
                        await asyncio.sleep(0)
                caller.writer.transport.abort()
                attacking.cancel()
                await asyncio.wait([attacking])
            async with asyncio.timeout(60):
                while open_connections(served):
                    await asyncio.sleep(0)
            for _ in range(10):  # turns of the loop, for tasks to end
                await asyncio.sleep(0)
            assert [one for one in gc.get_objects() if is_a_servers(one)] == []
        finally:
            gc.enable()


async def test_stopping_lets_reviews_in_flight_finish_and_ends_their_connections() -> None:
    gate = Gate()
    async with serving(gate) as served, Caller(served.port) as busy, Caller(served.port) as idle:
        asked = asyncio.create_task(busy.ask("POST", "/mutate", b"{}"))
        await gate.someone_inside.wait()
        stopping = asyncio.create_task(served.server.stop(grace_seconds=5))
        assert await idle.closed()
        assert not served.server.running
        with pytest.raises(ConnectionRefusedError):
            await ask(served.port, "POST", "/mutate", b"{}")
        assert not stopping.done()
        gate.open.set()
        reply = await asked
        await stopping
        assert await busy.closed()
    assert (reply.status, reply.headers["connection"]) == (200, "close")


async def test_stopping_cuts_off_what_outlasts_the_grace() -> None:
    gate = Gate()
    async with serving(gate) as served, Caller(served.port) as busy:
        asked = asyncio.create_task(busy.ask("POST", "/mutate", b"{}"))
        await gate.someone_inside.wait()
        await served.server.stop(grace_seconds=0.05)
        with pytest.raises(asyncio.IncompleteReadError):
            await asked


async def test_stopping_twice_or_before_starting_does_nothing() -> None:
    server = WebhookServer(_echo_length, clock=ManualClock(), observe=lambda result, seconds: None)
    await server.stop(1)
    await server.start("127.0.0.1", 0, None)
    assert server.running
    await server.stop(1)
    await server.stop(1)
    assert not server.running


async def test_a_port_in_use_is_named() -> None:
    async with serving() as served:
        other = WebhookServer(_echo_length, clock=ManualClock(), observe=lambda r, s: None)
        with pytest.raises(PortInUse, match=f"port {served.port} on 127.0.0.1") as caught:
            await other.start("127.0.0.1", served.port, None)
        assert (caught.value.address, caught.value.port) == ("127.0.0.1", served.port)
