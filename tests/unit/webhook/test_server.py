"""The webhook server with well-behaved clients and with clients that break the rules."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web

from spotalis.model.errors import PortInUse
from spotalis.webhook.errors import ErrorCode, RequestRejected
from spotalis.webhook.handler import HandlerResponse
from spotalis.webhook.server import WebhookServer
from spotalis.webhook.serving_certificate import ServingCertificate
from tests.support.held_time import held_time
from tests.support.http_caller import Caller, ask
from tests.support.manual_clock import ManualClock
from tests.support.tls_pairs import a_pair
from tests.support.webhook_server import MIB, Gate, answer_length, serving


async def test_a_request_is_answered_with_the_result_of_the_handler() -> None:
    async with serving() as served:
        reply = await ask(served.port, "POST", "/mutate?timeout=2s", b"12345")
    assert (reply.status, reply.json()) == (200, {"length": 5})
    assert reply.headers["content-type"] == "application/json"
    assert served.results == ["answered"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "code"),
    [
        pytest.param("POST", "/", {}, b"{}", 404, "NOT_FOUND", id="unknown path"),
        pytest.param("POST", "/mutate/", {}, b"{}", 404, "NOT_FOUND", id="trailing slash"),
        pytest.param("GET", "/mutate", {}, None, 405, "METHOD_NOT_ALLOWED", id="GET"),
        pytest.param("PUT", "/mutate", {}, b"{}", 405, "METHOD_NOT_ALLOWED", id="PUT"),
        pytest.param(
            "POST",
            "/mutate",
            {"Content-Type": "text/plain"},
            b"{}",
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            id="not JSON",
        ),
        pytest.param(
            "POST",
            "/mutate",
            {"Content-Type": "application/json-patch+json"},
            b"{}",
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            id="JSON patch",
        ),
        pytest.param(
            "POST",
            "/mutate",
            {"Content-Encoding": "gzip"},
            b"\x1f\x8b",
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            id="compressed body",
        ),
        pytest.param(
            "POST",
            "/mutate",
            {"Content-Encoding": "identity", "content-encoding": "gzip"},
            b"\x1f\x8b",
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            id="second Content-Encoding",
        ),
        pytest.param(
            "POST",
            "/mutate",
            {"content-type": "text/plain"},
            b"{}",
            400,
            "INVALID_REQUEST",
            id="second Content-Type",
        ),
        pytest.param(
            "POST",
            "/mutate",
            {"Content-Length": str(8 * MIB)},
            b"",
            413,
            "PAYLOAD_TOO_LARGE",
            id="too large",
        ),
        pytest.param(
            "POST", "/mutate", {"X-Much": "x" * 9000}, b"{}", 400, "INVALID_REQUEST", id="long head"
        ),
        pytest.param("PO ST", "/mutate", {}, b"{}", 400, "INVALID_REQUEST", id="not HTTP"),
    ],
)
async def test_an_invalid_request_gets_the_json_error_body(
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
    assert served.results == [code.lower()]


async def test_a_405_names_the_allowed_method() -> None:
    async with serving() as served:
        reply = await ask(served.port, "GET", "/mutate")
    assert reply.headers["allow"] == "POST"


async def test_an_invalid_admission_review_is_a_400_with_details() -> None:
    async def reject(body: bytes) -> HandlerResponse:
        raise RequestRejected(
            ErrorCode.INVALID_REQUEST, "not an AdmissionReview", details={"at": "$.kind"}
        )

    async with serving(reject) as served:
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


async def test_a_failing_handler_is_a_logged_500_and_keeps_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def picky(body: bytes) -> HandlerResponse:
        if body == b"bad":
            raise RuntimeError("a bug")
        return HandlerResponse(b"{}")

    async with serving(picky) as served, Caller(served.port) as caller:
        with caplog.at_level(logging.ERROR):
            failed = await caller.ask("POST", "/mutate", b"bad")
        fine = await caller.ask("POST", "/mutate", b"good")
    assert failed.status == 500
    assert failed.json()["error"]["code"] == "INTERNAL_ERROR"
    assert "a bug" not in failed.body.decode(), "only the log contains the error"
    assert "a bug" in caplog.text
    assert fine.status == 200
    assert served.results == ["internal_error", "answered"]


async def test_a_body_of_seven_mebibytes_is_answered() -> None:
    async with serving() as served:
        reply = await ask(served.port, "POST", "/mutate", b"x" * (7 * MIB))
    assert (reply.status, reply.json()) == (200, {"length": 7 * MIB})


async def test_a_chunked_body_is_cut_off_at_the_limit() -> None:
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


async def test_a_chunked_body_within_the_limit_is_answered() -> None:
    async with serving() as served, Caller(served.port) as caller:
        await caller.send(
            b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        )
        reply = await caller.answer()
    assert reply.json() == {"length": 3}


async def test_a_client_that_expects_100_continue_receives_it() -> None:
    head = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    async with serving() as served, Caller(served.port) as caller:
        await caller.send(head + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert (await caller.answer()).status == 100
        await caller.send(b"abc")
        assert (await caller.answer()).json() == {"length": 3}


async def test_a_client_that_disconnects_before_100_continue_is_not_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def disconnect(request: web.BaseRequest) -> None:
        assert request.transport is not None
        request.transport.abort()

    head = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    async with serving() as served, Caller(served.port) as caller:
        monkeypatch.setattr(served.server, "_check_head", disconnect)
        await caller.send(head + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert await caller.closed()
    assert served.results == ["client_disconnected"]
    assert caplog.messages == []


async def test_a_client_whose_tls_breaks_within_the_body_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pair = a_pair()
    head = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    async with (
        serving(certificate=ServingCertificate(pair.key_pair)) as served,
        Caller(served.port, pair.client()) as caller,
    ):
        await caller.send(head + b"Content-Length: 1000\r\n\r\n{")
        await served.wait_for_requests(1)
        tls: Any = caller.writer.transport
        tls._ssl_protocol._transport.write(b"no TLS")
        while not served.results:
            await asyncio.sleep(0)
    assert served.results == ["client_disconnected"]
    assert caplog.messages == []


async def test_a_missing_body_is_a_408_and_does_not_delay_other_requests() -> None:
    head = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    async with serving(read_timeout_seconds=10) as served:
        with held_time() as time:
            async with Caller(served.port) as slow:
                await slow.send(head + b"Content-Length: 1000\r\n\r\n{")
                await served.wait_for_requests(1)
                time.advance(9)
                other = await ask(served.port, "POST", "/mutate", b"12")
                assert served.results == ["answered"], "the slow request has not ended"
                time.advance(1)
                cut = await slow.answer()
    assert other.status == 200
    assert (cut.status, cut.json()["error"]["code"]) == (408, "REQUEST_TIMEOUT")
    assert cut.headers["connection"] == "close"


async def test_requests_after_a_disconnected_client_are_answered() -> None:
    async with serving() as served:
        async with Caller(served.port) as caller:
            await caller.send(
                b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: 1000\r\n\r\n{"
            )
        reply = await ask(served.port, "POST", "/mutate", b"{}")
    assert reply.status == 200


async def test_two_hundred_simultaneous_requests_are_answered() -> None:
    gate = Gate()
    async with serving(gate) as served:
        asks = [asyncio.create_task(ask(served.port, "POST", "/mutate", b"{}")) for _ in range(200)]
        while gate.calls < 128:  # one for each connection
            await asyncio.sleep(0)
        gate.open.set()
        replies = await asyncio.gather(*asks)
    assert [reply.status for reply in replies] == [200] * 200
    assert gate.calls == 200


async def test_requests_that_wait_do_not_delay_others() -> None:
    gate = Gate()

    async def wait_unless_quick(body: bytes) -> HandlerResponse:
        return HandlerResponse(b"{}") if body == b"quick" else await gate(body)

    async with serving(wait_unless_quick) as served:
        asks = [asyncio.create_task(ask(served.port, "POST", "/mutate", b"{}")) for _ in range(100)]
        while gate.calls < 100:
            await asyncio.sleep(0)
        assert (await ask(served.port, "POST", "/mutate", b"quick")).status == 200
        gate.open.set()
        await asyncio.gather(*asks)


async def test_a_handler_that_never_returns_is_a_504() -> None:
    gate = Gate()
    async with serving(gate, answer_timeout_seconds=0.05) as served:
        reply = await ask(served.port, "POST", "/mutate", b"{}")
    assert (reply.status, reply.json()["error"]["code"]) == (504, "DEADLINE_EXCEEDED")


async def test_missing_large_bodies_do_not_delay_ordinary_requests() -> None:
    head = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    async with serving(read_timeout_seconds=10) as served:
        with held_time() as time:
            callers = [Caller(served.port) for _ in range(8)]
            for caller in callers:
                await caller.__aenter__()
                await caller.send(head + b"Content-Length: %d\r\n\r\n{" % (7 * MIB))
            await served.wait_for_requests(8)
            ordinary = await ask(served.port, "POST", "/mutate", b"{}")
            time.advance(10)
            large = await asyncio.gather(*(caller.answer() for caller in callers))
            for caller in callers:
                await caller.__aexit__(None, None, None)
    assert ordinary.status == 200
    assert {reply.status for reply in large} == {408}


async def test_at_the_limit_the_oldest_incomplete_large_body_gives_way() -> None:
    head = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    begun = head + b"Content-Length: %d\r\n\r\n" % (7 * MIB) + b"x" * (6 * MIB)
    async with serving() as served, Caller(served.port) as oldest, Caller(served.port) as second:
        await oldest.send(begun)
        await served.wait_for_requests(1)
        await second.send(begun)
        await served.wait_for_requests(2)
        reply = await ask(served.port, "POST", "/mutate", b"x" * (7 * MIB))
        rejected = await oldest.answer()
        await second.send(b"x" * MIB)
        kept = await second.answer()
    assert (reply.status, kept.status) == (200, 200)
    assert (rejected.status, rejected.json()["error"]["code"]) == (503, "OVERLOADED")
    assert (rejected.headers["retry-after"], rejected.headers["connection"]) == ("1", "close")


async def test_a_large_body_waits_while_complete_ones_reach_the_limit() -> None:
    gate = Gate()
    async with serving(gate) as served:
        body = b"x" * (7 * MIB)
        first = [asyncio.create_task(ask(served.port, "POST", "/mutate", body)) for _ in range(2)]
        while gate.calls < 2:
            await asyncio.sleep(0)
        third = asyncio.create_task(ask(served.port, "POST", "/mutate", body))
        await served.wait_for_requests(3)
        gate.open.set()
        replies = await asyncio.gather(*first, third)
    assert [reply.status for reply in replies] == [200] * 3


async def test_slow_large_bodies_do_not_delay_other_large_bodies() -> None:
    head = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    async with serving() as served:
        with held_time():
            async with AsyncExitStack() as stack:
                for _ in range(8):
                    slow = await stack.enter_async_context(Caller(served.port))
                    await slow.send(head + b"Content-Length: %d\r\n\r\n{" % (7 * MIB))
                await served.wait_for_requests(8)
                reply = await ask(served.port, "POST", "/mutate", b"x" * 100_000)
    assert reply.status == 200


async def test_consecutive_large_bodies_are_answered() -> None:
    async with serving() as served:
        replies = [await ask(served.port, "POST", "/mutate", b"x" * 100_000) for _ in range(6)]
    assert [reply.status for reply in replies] == [200] * 6


async def test_stop_finishes_the_requests_in_flight_and_closes_their_connections() -> None:
    gate = Gate()
    async with serving(gate) as served, Caller(served.port) as busy, Caller(served.port) as idle:
        asked = asyncio.create_task(busy.ask("POST", "/mutate", b"{}"))
        await gate.entered_once.wait()
        await idle.send(b"P")
        await served.wait_for_connections(2)
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


async def test_stop_cancels_requests_after_the_grace_period() -> None:
    gate = Gate()
    async with serving(gate) as served, Caller(served.port) as busy:
        asked = asyncio.create_task(busy.ask("POST", "/mutate", b"{}"))
        await gate.entered_once.wait()
        await served.server.stop(grace_seconds=0.05)
        with pytest.raises(asyncio.IncompleteReadError):
            await asked


async def test_stop_does_nothing_a_second_time_or_before_the_start() -> None:
    server = WebhookServer(answer_length, clock=ManualClock())
    await server.stop(1)
    await server.start("127.0.0.1", 0, None)
    assert server.running
    await server.stop(1)
    await server.stop(1)
    assert not server.running


async def test_a_port_in_use_is_reported() -> None:
    async with serving() as served:
        other = WebhookServer(answer_length, clock=ManualClock())
        with pytest.raises(PortInUse, match=f"port {served.port} on 127.0.0.1") as caught:
            await other.start("127.0.0.1", served.port, None)
        assert (caught.value.address, caught.value.port) == ("127.0.0.1", served.port)
