"""A proxy between a process and the API server that delays, loses and forges messages.

    async with fault_proxy(control_plane.server, control_plane.ca_file) as proxy:
        proxy.write_kubeconfig(control_plane.kubeconfig("spotalis"), folder / "kubeconfig")
        proxy.order = once(is_eviction, lose_the_answer)

The proxy terminates TLS with its own certificate, which the kubeconfig trusts, and forwards bearer
tokens. It does not forward client certificates. It speaks HTTP/1.1 on both sides.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
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
"""Headers that are forwarded. Bodies are forwarded uncompressed."""


class HangUp(Exception):
    """Raised by a fate to break the connection instead of answering."""


class Call:
    """A request on its way. Its :data:`Fate` decides what happens to it."""

    def __init__(self, request: Request, send: Callable[[], Awaitable[Response]]) -> None:
        self.request = request
        self._send = send

    async def forward(self) -> Response:
        """Forward the request to the API server. Later calls return the same response."""
        return await self._send()


Fate: TypeAlias = Callable[[Call], Awaitable[Response]]
"""Returns a response or raises :class:`HangUp`. A fate cannot forward a watch."""
Applies: TypeAlias = Callable[[Request], bool]
Order: TypeAlias = Callable[[Request], Fate | None]
"""Returns the fate of a request, or None to forward it."""


def no_request(request: Request) -> bool:
    """Matches no request."""
    return False


def undisturbed(request: Request) -> Fate | None:
    """Forwards every request."""
    return None


def once(applies: Applies, fate: Fate, times: int = 1) -> Order:
    """Give this fate to the first matching requests."""
    left = [times]

    def order(request: Request) -> Fate | None:
        if left[0] and applies(request):
            left[0] -= 1
            return fate
        return None

    return order


def always(applies: Applies, fate: Fate) -> Order:
    """Give this fate to every matching request."""
    return lambda request: fate if applies(request) else None


async def lose_the_answer(call: Call) -> Response:
    """Forward the request, and break the connection instead of returning the response."""
    await call.forward()
    raise HangUp


async def lose(call: Call) -> Response:
    """Break the connection without forwarding the request."""
    raise HangUp


def answered(status: int, message: str) -> Fate:
    """Answer with a response that the API server did not send."""
    said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status}
    body = json.dumps({**said, "message": message}).encode()

    async def fate(call: Call) -> Response:
        return Response(status=status, body=body, headers={"content-type": "application/json"})

    return fate


def forged(change: Callable[[bytes], bytes]) -> Fate:
    """Forward the request, and return the response with another body."""

    async def fate(call: Call) -> Response:
        true = await call.forward()
        return Response(status=true.status, body=change(true.body), headers=true.headers)

    return fate


class Gate:
    """A fate that holds requests until it is opened, and then forwards them."""

    def __init__(self) -> None:
        self.held: list[Request] = []
        self.answers: list[Response] = []
        """Number of requests that passed."""
        self._open = asyncio.Event()

    async def __call__(self, call: Call) -> Response:
        """Wait until the gate opens, then forward."""
        self.held.append(call.request)
        await self._open.wait()
        answer = await call.forward()
        self.answers.append(answer)
        return answer

    def open(self) -> None:
        """Open the gate permanently."""
        self._open.set()


class Watch:
    """A watch that passes through the proxy."""

    def __init__(self, request: Request, transport: asyncio.Transport) -> None:
        self.request = request
        self.muted = False
        """True if the proxy held back an event of this watch."""
        self.passing: asyncio.Task[None] | None = None
        self._transport = transport

    def cut(self) -> None:
        """Break the connection."""
        self._transport.abort()
        if self.passing is not None:
            self.passing.cancel()


class FaultProxy:
    """The proxy of one process, and its faults."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession, authority: bytes) -> None:
        self.upstream = upstream
        """Fate of requests from now on. Open watches are not affected."""
        self.order: Order = undisturbed
        self.silent: Applies = no_request
        """Matches watches that deliver nothing, but stay open. Applies to new watches, too."""
        self.lag_seconds = 0.0
        """Delay of the events of watches."""
        self.heard: list[Request] = []
        """All requests, in the order in which they arrived."""
        self.watches: list[Watch] = []
        """Watches that are open."""
        self.port = 0
        self._waiting: set[asyncio.Transport] = set()
        """Connections with a request that has no response yet."""
        self._session = session
        self._authority = authority

    def write_kubeconfig(self, original: Path, path: Path) -> Path:
        """Write a kubeconfig with the same user that leads through the proxy."""
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
        """Break all open watches."""
        for watch in list(self.watches):
            if applies(watch.request):
                watch.cut()

    def cut_requests(self) -> None:
        """Break the connections of all requests without a response, also of watches.

        The API server still performs the requests. This is what a load balancer does when it
        removes an API server.
        """
        for transport in tuple(self._waiting):
            transport.abort()

    def mend(self) -> None:
        """Stop all faults. Breaks the watches that were silent."""
        self.cut_watches(self.silent)
        self.order, self.silent, self.lag_seconds = undisturbed, no_request, 0.0

    async def handle(self, incoming: web.BaseRequest) -> web.StreamResponse:
        """Handle a request."""
        body = await incoming.read()
        query = parse_qsl(incoming.query_string, keep_blank_values=True)
        request = Request(method=incoming.method, path=incoming.path, query=tuple(query), body=body)
        self.heard.append(request)
        fate = self.order(request)
        try:
            if fate is None and ("watch", "true") in query:
                return await self._watch(incoming, request)
            call = Call(request, lambda: self._forward(incoming, body))
            with self._is_waiting(incoming):
                answer = await (fate or _pass)(call)
        except (HangUp, aiohttp.ClientError):
            return _hung_up(incoming)
        return web.Response(status=answer.status, body=answer.body, headers=dict(answer.headers))

    @contextmanager
    def _is_waiting(self, incoming: web.BaseRequest) -> Iterator[None]:
        transport = incoming.transport
        if transport is None:  # the client has disconnected; its request is still performed
            yield
            return
        assert isinstance(transport, asyncio.Transport)
        self._waiting.add(transport)
        try:
            yield
        finally:
            self._waiting.discard(transport)

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
        async with AsyncExitStack() as stack:
            with self._is_waiting(incoming):
                answer = await stack.enter_async_context(self._ask(incoming, b""))
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
            while watch.muted:  # a silent connection does not end properly either
                await asyncio.sleep(60)
        finally:
            reading.cancel()


async def _pass(call: Call) -> Response:
    return await call.forward()


def _hung_up(incoming: web.BaseRequest) -> web.Response:
    """Break the connection. The return value is not sent."""
    if isinstance(incoming.transport, asyncio.Transport):
        incoming.transport.abort()
    return web.Response(status=502)


@asynccontextmanager
async def fault_proxy(upstream: str, upstream_ca: Path) -> AsyncIterator[FaultProxy]:
    """Start a proxy on loopback.

    Args:
        upstream: URL of the API server.
        upstream_ca: CA file of the API server.
    """
    authority = trustme.CA()
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(server_tls)
    theirs = ssl.create_default_context(cafile=str(upstream_ca))
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=theirs, limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
    ) as session:
        proxy = FaultProxy(upstream, session, authority.cert_pem.bytes())
        runner = web.ServerRunner(web.Server(proxy.handle), shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, HOST, 0, ssl_context=server_tls)
            await site.start()
            proxy.port = runner.addresses[0][1]
            yield proxy
        finally:
            proxy.cut_watches()
            await runner.cleanup()
