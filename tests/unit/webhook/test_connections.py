"""Which connections the webhook server keeps, and what it keeps of the others in memory."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
import tracemalloc
from asyncio import sslproto
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from spotalis.model.errors import PortInUse
from spotalis.web import connections
from spotalis.web.connections import Stage
from spotalis.web.server import PlainServer
from spotalis.webhook.server import WebhookServer
from spotalis.webhook.serving_certificate import ServingCertificate
from tests.support.free_ports import claim_ports
from tests.support.held_time import held_time
from tests.support.hostile_callers import Attack, half_open, huge_head, slow_body
from tests.support.http_caller import Caller, ask
from tests.support.manual_clock import ManualClock
from tests.support.tls_pairs import a_pair
from tests.support.webhook_server import MIB, Gate, Served, answer_length, serving


def is_of_a_server(item: object) -> bool:
    """Whether an object is a connection of a server, or asyncio's TLS state of one."""
    if isinstance(item, sslproto.SSLProtocol):
        return bool(item._server_side)
    return isinstance(item, connections.Connection) and item.stage is not Stage.HANDSHAKE


async def test_a_connection_without_a_complete_head_is_closed() -> None:
    async with serving(read_timeout_seconds=10) as served:
        with held_time() as time:
            async with Caller(served.port) as slow:
                await slow.send(b"POST /mutate HTTP/1.1\r\nX-Slow: ")
                await served.wait_for_connections(1)
                time.advance(10)
                assert await slow.closed()


async def test_an_idle_connection_is_kept_for_ten_minutes_after_a_request() -> None:
    async with serving(read_timeout_seconds=10) as served, Caller(served.port) as kept:
        with held_time() as time:
            assert (await kept.ask("POST", "/mutate", b"{}")).status == 200
            time.advance(599)
            for _ in range(10):
                await asyncio.sleep(0)
            assert (await kept.ask("POST", "/mutate", b"{}")).status == 200
            time.advance(600)
            assert await kept.closed()


async def test_a_client_is_not_dropped_for_a_delay_of_the_server() -> None:
    async with serving(max_connections=1) as served, Caller(served.port) as first:
        await served.wait_for_connections(1)
        with held_time() as time:
            asked = asyncio.create_task(first.ask("POST", "/mutate", b"{}"))
            second = asyncio.create_task(ask(served.port, "POST", "/mutate", b"{}"))
            await asyncio.sleep(0)
            time.advance(0.3)  # more than an unknown client has; nothing was read meanwhile
            assert (await asked).status == 200
            time.advance(2)  # the idle connection of a known client is dropped
            assert (await second).status == 200
    assert served.results == ["answered", "answered"]


async def test_at_the_limit_a_connection_without_a_request_is_dropped_before_an_older_known_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "_PATIENCE_SECONDS", dict.fromkeys(Stage, 0.0))
    async with serving(max_connections=2) as served, Caller(served.port) as kept:
        assert (await kept.ask("POST", "/mutate", b"{}")).status == 200
        async with Caller(served.port) as silent:
            await silent.send(b"P")
            await served.wait_for_connections(2)
            assert (await ask(served.port, "POST", "/mutate", b"{}")).status == 200
            assert await silent.closed()
            assert (await kept.ask("POST", "/mutate", b"{}")).status == 200


async def test_at_the_limit_a_known_connection_is_kept_while_handshakes_are_in_progress() -> None:
    pair = a_pair()
    certificate = ServingCertificate(pair.key_pair)
    async with (
        serving(certificate=certificate, max_connections=2) as served,
        Caller(served.port, pair.client()) as kept,
    ):
        assert (await kept.ask("POST", "/mutate", b"{}")).status == 200
        with held_time() as time:
            time.advance(2)  # the kept connection is idle for longer than the handshake
            async with Caller(served.port) as silent:
                await silent.send(b"\x16")
                await served.wait_for_connections(2)
                request = ask(served.port, "POST", "/mutate", b"{}", tls=pair.client())
                asked = asyncio.create_task(request)
                await asyncio.wait([asked], timeout=0)
                while not asked.done():
                    time.advance(0.01)
                    await asyncio.sleep(0)
                assert (await asked).status == 200
                assert await silent.closed()
            assert (await kept.ask("POST", "/mutate", b"{}")).status == 200


