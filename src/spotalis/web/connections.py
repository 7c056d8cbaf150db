"""Limits the number, the heads and the delays of client connections on every port.

aiohttp limits the memory of one connection and the time of its first request, and the kernel keeps
connections that have sent nothing. Neither limits the number of connections or handshakes. asyncio
allocates 256 kB for the read buffer of each TLS connection, so their number determines the memory.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Collection
from enum import IntEnum

from aiohttp import web

from spotalis import logs
from spotalis.kube.waiting import wait_for_event
from spotalis.web.sockets import bind, port_of

log = logs.get(__name__)

_HANDSHAKE_SECONDS = 5.0
"""The API server waits 2 s for the response, so it does not need a longer handshake."""
_POLL_SECONDS = 0.02
_READ_TURNS = 4
"""Iterations of the event loop from the arrival of bytes to the start of their request."""
_TLS_SHUTDOWN_SECONDS = 2.0
_LINGERING_SECONDS = 2.0
"""Time for which the rest of a rejected body is read and discarded, so that the client receives
the response."""
_MAX_HEADERS = 32
_REQUEST_LINE_BYTES = 1024
_HEAD_BYTES = 16 * 1024
"""Of an incomplete head. A token of a service account has about 1 kB, other headers much less."""
_READ_BUFFER_BYTES = 64 * 1024


def drop_traceback(error: BaseException) -> None:
    """Remove the frames from an error: they reference the connection with its 256 kB of buffers.

    asyncio and aiohttp store errors in objects that these frames reference in turn. The garbage
    collector may find such a cycle minutes later: hundreds of connections of hostile clients were
    in memory at a limit of 128 (measured).
    """
    error.__traceback__ = error.__context__ = None


class Stage(IntEnum):
    """How far a client has come. Of slow clients, those in an earlier stage give way first."""

    HANDSHAKE = 0
    CONNECTED = 1
    KNOWN = 2
    """A request of the client was valid and named an existing object. Set by the server."""


_PATIENCE_SECONDS = {Stage.HANDSHAKE: 0.5, Stage.CONNECTED: 0.25, Stage.KNOWN: 1.0}
"""A client with a shorter delay keeps its connection. The API server sends its request, head and
body, as soon as it is connected; an idle connection of a known client is likely to be used again;
many handshakes at once take time."""


class Connection(web.RequestHandler):
    """A connection from its TLS handshake on; aiohttp parses HTTP from it."""

    __slots__ = (
        "_first_request",
        "_head_bytes",
        "_listener",
        "handshake",
        "is_answering",
        "is_busy",
        "since",
        "stage",
    )

    def __init__(
        self,
        server: web.Server,
        listener: Listener,
        *,
        first_request_seconds: float,
        keep_alive_seconds: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=keep_alive_seconds,
            access_log=None,  # type: ignore[arg-type]  # as aiohttp's own runner does
            max_line_size=_REQUEST_LINE_BYTES,
            max_headers=_MAX_HEADERS,
            lingering_time=_LINGERING_SECONDS,
            read_bufsize=_READ_BUFFER_BYTES,
            auto_decompress=False,  # compressed bodies are rejected
        )
        self._listener = listener
        self._head_bytes = 0
        self._first_request = loop.call_later(first_request_seconds, self.abort)
        self.handshake: asyncio.Task[None] | None = None
        """Until the connection is made."""
        self.stage = Stage.HANDSHAKE
        self.is_busy = False
        """The head of a request has arrived and the response is not complete."""
        self.is_answering = False
        """The whole request has arrived: a delay is the server's, unless the client does not read
        the response."""
        self.since = loop.time()
        """When the client's current delay began."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102  # asyncio's
        super().connection_made(transport)
        if (limit := getattr(transport, "set_read_buffer_limits", None)) is not None:
            limit(high=_READ_BUFFER_BYTES)  # for encrypted data; asyncio's default is 256 kB
        self.stage = Stage.CONNECTED
        self.since = asyncio.get_running_loop().time()

    def data_received(self, data: bytes) -> None:  # noqa: D102  # asyncio's
        super().data_received(data)
        # aiohttp queues parse errors here until their turn, which may never come.
        for message, _ in self._messages:
            if (error := getattr(message, "exc", None)) is not None:
                drop_traceback(error)
        is_within_head = self._waiter is not None and not self._waiter.done()
        self._head_bytes = self._head_bytes + len(data) if is_within_head else 0
        if self._head_bytes > _HEAD_BYTES:
            self.abort()

    def pause_writing(self) -> None:  # noqa: D102  # asyncio's
        super().pause_writing()
        self.since = asyncio.get_running_loop().time()

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: D102  # asyncio's
        self._first_request.cancel()
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
        self._first_request.cancel()
        self.is_busy = True
        self.since = asyncio.get_running_loop().time()

    def begin_answer(self) -> None:
        """Record that the whole request has arrived."""
        self.is_answering = True

    def end_request(self) -> None:
        """Record that the request was answered, with success or an error."""
        self.is_busy = self.is_answering = False
        self.since = asyncio.get_running_loop().time()

    def can_drop(self, now: float) -> bool:
        """Whether the client delays its request, or the reading of the response, for too long."""
        is_waiting_for_client = not self.is_answering or self.writing_paused
        return is_waiting_for_client and now - self.since >= _PATIENCE_SECONDS[self.stage]

    def abort(self) -> None:
        """Close the connection at once; a TLS shutdown may take seconds."""
        if self.transport is not None:
            self.transport.abort()
        elif self.handshake is not None:
            self.handshake.cancel()


def connection_of(request: web.BaseRequest) -> Connection:
    """The connection of a request to a server behind a :class:`Listener`."""
    assert isinstance(request.protocol, Connection)
    return request.protocol


