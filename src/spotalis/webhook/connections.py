"""ClientAuth' connections: how many, for how long, and which one goes when they are too many.

aiohttp bounds what one connection may cost, but neither their number, nor the time until the
first request, nor handshakes. asyncio takes 256 kB for the read buffer of each TLS connection,
so the number is what bounds the memory.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable

from aiohttp import web

from spotalis.model.errors import PortInUse

logger = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 600.0
"""Well above the 90 s after which Go's client, thus the API server, closes idle connections: Go
does not repeat a POST that races with our closing, and that review would fail (stack.md 7.7)."""

_BACKLOG = 1024
"""Connections that the system holds for us while we are full: a burst waits there."""
_IDLE_SECONDS = 1.0
"""A known caller's connection idle for less is about to be used again, and is never dropped."""
_STRANGER_SECONDS = 0.25
"""The same for a caller without an answer yet: the API server sends its review, head and body,
as soon as it is connected."""
_FULL_POLL_SECONDS = 0.02
_TURNS = 4
"""Of the loop, from bytes that have arrived to a review that has begun."""
_TLS_SHUTDOWN_SECONDS = 2.0
_LINGERING_SECONDS = 2.0
"""How long the rest of a refused body is read and thrown away, so that the caller sees why."""
_HEADERS = 32
_REQUEST_LINE_BYTES = 1024
_READ_BUFFER_BYTES = 64 * 1024


def let_go(error: BaseException) -> None:
    """Forget where an error arose: the frames there hold the connection, with 256 kB of buffers.

    asyncio and aiohttp keep errors in objects which these frames hold in turn. That is a cycle, and
    the collector may find it minutes later: hundreds of hostile callers' connections were in
    memory, although 128 may be open (measured).
    """
    error.__traceback__ = error.__context__ = None