async def test_a_silent_handshake_ends_after_five_seconds() -> None:
    certificate = ServingCertificate(a_pair().key_pair)
    async with serving(certificate=certificate) as served:
        with held_time() as time:
            began = time.seconds()
            async with Caller(served.port) as silent:
                await silent.send(b"\x16")
                await served.wait_for_connections(1)
                for _ in range(10):
                    await asyncio.sleep(0)
                time.advance(5)
                assert await silent.closed()
            assert time.seconds() - began == pytest.approx(5)


async def test_a_long_head_is_cut_off() -> None:
    line = b"X-Much: " + b"x" * 8000 + b"\r\n"
    async with serving() as served:
        with held_time() as time:
            began = time.seconds()
            async with Caller(served.port) as caller:
                await caller.send(b"POST /mutate HTTP/1.1\r\n" + 2 * line)
                await served.wait_for_connections(1)
                await caller.send(line)
                assert await caller.closed()
            assert time.seconds() == began, "no deadline closed it"


async def test_at_the_limit_a_known_connection_is_kept_for_a_second() -> None:
    async with (
        serving(max_connections=2) as served,
        Caller(served.port) as kept,
        Caller(served.port) as silent,
    ):
        assert (await kept.ask("POST", "/mutate", b"{}")).status == 200
        await silent.send(b"P")
        assert (await ask(served.port, "POST", "/mutate", b"{}")).status == 200
        assert await silent.closed()
        assert (await kept.ask("POST", "/mutate", b"{}")).status == 200


async def test_at_the_limit_idle_unknown_clients_give_way_before_a_known_one() -> None:
    async with serving(max_connections=3) as served, AsyncExitStack() as stack:
        kept, *unknown = [await stack.enter_async_context(Caller(served.port)) for _ in range(3)]
        assert (await kept.ask("POST", "/mutate", b"{}")).status == 200
        with held_time() as time:
            for caller in unknown:
                assert (await caller.ask("POST", "/mutate", b"unknown")).status == 200
                time.advance(0.1)  # the first one is idle for longer
            time.advance(2)
            for caller in unknown:
                assert (await ask(served.port, "POST", "/mutate", b"unknown")).status == 200
                assert await caller.closed()
                await stack.enter_async_context(late := Caller(served.port))
                assert (await late.ask("POST", "/mutate", b"unknown")).status == 200
            assert (await kept.ask("POST", "/mutate", b"{}")).status == 200


async def test_at_the_limit_a_connection_with_a_missing_body_is_dropped() -> None:
    head = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    async with serving(max_connections=1) as served, Caller(served.port) as slow:
        await slow.send(head + b"Content-Length: 1000\r\n\r\n{")
        assert (await ask(served.port, "POST", "/mutate", b"{}")).status == 200
        assert await slow.closed()
    assert served.results == ["client_disconnected", "answered"]


async def test_at_the_limit_a_request_that_is_being_answered_is_never_dropped() -> None:
    gate = Gate()
    async with serving(gate, max_connections=1) as served:
        first = asyncio.create_task(ask(served.port, "POST", "/mutate", b"{}"))
        await gate.entered_once.wait()
        second = asyncio.create_task(ask(served.port, "POST", "/mutate", b"{}"))
        await asyncio.wait([first, second], timeout=0.5)  # twice the limit for an unknown client
        assert not first.done()
        assert not second.done()
        gate.open.set()
        assert [(await first).status, (await second).status] == [200, 200]


async def test_a_body_that_is_rejected_unread_is_never_in_memory() -> None:
    head = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    piece = bytes(MIB)
    async with serving() as served, Caller(served.port) as caller:
        tracemalloc.start()
        await caller.send(head + b"Content-Length: %d\r\n\r\n" % (100 * MIB))
        try:
            for _ in range(32):
                await caller.send(piece)
        except ConnectionError:
            pass  # the server closed the connection
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert served.results == ["payload_too_large"]
    assert peak < 4 * MIB


async def test_clients_that_disconnect_within_the_body_leave_nothing_in_memory() -> None:
    """Without the garbage collector."""
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
                    while len(served.results) <= number:
                        await asyncio.sleep(0)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            gc.enable()
    assert served.results == ["client_disconnected"] * 4
    assert held < 2 * MIB