def find_slowest(connections: Collection[Connection]) -> Connection | None:
    """Find the connection to drop first; None if none can be dropped.

    A known client is kept as long as there is an unknown one, which will be slow or known soon.
    """
    now = asyncio.get_running_loop().time()
    unknown = [one for one in connections if one.stage is not Stage.KNOWN]
    slow = [one for one in unknown or connections if one.can_drop(now)]
    return min(slow, key=lambda one: (one.stage, one.since), default=None)


class Listener:
    """Accepts at most ``max_connections``, handshakes included.

    At the limit, a new client replaces the client that is slow, of the earliest stage, and for the
    longest time. As long as none is slow, new connections wait in the system's backlog.
    """

    def __init__(
        self,
        server: web.Server,
        *,
        on_malformed: Callable[[], web.Response],
        max_connections: int,
        first_request_seconds: float,
        keep_alive_seconds: float,
    ) -> None:
        """Prepare; :meth:`listen` opens the port.

        Args:
            server: handles the requests.
            on_malformed: returns the response to what is not HTTP.
            max_connections: the limit.
            first_request_seconds: for the handshake and the head of the first request.
            keep_alive_seconds: for which a connection may be idle after a request.
        """
        self.on_malformed = on_malformed
        self._server = server
        self._max_connections = max_connections
        self._first_request_seconds = first_request_seconds
        self._keep_alive_seconds = keep_alive_seconds
        self._open: set[Connection] = set()
        self._disconnected = asyncio.Event()
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []

    def __len__(self) -> int:
        return len(self._open)

    def listen(self, host: str, port: int, context: ssl.SSLContext | None = None) -> int:
        """Start accepting on each address of the host, and return the port.

        Args:
            host: an address or a host name; ``""`` and ``::`` for all IPv4 and IPv6 addresses.
            port: 0 lets the system choose one.
            context: for TLS.

        Raises:
            PortInUse: another process listens on the port.
            OSError: the address is not local, or the port is privileged.
        """
        self._sockets = bind(host, port)
        self._accepting = [
            asyncio.create_task(self._accept(listener, context), name="accept")
            for listener in self._sockets
        ]
        return port_of(self._sockets[0])

    async def close(self) -> None:
        """Stop accepting; keeps open connections."""
        await _cancel(self._accepting)
        await asyncio.sleep(0)  # handshakes that just began must own their sockets first
        await _cancel([one.handshake for one in self._open if one.handshake is not None])
        for listener in self._sockets:
            listener.close()

    def close_idle(self) -> None:
        """Close every connection without a request."""
        for connection in list(self._open):
            if not connection.is_busy:
                connection.force_close()

    def on_disconnected(self, connection: Connection) -> None:
        """Stop counting a connection."""
        self._open.discard(connection)
        self._disconnected.set()

    async def _accept(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        while True:
            try:
                accepted, _ = listener.accept()
            except BlockingIOError:
                await _wait_for_connection(listener)
                continue
            except OSError as error:  # out of file descriptors, or the client disconnected
                log.warning("Cannot accept connection", error=str(error))
                await asyncio.sleep(_POLL_SECONDS)
                continue
            try:
                await self._make_room()
            except asyncio.CancelledError:
                accepted.close()
                raise
            self._begin_handshake(accepted, context)

    def _begin_handshake(self, accepted: socket.socket, context: ssl.SSLContext | None) -> None:
        connection = Connection(
            self._server,
            self,
            first_request_seconds=self._first_request_seconds,
            keep_alive_seconds=self._keep_alive_seconds,
        )
        self._open.add(connection)
        handshake = self._connect(connection, accepted, context)
        connection.handshake = asyncio.create_task(handshake, name="handshake")

    async def _make_room(self) -> None:
        """Wait until one more connection is allowed; drops a connection if possible."""
        while len(self) >= self._max_connections:
            if (slowest := find_slowest(self._open)) is not None:
                if await self._is_still_slow(slowest):
                    slowest.abort()
                    self._open.discard(slowest)
                continue
            self._disconnected.clear()
            # Without an event, a connection may be idle for long enough by then.
            await wait_for_event(self._disconnected, _POLL_SECONDS)

    async def _connect(
        self, connection: Connection, accepted: socket.socket, context: ssl.SSLContext | None
    ) -> None:
        seconds = min(_HANDSHAKE_SECONDS, self._first_request_seconds)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=context,
                ssl_handshake_timeout=seconds if context else None,
                ssl_shutdown_timeout=_TLS_SHUTDOWN_SECONDS if context else None,
            )
        except OSError as error:  # not TLS, too old a version, too slow, or disconnected
            log.debug("TLS handshake failed", error=str(error))
            drop_traceback(error)
        except asyncio.CancelledError as error:  # made room for another connection
            drop_traceback(error)
        finally:
            connection.handshake = None
            if connection.stage is Stage.HANDSHAKE:
                connection.connection_lost(None)

    async def _is_still_slow(self, connection: Connection) -> bool:
        """Whether to drop a connection after reading everything that has arrived.

        Its request may have arrived while the event loop was busy.
        """
        for _ in range(_READ_TURNS):
            await asyncio.sleep(0)
        now = asyncio.get_running_loop().time()
        return connection in self._open and connection.can_drop(now)


async def _wait_for_connection(listener: socket.socket) -> None:
    """Wait until a connection can be accepted.

    asyncio's ``sock_accept`` loses a connection that arrives together with a cancellation.
    """
    arrived, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(listener, arrived.set)
    try:
        await arrived.wait()
    finally:
        loop.remove_reader(listener)


async def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
