"""A crowd of hostile callers of one port: ``python -m tests.support.hostile_callers PORT CROWD``.

Each kind of caller repeats one attack against a limit of the server until the process is ended. The
callers run in a process of their own, so that their memory and CPU are not measured.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from tests.support.http_caller import Caller

MIB = 1024 * 1024
LARGEST = 7 * MIB
PIECE = 64 * 1024
HEAD = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
REVIEW = (
    b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"a",'
    b'"resource":{"version":"v1","resource":"pods"},"operation":"CREATE","namespace":"shop",'
    b'"object":{"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet",'
    b'"name":"missing","uid":"missing","controller":true}]},"spec":{%s}}}}'
)
"""A pod of an unknown owner: the lookup takes time, and the request stays in memory meanwhile."""
PAUSE_SECONDS = 0.3
"""Pause between two attacks of a caller, so that other processes get CPU time."""

Attack = Callable[[Caller], Coroutine[Any, Any, None]]


def dense(size: int) -> bytes:
    """An admission request of this size with a value in every three bytes, the largest when
    decoded.
    """
    room = size - len(REVIEW) - 32
    return REVIEW % (b'"tolerations":[' + b",".join([b"{}"] * (room // 3)) + b"]")


def wide(size: int) -> bytes:
    """The same number of values in a field without a declared type."""
    room = size - len(REVIEW) - 32
    return REVIEW % (b'"affinity":{"a":[' + b",".join([b"[]"] * (room // 3)) + b"]}")


def deep(size: int) -> bytes:
    """Opening brackets only."""
    return REVIEW[: REVIEW.index(b"%s")] + b'"affinity":{"a":' + b"[" * size


def sending(body: bytes) -> Attack:
    """Send complete requests repeatedly."""

    async def attack(caller: Caller) -> None:
        while True:
            await caller.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(body))
            for at in range(0, len(body), PIECE):
                await caller.send(body[at : at + PIECE])
            await caller.answer()
            await asyncio.sleep(PAUSE_SECONDS)

    return attack


async def slow_head(caller: Caller) -> None:
    await caller.send(HEAD)
    while True:
        await caller.send(b"X-Slow: 1\r\n")
        await asyncio.sleep(0.5)


def slow_body(size: int) -> Attack:
    """Send a body except its last byte."""

    async def attack(caller: Caller) -> None:
        await caller.send(HEAD + b"Content-Length: %d\r\n\r\n" % size + b"x" * (size - 1))
        await caller.closed()

    return attack


async def without_length(caller: Caller) -> None:
    await caller.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        await caller.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")


async def huge_head(caller: Caller) -> None:
    while True:
        await caller.send(HEAD + b"X-Much: " + b"x" * MIB + b"\r\n\r\n")


async def kept_alive(caller: Caller) -> None:
    await caller.ask("POST", "/mutate", b"{}")
    await caller.closed()


async def half_open(caller: Caller) -> None:
    """Send the first bytes of a TLS ClientHello only."""
    await caller.send(b"\x16\x03\x01\x02\x00\x01")
    await caller.closed()


async def only_handshake(caller: Caller) -> None:
    """Disconnect after a complete TLS handshake."""


async def tiny_records(caller: Caller) -> None:
    """Send a body with a TLS record for each byte."""
    await caller.send(HEAD + b"Content-Length: %d\r\n\r\n" % LARGEST)
    tls: Any = caller.writer.transport
    while True:
        tls._ssl_protocol._write_appdata([b"x"] * 4096)
        await caller.send(b"x")


async def unknown_paths(caller: Caller) -> None:
    """Send requests that are rejected by their head, many at once."""
    while True:
        await caller.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 32)
        for _ in range(32):
            await caller.answer()


async def silent(caller: Caller) -> None:
    """Connect and send nothing."""
    await asyncio.Event().wait()


async def endless_head(caller: Caller) -> None:
    """Send as much of a head as most servers accept, and never its end."""
    await caller.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
    for number in range(60):
        await caller.send(b"X-%d: %s\r\n" % (number, b"x" * 8000))
    await caller.closed()


async def slow_reader(caller: Caller) -> None:
    """Ask for everything and read nothing."""
    caller.writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a read transport
    await caller.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.Event().wait()


async def invented_owners(caller: Caller) -> None:
    """Ask about pods of owners that do not exist, another one each time."""
    for number in itertools.count():
        body = (REVIEW % b"").replace(b'"missing"', b'"invented-%d-%d"' % (id(caller), number))
        await caller.ask("POST", "/mutate", body)
        await asyncio.sleep(PAUSE_SECONDS)


async def odd_names(caller: Caller) -> None:
    """Ask about owners with names that no object can have, and with UIDs of 100 kB."""
    for number in itertools.count():
        body = (REVIEW % b"").replace(b'"name":"missing"', b'"name":"../%d/status"' % number)
        await caller.ask("POST", "/mutate", body)
        await caller.ask("POST", "/mutate", body.replace(b'"missing"', b'"%s"' % (b"u" * 100_000)))
        await asyncio.sleep(PAUSE_SECONDS)


WITHOUT_TLS: set[Attack] = {half_open, silent, endless_head, slow_reader}

CROWDS: dict[str, dict[Attack, int]] = {
    "large": {
        sending(dense(LARGEST)): 10,
        sending(wide(LARGEST)): 8,
        sending(b"[" * LARGEST): 2,
        kept_alive: 80,
    },
    "dense": {sending(dense(30_000)): 80, sending(deep(30_000)): 20},
    "rude": {
        slow_head: 20,
        slow_body(30_000): 20,
        slow_body(LARGEST): 20,
        without_length: 10,
        huge_head: 10,
        half_open: 20,
    },
    "silent": {silent: 384},
    "half-open": {half_open: 384},
    "handshakes": {only_handshake: 384},
    "tiny": {tiny_records: 8},
    "paths": {unknown_paths: 20},
    "idle": {kept_alive: 160},
    "heads": {endless_head: 300},
    "few heads": {endless_head: 100, slow_reader: 8},
    "invented": {invented_owners: 100},
    "all": {
        sending(dense(LARGEST)): 4,
        sending(wide(LARGEST)): 2,
        sending(dense(30_000)): 10,
        slow_head: 20,
        slow_body(30_000): 10,
        slow_body(LARGEST): 10,
        without_length: 4,
        huge_head: 4,
        half_open: 100,
        silent: 100,
        kept_alive: 40,
        invented_owners: 40,
        odd_names: 4,
    },
}
"""Kinds of callers in a crowd, and how many of each."""


async def pressing(port: int, attack: Attack, connected: asyncio.Semaphore) -> None:
    """Attack, and reconnect whenever the server closes the connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    while True:
        try:
            tls = None if attack in WITHOUT_TLS else context
            async with Caller(port, tls) as caller:
                if tls is None:
                    connected.release()
                try:
                    await attack(caller)
                finally:
                    caller.writer.transport.abort()  # a graceful close would wait for unsent data
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the server closed the connection, as expected
        await asyncio.sleep(PAUSE_SECONDS)


async def come(port: int, crowd: str) -> None:
    """Run all callers of a crowd forever; prints a line when those without TLS have connected."""
    connected = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as group:
        for attack, count in CROWDS[crowd].items():
            for _ in range(count):
                group.create_task(pressing(port, attack, connected))
        for attack in WITHOUT_TLS & CROWDS[crowd].keys():
            for _ in range(CROWDS[crowd][attack]):
                await connected.acquire()
        print("attacking", flush=True)


if __name__ == "__main__":
    asyncio.run(come(int(sys.argv[1]), sys.argv[2]))