class Connection(web.RequestHandler):
    """One connection; asyncio makes it, aiohttp reads HTTP from it."""

    __slots__ = ("_connections", "_silence", "answering", "asked", "busy", "known", "since")

    def __init__(self, server: web.Server, connections: Connections) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            access_log=None,  # type: ignore[arg-type]  # aiohttp's own runner passes it as well
            max_line_size=_REQUEST_LINE_BYTES,
            max_headers=_HEADERS,
            lingering_time=_LINGERING_SECONDS,
            read_bufsize=_READ_BUFFER_BYTES,
            auto_decompress=False,  # a compressed body is refused, never unpacked
        )
        self._connections = connections
        self._silence: asyncio.TimerHandle | None = None
        self.asked = False
        self.busy = False
        self.answering = False
        self.known = False
        self.since = loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102  # asyncio's
        super().connection_made(transport)
        if (limit := getattr(transport, "set_read_buffer_limits", None)) is not None:
            limit(high=_READ_BUFFER_BYTES)  # of what is still encrypted: asyncio would take 256 kB
        self._silence = self._connections.joined(self)

    def data_received(self, data: bytes) -> None:  # noqa: D102  # asyncio's
        super().data_received(data)
        for message, _ in self._messages:
            if (error := getattr(message, "exc", None)) is not None:  # it could not be parsed
                let_go(error)

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: D102  # asyncio's
        if self._silence is not None:
            self._silence.cancel()
        self._connections.left(self)
        super().connection_lost(exc)

    def handle_error(  # noqa: D102  # aiohttp's, called for what it cannot parse
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        return self._connections.malformed(status)

    def began(self) -> None:
        """The head of a request is in."""
        self.asked = self.busy = True
        self.since = self._loop.time()

    def answers(self) -> None:
        """The whole request is in: from here on it is we who take the time."""
        self.answering = True

    def ended(self) -> None:
        """The request was answered, well or not; the connection waits for the next."""
        self.known = self.known or self.answering
        self.busy = self.answering = False
        self.since = self._loop.time()

    def may_go(self, now: float) -> bool:
        """Whether its caller has kept us waiting, for a request or for the rest of one."""
        patience = _IDLE_SECONDS if self.known else _STRANGER_SECONDS
        return not self.answering and now - self.since >= patience

    def drop_if_silent(self) -> None:
        """End a connection that never sent a whole request head."""
        if not self.asked and self.transport is not None:
            self.transport.abort()


class Connections:
    """Accepts callers, at most ``most`` at a time, those in the handshake included.

    When full, the connection whose caller has kept us waiting longest makes room, those first
    that never got an answer; while there is none, new ones wait in the system's backlog.
    """

    def __init__(
        self,
        server: web.Server,
        *,
        malformed: Callable[[int], web.Response],
        most: int,
        first_request_seconds: float,
    ) -> None:
        self.malformed = malformed
        self._server = server
        self._most = most
        self._first_request_seconds = first_request_seconds
        self._open: set[Connection] = set()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._departure = asyncio.Event()
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._open) + len(self._handshakes)

    def listen(self, host: str, port: int, context: ssl.SSLContext | None) -> int:
        """Start accepting; returns the port, which 0 leaves to the system.

        Raises:
            PortInUse: somebody else listens there.
            OSError: the address is not ours, or the port is privileged.
        """
        self._listener = _bind(host, port)
        self._accepting = asyncio.create_task(
            self._accept(self._listener, context), name="webhook-accept"
        )
        return int(self._listener.getsockname()[1])

    async def close_listener(self) -> None:
        """Accept nobody any more; those connected stay."""
        await asyncio.sleep(0)  # handshakes begun in this turn must own their sockets first
        tasks = [*self._handshakes, *filter(None, [self._accepting])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._listener is not None:
            self._listener.close()

    def close_idle(self) -> None:
        """End every connection with no request under way."""
        for connection in list(self._open):
            if not connection.busy:
                connection.force_close()

    def joined(self, connection: Connection) -> asyncio.TimerHandle:
        """A handshake is over; the first request must follow soon."""
        self._open.add(connection)
        return asyncio.get_running_loop().call_later(
            self._first_request_seconds, connection.drop_if_silent
        )

    def left(self, connection: Connection) -> None:
        """The connection is closed."""
        self._open.discard(connection)
        self._departure.set()

    async def _accept(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        while True:
            try:
                accepted, _ = await asyncio.get_running_loop().sock_accept(listener)
            except OSError as error:  # out of file descriptors, or the caller is gone already
                logger.warning("no connection accepted", extra={"fields": {"error": str(error)}})
                await asyncio.sleep(_FULL_POLL_SECONDS)
                continue
            try:
                await self._room()
            except asyncio.CancelledError:
                accepted.close()
                raise
            handshake = asyncio.create_task(self._admit(accepted, context))
            self._handshakes.add(handshake)
            handshake.add_done_callback(self._handshakes.discard)

    async def _room(self) -> None:
        """Wait until there is room for one more, made if it must be."""
        while len(self) >= self._most:
            if (idle := self._idlest()) is not None:
                if await self._is_silent(idle):
                    self._drop(idle)
                continue
            self._departure.clear()
            try:
                async with asyncio.timeout(_FULL_POLL_SECONDS):
                    await self._departure.wait()
            except TimeoutError:
                pass  # perhaps one has been idle for long enough by now

    async def _admit(self, accepted: socket.socket, context: ssl.SSLContext | None) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(self._server, self),
                accepted,
                ssl=context,
                ssl_handshake_timeout=self._first_request_seconds if context else None,
                ssl_shutdown_timeout=_TLS_SHUTDOWN_SECONDS if context else None,
            )
        except OSError as error:  # no TLS or too old a one, too slow, gone: the caller's affair
            logger.debug("handshake failed", extra={"fields": {"error": str(error)}})
            let_go(error)

    def _idlest(self) -> Connection | None:
        """Who has kept us waiting longest; None if nobody has for long enough."""
        now = asyncio.get_running_loop().time()
        idle = [connection for connection in self._open if connection.may_go(now)]
        return min(idle, key=lambda c: (c.known, c.since), default=None)

    async def _is_silent(self, connection: Connection) -> bool:
        """Whether it is still to go once all that has arrived is read: it may be we who were slow,
        and its request has been waiting for us."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        return connection in self._open and connection.may_go(asyncio.get_running_loop().time())

    def _drop(self, connection: Connection) -> None:
        """End it; abort, as a polite close may take long."""
        if connection.transport is not None:
            connection.transport.abort()
        self._open.discard(connection)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    dual = host == "::" and socket.has_dualstack_ipv6()
    try:
        listener = socket.create_server(
            (host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=dual
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(host, port) from None
        raise
    listener.setblocking(False)
    return listener
