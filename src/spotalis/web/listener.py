"""Accepts connections on every port, as many as allowed and not all at once."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Collection

from aiohttp import web

from spotalis import logs
from spotalis.kube.waiting import wait_for_event
from spotalis.web.connections import Connection, Stage, drop_traceback, find_slowest
from spotalis.web.event_loop_budget import EventLoopBudget
from spotalis.web.sockets import bind, port_of
from spotalis.web.tls import TlsReader

log = logs.get(__name__)

_HANDSHAKE_SECONDS = 5.0
"""The API server waits 2 s for the response, so it does not need a longer handshake."""
_POLL_SECONDS = 0.02
_READ_TURNS = 4
"""Iterations of the event loop from the arrival of bytes to the start of their request."""
_TLS_SHUTDOWN_SECONDS = 2.0


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
        budget: EventLoopBudget,
    ) -> None:
        """Prepare; :meth:`listen` opens the port.

        Args:
            server: handles the requests.
            on_malformed: returns the response to what is not HTTP.
            max_connections: the limit.
            first_request_seconds: for the handshake and the head of the first request.
            keep_alive_seconds: for which a connection may be idle after a request.
            budget: limits the time of clients that are not known.
        """
        self.on_malformed = on_malformed
        self._server = server
        self._max_connections = max_connections
        self._first_request_seconds = first_request_seconds
        self._keep_alive_seconds = keep_alive_seconds
        self._budget = budget
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
        budget = self._budget
        while True:
            await budget.turn(0)
            if not await budget.metered(self._accept_one(listener, context), budget.charge):
                await _wait_for_connection(listener)

    async def _accept_one(self, listener: socket.socket, context: ssl.SSLContext | None) -> bool:
        """Accept a connection; returns False if none waits."""
        try:
            accepted, _ = listener.accept()
        except BlockingIOError:
            return False
        except OSError as error:  # out of file descriptors, or the client disconnected
            log.warning("Cannot accept connection", error=str(error))
            await asyncio.sleep(_POLL_SECONDS)
            return True
        try:
            await self._make_room()
        except asyncio.CancelledError:
            accepted.close()
            raise
        self._begin_handshake(accepted, context)
        return True

    def _begin_handshake(self, accepted: socket.socket, context: ssl.SSLContext | None) -> None:
        connection = Connection(
            self._server,
            self,
            self._budget,
            first_request_seconds=self._first_request_seconds,
            keep_alive_seconds=self._keep_alive_seconds,
        )
        self._open.add(connection)
        handshake = connection.metered(self._connect(connection, accepted, context))
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
        loop = asyncio.get_running_loop()
        if context is None:
            await loop.connect_accepted_socket(lambda: connection, accepted)
            return
        tls = TlsReader(
            connection,
            context,
            on_read=connection.on_read,
            timer=self._budget.timer,
            handshake_seconds=min(_HANDSHAKE_SECONDS, self._first_request_seconds),
            shutdown_seconds=_TLS_SHUTDOWN_SECONDS,
        )
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: tls, accepted)
            try:
                await tls.connected
            except BaseException:
                transport.abort()
                raise
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
