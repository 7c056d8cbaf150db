"""A proxy between one process and the API server: it holds, loses, delays and forges messages.

    async with fault_proxy(control_plane.server, control_plane.ca_file) as proxy:
        proxy.write_kubeconfig(control_plane.kubeconfig("spotalis"), folder / "kubeconfig")
        proxy.order = once(is_eviction, lose_the_answer)

It ends TLS with a certificate of its own, which the kubeconfig that it writes trusts, and hands
bearer tokens on; client certificates would end here. It speaks HTTP/1.1 on both sides.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qsl

import aiohttp
import trustme
from aiohttp import web
from yarl import URL

from spotalis.model.transport import Request, Response

HOST = "127.0.0.1"
_THERE = ("Authorization", "Accept", "Content-Type", "User-Agent")
_BACK = ("Content-Type", "Retry-After", "Audit-Id")
"""The headers that pass; bodies pass uncompressed."""


class HangUp(Exception):
    """Raised by a fate: the connection breaks instead of an answer."""


class Call:
    """One request on its way; what becomes of it is its :data:`Fate`."""

    def __init__(self, request: Request, send: Callable[[], Awaitable[Response]]) -> None:
        self.request = request
        self._send = send

    async def forward(self) -> Response:
        """Let the API server answer, whoever waits for it; may be called more than once."""
        return await self._send()


Fate: TypeAlias = Callable[[Call], Awaitable[Response]]
"""Answers, or raises :class:`HangUp`. A watch can be answered or refused, but not forwarded."""
Applies: TypeAlias = Callable[[Request], bool]
Order: TypeAlias = Callable[[Request], Fate | None]
"""The fate of a request; None lets it pass."""


def nobody(request: Request) -> bool:
    """Applies to no request."""
    return False


def undisturbed(request: Request) -> Fate | None:
    """Everything passes."""
    return None


def once(applies: Applies, fate: Fate, times: int = 1) -> Order:
    """This fate for the first so many requests that it applies to."""
    left = [times]

    def order(request: Request) -> Fate | None:
        if left[0] and applies(request):
            left[0] -= 1
            return fate
        return None

    return order


def always(applies: Applies, fate: Fate) -> Order:
    """This fate for every request that it applies to."""
    return lambda request: fate if applies(request) else None


async def lose_the_answer(call: Call) -> Response:
    """It is carried out, and nobody hears of it."""
    await call.forward()
    raise HangUp


async def lose(call: Call) -> Response:
    """It never arrives."""
    raise HangUp


def answered(status: int, message: str) -> Fate:
    """An answer that the API server never gave."""
    said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status}
    body = json.dumps({**said, "message": message}).encode()

    async def fate(call: Call) -> Response:
        return Response(status=status, body=body, headers={"content-type": "application/json"})

    return fate


def forged(change: Callable[[bytes], bytes]) -> Fate:
    """The API server's answer with another body."""

    async def fate(call: Call) -> Response:
        true = await call.forward()
        return Response(status=true.status, body=change(true.body), headers=true.headers)

    return fate


class Gate:
    """A fate: whoever comes to it waits until it opens, and is forwarded then."""

    def __init__(self) -> None:
        self.held: list[Request] = []
        self.answers: list[Response] = []
        """Of those that have passed."""
        self._open = asyncio.Event()

    async def __call__(self, call: Call) -> Response:
        """Wait, then forward."""
        self.held.append(call.request)
        await self._open.wait()
        answer = await call.forward()
        self.answers.append(answer)
        return answer

    def open(self) -> None:
        """For good."""
        self._open.set()


class Watch:
    """A watch that is being passed on."""

    def __init__(self, request: Request, transport: asyncio.Transport) -> None:
        self.request = request
        self.muted = False
        """Something that it should have delivered was kept back."""
        self.passing: asyncio.Task[None] | None = None
        self._transport = transport

    def cut(self) -> None:
        """Break the connection."""
        self._transport.abort()
        if self.passing is not None:
            self.passing.cancel()