@pytest.mark.parametrize(
    ("attack", "tls", "has_arrived"),
    [
        pytest.param(slow_body(30_000), True, lambda served: served.server._requests, id="body"),
        pytest.param(slow_body(7 * MIB), True, lambda served: served.server._requests, id="large"),
        pytest.param(huge_head, True, lambda served: served.results, id="head"),
        pytest.param(half_open, False, lambda served: len(served.listener), id="handshake"),
    ],
)
async def test_clients_that_disconnect_leave_no_connection_in_memory(
    attack: Attack, tls: bool, has_arrived: Callable[[Served], object]
) -> None:
    """Without the garbage collector: asyncio allocates 256 kB of buffers for each."""
    pair = a_pair()
    certificate = ServingCertificate(pair.key_pair)
    async with serving(certificate=certificate) as served:
        gc.collect()
        gc.disable()
        try:
            async with Caller(served.port, pair.client() if tls else None) as caller:
                attacking = asyncio.create_task(attack(caller))
                async with asyncio.timeout(60):
                    while not has_arrived(served):
                        await asyncio.sleep(0)
                caller.writer.transport.abort()
                attacking.cancel()
                await asyncio.wait([attacking])
            async with asyncio.timeout(60):
                while len(served.listener):
                    await asyncio.sleep(0)
            for _ in range(10):  # for tasks to end
                await asyncio.sleep(0)
            assert [item for item in gc.get_objects() if is_of_a_server(item)] == []
        finally:
            gc.enable()


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        pytest.param("", {"127.0.0.1", "127.0.0.2", "::1"}, id="empty"),
        pytest.param("::", {"127.0.0.1", "127.0.0.2", "::1"}, id="all IPv6 addresses"),
        pytest.param("0.0.0.0", {"127.0.0.1", "127.0.0.2"}, id="all IPv4 addresses"),
        pytest.param("127.0.0.2", {"127.0.0.2"}, id="IPv4 address"),
        pytest.param("::1", {"::1"}, id="IPv6 address"),
    ],
)
@pytest.mark.parametrize("kind", ["webhook", "metrics"])
async def test_the_webhook_listens_on_the_same_addresses_as_metrics_and_health(
    kind: str, host: str, reached: set[str]
) -> None:
    assert await reachable(kind, host) == reached


async def test_a_port_of_one_family_that_is_in_use_is_reported_and_nothing_stays_open() -> None:
    claim = claim_ports()
    port = claim.ports[0]
    with socket.create_server(("::1", port), family=socket.AF_INET6):
        for host in ("", "::", "::1"):
            with pytest.raises(PortInUse):
                await a_webhook_server().start(host, port, None)
        socket.create_server(("127.0.0.1", port)).close()
    claim.release()


async def test_a_family_that_is_switched_off_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    create = socket.create_server

    def without_ipv6(address: Any, **options: Any) -> socket.socket:
        if options["family"] == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return create(address, **options)

    monkeypatch.setattr(socket, "create_server", without_ipv6)
    assert await reachable("webhook", "") == {"127.0.0.1", "127.0.0.2"}
    with pytest.raises(OSError, match="not supported"):
        await a_webhook_server().start("::1", 0, None)


def a_webhook_server() -> WebhookServer:
    return WebhookServer(answer_length, clock=ManualClock(), on_request=lambda *_: None)


async def reachable(kind: str, host: str) -> set[str]:
    """The loopback addresses on which a server accepts connections."""
    claim = claim_ports()
    port = claim.ports[0]
    webhook, plain = a_webhook_server(), PlainServer({}, clock=ManualClock())
    if kind == "webhook":
        await webhook.start(host, port, None)
    else:
        await plain.start(host, port)
    found = set()
    try:
        for address in ("127.0.0.1", "127.0.0.2", "::1"):
            try:
                _, writer = await asyncio.open_connection(address, port)
            except ConnectionRefusedError:
                continue
            found.add(address)
            writer.close()
    finally:
        await webhook.stop(grace_seconds=1)
        await plain.stop()
        claim.release()
    return found
