"""Limits the number and the idle time of client connections.

aiohttp limits the memory of one connection, but not the number of connections, the time until the
first request, or the number of handshakes. asyncio allocates 256 kB for the read buffer of each TLS
connection, so the number of connections determines the memory.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable

from aiohttp import web

from spotalis import logs
from spotalis.kube.waiting import wait_for_event
from spotalis.model.errors import PortInUse

log = logs.get(__name__)

KEEP_ALIVE_SECONDS = 600.0
"""Well above the 90 s after which Go's HTTP client, and thus the API server, closes idle
connections: Go does not repeat a POST on a connection that the server closes at the same time."""

_BACKLOG = 1024
"""Connections that the system queues while the limit is reached, as in a burst."""
_IDLE_SECONDS = 1.0
"""A connection of a known client that is idle for less is likely to be used again and is kept."""
_UNKNOWN_IDLE_SECONDS = 0.25
"""The same for a client without a response yet: the API server sends its request, head and body,
as soon as it is connected."""
_POLL_SECONDS = 0.02
_READ_TURNS = 4
"""Iterations of the event loop from the arrival of bytes to the start of their request."""
_TLS_SHUTDOWN_SECONDS = 2.0
_LINGERING_SECONDS = 2.0
"""Time for which the rest of a rejected body is read and discarded, so that the client receives
the response."""
_MAX_HEADERS = 32
_REQUEST_LINE_BYTES = 1024
_READ_BUFFER_BYTES = 64 * 1024


def drop_traceback(error: BaseException) -> None:
    """Remove the frames from an error: they reference the connection with its 256 kB of buffers.

    asyncio and aiohttp store errors in objects that these frames reference in turn. The garbage
    collector may find such a cycle minutes later: hundreds of connections of hostile clients were
    in memory at a limit of 128 (measured).
    """
    error.__traceback__ = error.__context__ = None


class Connection(web.RequestHandler):
    """A connection; asyncio creates it, and aiohttp parses HTTP from it."""

    __slots__ = (
        "_first_request_timer",
        "_listener",
        "has_request",
        "is_answering",
        "is_busy",
        "is_known",
        "since",
    )

    def __init__(self, server: web.Server, listener: Listener) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            access_log=None,  # type: ignore[arg-type]  # as aiohttp's own runner does
            max_line_size=_REQUEST_LINE_BYTES,
            max_headers=_MAX_HEADERS,
            lingering_time=_LINGERING_SECONDS,
            read_bufsize=_READ_BUFFER_BYTES,
            auto_decompress=False,  # compressed bodies are rejected
        )
        self._listener = listener
        self._first_request_timer: asyncio.TimerHandle | None = None
        self.has_request = False
        """The head of a request has arrived at least once."""
        self.is_busy = False
        """The head of a request has arrived and the response is not complete."""
        self.is_answering = False
        """The whole request has arrived: any delay from here on is the server's."""
        self.is_known = False
        """A request of this client was answered."""
        self.since = loop.time()
        """When the client's current delay began."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102  # asyncio's
        super().connection_made(transport)
        if (limit := getattr(transport, "set_read_buffer_limits", None)) is not None:
            limit(high=_READ_BUFFER_BYTES)  # for encrypted data; asyncio's default is 256 kB
        self._first_request_timer = self._listener.on_connected(self)

    def data_received(self, data: bytes) -> None:  # noqa: D102  # asyncio's
        super().data_received(data)
        # aiohttp queues parse errors here until their turn, which may never come.
        for message, _ in self._messages:
            if (error := getattr(message, "exc", None)) is not None:
                drop_traceback(error)

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: D102  # asyncio's
        if self._first_request_timer is not None:
            self._first_request_timer.cancel()
        self._listener.on_disconnected(self)
        super().connection_lost(exc)

    def handle_error(  # noqa: D102  # aiohttp's, called for invalid HTTP
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        return self._listener.on_malformed()

    def begin_request(self) -> None:
        """Record that the head of a request has arrived."""
        self.has_request = self.is_busy = True
        self.since = asyncio.get_running_loop().time()

    def begin_answer(self) -> None:
        """Record that the whole request has arrived."""
        self.is_answering = True

    def end_request(self) -> None:
        """Record that the request was answered, with success or an error."""
        self.is_known = self.is_known or self.is_answering
        self.is_busy = self.is_answering = False
        self.since = asyncio.get_running_loop().time()

    def can_drop(self, now: float) -> bool:
        """Whether the client delays its request, or the rest of it, for too long."""
        patience = _IDLE_SECONDS if self.is_known else _UNKNOWN_IDLE_SECONDS
        return not self.is_answering and now - self.since >= patience

    def abort(self) -> None:
        """Close the connection at once; a TLS shutdown may take seconds."""
        if self.transport is not None:
            self.transport.abort()


class Listener:
    """Accepts at most ``max_connections``, handshakes included.

    At the limit, a new client replaces the connection with the longest delay by its client;
    connections without any response are replaced first. Until there is one, new connections wait
    in the system's backlog.
    """

    def __init__(
        self,
        server: web.Server,
        *,
        on_malformed: Callable[[], web.Response],
        max_connections: int,
        first_request_seconds: float,
    ) -> None:
        self.on_malformed = on_malformed
        self._server = server
        self._max_connections = max_connections
        self._first_request_seconds = first_request_seconds
        self._open: set[Connection] = set()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._disconnected = asyncio.Event()
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []

    def __len__(self) -> int:
        return len(self._open) + len(self._handshakes)

    def listen(self, host: str, port: int, context: ssl.SSLContext | None) -> int:
        """Start accepting on each address of the host, and return the port.

        Raises:
            PortInUse: another process listens on the port.
            OSError: the address is not local, or the port is privileged.
        """
        self._sockets = _bind(host, port)
        self._accepting = [
            asyncio.create_task(self._accept(listener, context), name="webhook-accept")
            for listener in self._sockets
        ]
        return _port_of(self._sockets[0])

    async def close(self) -> None:
        """Stop accepting; keeps open connections."""
        await asyncio.sleep(0)  # handshakes that just began must own their sockets first
        tasks = [*self._handshakes, *self._accepting]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for listener in self._sockets:
            listener.close()

    def close_idle(self) -> None:
        """Close every connection without a request."""
        for connection in list(self._open):
            if not connection.is_busy:
                connection.force_close()

    def on_connected(self, connection: Connection) -> asyncio.TimerHandle:
        """Count a connection after its handshake; returns the timer for its first request."""
        self._open.add(connection)

        def drop_without_request() -> None:
            if not connection.has_request:
                connection.abort()

        return asyncio.get_running_loop().call_later(
            self._first_request_seconds, drop_without_request
        )

    def on_disconnected(self, connection: Connection) -> None:
        """Stop counting a connection."""
        self._open.discard(connection)
        self._disconnected.set()

    async def _accept(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        while True:
            try:
                accepted, _ = await asyncio.get_running_loop().sock_accept(listener)
            except OSError as error:  # out of file descriptors, or the client disconnected
                log.warning("Cannot accept connection", error=str(error))
                await asyncio.sleep(_POLL_SECONDS)
                continue
            try:
                await self._make_room()
            except asyncio.CancelledError:
                accepted.close()
                raise
            handshake = asyncio.create_task(self._handshake(accepted, context))
            self._handshakes.add(handshake)
            handshake.add_done_callback(self._handshakes.discard)

    async def _make_room(self) -> None:
        """Wait until one more connection is allowed; drops a connection if possible."""
        while len(self) >= self._max_connections:
            if (slowest := self._find_slowest()) is not None:
                if await self._is_still_slow(slowest):
                    slowest.abort()
                    self._open.discard(slowest)
                continue
            self._disconnected.clear()
            # Without an event, a connection may be idle for long enough by then.
            await wait_for_event(self._disconnected, _POLL_SECONDS)

    async def _handshake(self, accepted: socket.socket, context: ssl.SSLContext | None) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(self._server, self),
                accepted,
                ssl=context,
                ssl_handshake_timeout=self._first_request_seconds if context else None,
                ssl_shutdown_timeout=_TLS_SHUTDOWN_SECONDS if context else None,
            )
        except OSError as error:  # not TLS, too old a version, too slow, or disconnected
            log.debug("TLS handshake failed", error=str(error))
            drop_traceback(error)

    def _find_slowest(self) -> Connection | None:
        """Find the connection to drop first; None if none can be dropped."""
        now = asyncio.get_running_loop().time()
        candidates = [connection for connection in self._open if connection.can_drop(now)]
        return min(candidates, key=lambda c: (c.is_known, c.since), default=None)

    async def _is_still_slow(self, connection: Connection) -> bool:
        """Whether to drop a connection after reading everything that has arrived.

        Its request may have arrived while the event loop was busy.
        """
        for _ in range(_READ_TURNS):
            await asyncio.sleep(0)
        now = asyncio.get_running_loop().time()
        return connection in self._open and connection.can_drop(now)


def _bind(host: str, port: int) -> list[socket.socket]:
    """Listen on each address of the host, as asyncio's servers for metrics and health do.

    "" and "::" stand for all addresses of both families. Addresses that this machine does not
    have, such as those of a family that is switched off, are skipped if there is another one.
    """
    name = None if host in ("", "::") else host
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[socket.socket] = []
    missing: OSError | None = None
    for family, address in dict.fromkeys((entry[0], entry[4]) for entry in found):
        chosen = _port_of(listeners[0]) if listeners else port  # the same for all if port is 0
        try:
            listener = socket.create_server(
                (address[0], chosen, *address[2:]),
                family=family,
                backlog=_BACKLOG,
            )
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                missing = error
                continue
            for listener in listeners:
                listener.close()
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(host, port) from None
            raise
        listener.setblocking(False)
        listeners.append(listener)
    if missing is not None and not listeners:
        raise missing
    return listeners


def _port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])
