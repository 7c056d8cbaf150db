"""The plain HTTP servers with well-behaved clients and with clients that break the rules."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from spotalis.model.errors import PortInUse
from spotalis.web.exposition import Snapshot, WorkloadRow
from spotalis.web.metrics import Metrics
from spotalis.web.server import PlainServer, metrics_server
from tests.support.held_time import held_time
from tests.support.http_caller import Caller, ask
from tests.support.manual_clock import ManualClock


async def _page(request: web.BaseRequest) -> web.Response:
    return web.Response(text="content")


@asynccontextmanager
async def serving(server: PlainServer) -> AsyncIterator[int]:
    port = await server.start("127.0.0.1", 0)
    try:
        yield port
    finally:
        await server.stop()


def a_server() -> PlainServer:
    async def failing(request: web.BaseRequest) -> web.Response:
        raise RuntimeError("a bug")

    return PlainServer({"/page": _page, "/failing": failing}, clock=ManualClock())


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        pytest.param("GET", "/", 404, "NOT_FOUND", id="unknown path"),
        pytest.param("POST", "/page", 405, "METHOD_NOT_ALLOWED", id="POST"),
        pytest.param("GET", "/failing", 500, "INTERNAL_ERROR", id="failing page"),
        pytest.param("G T", "/page", 400, "INVALID_REQUEST", id="not HTTP"),
    ],
)
async def test_other_requests_get_the_json_error_body(
    method: str, path: str, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(a_server()) as port:
        with caplog.at_level(logging.CRITICAL):
            reply = await ask(port, method, path)
    assert reply.status == status
    assert reply.json()["error"]["code"] == code
    assert reply.json()["timestamp"] == "2026-11-23T10:00:00Z"
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("body", [None, b"unasked"])
async def test_a_response_closes_the_connection(body: bytes | None) -> None:
    async with serving(a_server()) as port, Caller(port) as caller:
        reply = await caller.ask("GET", "/page", body)
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        assert await caller.closed()


async def test_a_port_in_use_is_reported() -> None:
    async with serving(a_server()) as port:
        with pytest.raises(PortInUse, match=f"port {port} on 127.0.0.1"):
            await a_server().start("127.0.0.1", port)


async def test_stop_closes_idle_connections_and_a_second_stop_does_nothing() -> None:
    server = a_server()
    await server.stop()
    port = await server.start("127.0.0.1", 0)
    async with Caller(port) as idle:
        await idle.send(b"GET /page HTTP/1.1\r\n")
        while not len(server._listener or ()):
            await asyncio.sleep(0)
        with held_time() as time:
            began = time.seconds()
            await server.stop()
            assert time.seconds() == began, "stop did not wait for a timer"
        assert await idle.closed()
    await server.stop()


async def test_a_scrape_after_disconnected_clients_succeeds() -> None:
    metrics = Metrics(version="0")
    server = metrics_server(metrics, Snapshot, clock=ManualClock())
    async with serving(server) as port:
        for _ in range(6):
            async with Caller(port) as leaving:
                await leaving.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(60):
            assert (await ask(port, "GET", "/metrics")).status == 200


async def test_a_fifth_scrape_ends_one_whose_client_does_not_read() -> None:
    replicas = [("spot", "ready", 7)] * 10
    rows = [
        WorkloadRow(
            namespace="shop",
            workload=f"w-{number}-{'x' * 200}",
            workload_type="deployment",
            reason="Balanced",
            replicas=replicas,
        )
        for number in range(5000)
    ]
    server = metrics_server(
        Metrics(version="0"), lambda: Snapshot(workloads=rows), clock=ManualClock()
    )
    async with serving(server) as port, AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(Caller(port)) for _ in range(4)]
        for caller in slow:
            await caller.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            # The reader of asyncio's streams stops reading at 128 kB.
        async with asyncio.timeout(25):
            assert (await ask(port, "GET", "/metrics")).status == 200
        assert server._listener is not None
        assert len(server._listener) < 4


class _Broken(Sequence[WorkloadRow]):
    """Rows that fail while they are read."""

    def __getitem__(self, index: object) -> Any:
        raise RuntimeError("a bug in a row")

    def __len__(self) -> int:
        return 2


async def test_a_scrape_that_fails_in_the_middle_is_aborted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = metrics_server(
        Metrics(version="0"), lambda: Snapshot(workloads=_Broken()), clock=ManualClock()
    )
    async with serving(server) as port:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await ask(port, "GET", "/metrics")
    assert "a bug in a row" in caplog.text


async def test_a_scrape_that_fails_before_the_first_byte_is_a_500() -> None:
    def failing() -> Snapshot:
        raise RuntimeError("a bug")

    async with serving(metrics_server(Metrics(version="0"), failing, clock=ManualClock())) as port:
        reply = await ask(port, "GET", "/metrics")
    assert (reply.status, reply.json()["error"]["code"]) == (500, "INTERNAL_ERROR")