class FaultProxy:
    """What lies between a process and its API server, and how to disturb it."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession, authority: bytes) -> None:
        self.upstream = upstream
        """Where requests go from now on; watches that are open stay where they are."""
        self.order: Order = undisturbed
        self.silent: Applies = nobody
        """Watches that deliver nothing any more, new ones too, and stay open."""
        self.lag_seconds = 0.0
        """What watches deliver comes so late."""
        self.heard: list[Request] = []
        """Every request, in the order in which they came."""
        self.watches: list[Watch] = []
        """Those that are open."""
        self.port = 0
        self._session = session
        self._authority = authority

    def write_kubeconfig(self, original: Path, path: Path) -> Path:
        """The same user's way to the API server, through here."""
        config = json.loads(original.read_text())
        trusted = base64.b64encode(self._authority).decode()
        config["clusters"][0]["cluster"] = {
            "server": f"https://{HOST}:{self.port}",
            "certificate-authority-data": trusted,
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(config))
        return path

    def cut_watches(self, applies: Applies = lambda request: True) -> None:
        """Break those that are open."""
        for watch in list(self.watches):
            if applies(watch.request):
                watch.cut()

    def mend(self) -> None:
        """From now on nothing is disturbed; watches that had fallen silent break."""
        self.cut_watches(self.silent)
        self.order, self.silent, self.lag_seconds = undisturbed, nobody, 0.0

    async def handle(self, incoming: web.BaseRequest) -> web.StreamResponse:
        """Take one request."""
        body = await incoming.read()
        query = parse_qsl(incoming.query_string, keep_blank_values=True)
        request = Request(method=incoming.method, path=incoming.path, query=tuple(query), body=body)
        self.heard.append(request)
        fate = self.order(request)
        try:
            if fate is None and ("watch", "true") in query:
                return await self._watch(incoming, request)
            call = Call(request, lambda: self._forward(incoming, body))
            answer = await (fate or _pass)(call)
        except (HangUp, aiohttp.ClientError):
            return _hung_up(incoming)
        return web.Response(status=answer.status, body=answer.body, headers=dict(answer.headers))

    def _ask(self, incoming: web.BaseRequest, body: bytes) -> aiohttp.client._RequestContextManager:
        headers = {name: incoming.headers[name] for name in _THERE if name in incoming.headers}
        headers["Accept-Encoding"] = "identity"
        url = URL(self.upstream + incoming.raw_path, encoded=True)
        return self._session.request(incoming.method, url, headers=headers, data=body or None)

    async def _forward(self, incoming: web.BaseRequest, body: bytes) -> Response:
        async with self._ask(incoming, body) as answer:
            return Response(
                status=answer.status,
                body=await answer.read(),
                headers={name: answer.headers[name] for name in _BACK if name in answer.headers},
            )

    async def _watch(self, incoming: web.BaseRequest, request: Request) -> web.StreamResponse:
        async with self._ask(incoming, b"") as answer:
            passed = web.StreamResponse(status=answer.status)
            for name in _BACK:
                if name in answer.headers:
                    passed.headers[name] = answer.headers[name]
            await passed.prepare(incoming)
            assert incoming.transport is not None
            watch = Watch(request, incoming.transport)
            watch.passing = asyncio.create_task(self._pass_on(watch, answer, passed))
            self.watches.append(watch)
            try:
                await asyncio.wait([watch.passing])
                if watch.passing.cancelled() or watch.passing.exception() is not None:
                    return _hung_up(incoming)
            finally:
                watch.passing.cancel()
                self.watches.remove(watch)
        return passed

    async def _pass_on(
        self, watch: Watch, answer: aiohttp.ClientResponse, passed: web.StreamResponse
    ) -> None:
        loop = asyncio.get_running_loop()
        coming: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()

        async def read() -> None:
            with suppress(aiohttp.ClientError):
                async for chunk in answer.content.iter_any():
                    coming.put_nowait((loop.time() + self.lag_seconds, chunk))
            coming.put_nowait(None)

        reading = asyncio.create_task(read())
        try:
            while (next_one := await coming.get()) is not None:
                due, chunk = next_one
                await asyncio.sleep(due - loop.time())
                if watch.muted or self.silent(watch.request):
                    watch.muted = True
                    continue
                await passed.write(chunk)
            while watch.muted:  # whoever fell silent does not say goodbye either
                await asyncio.sleep(60)
        finally:
            reading.cancel()


async def _pass(call: Call) -> Response:
    return await call.forward()


def _hung_up(incoming: web.BaseRequest) -> web.Response:
    """Break the connection; what is returned reaches nobody."""
    if isinstance(incoming.transport, asyncio.Transport):
        incoming.transport.abort()
    return web.Response(status=502)


@asynccontextmanager
async def fault_proxy(upstream: str, upstream_ca: Path) -> AsyncIterator[FaultProxy]:
    """One that listens on loopback.

    Args:
        upstream: URL of the API server.
        upstream_ca: whom to trust there.
    """
    authority = trustme.CA()
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(ours)
    theirs = ssl.create_default_context(cafile=str(upstream_ca))
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=theirs, limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
    ) as session:
        proxy = FaultProxy(upstream, session, authority.cert_pem.bytes())
        runner = web.ServerRunner(web.Server(proxy.handle), shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, HOST, 0, ssl_context=ours)
            await site.start()
            proxy.port = runner.addresses[0][1]
            yield proxy
        finally:
            proxy.cut_watches()
            await runner.cleanup()
