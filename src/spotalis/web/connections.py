"""Limits the number, the heads and the delays of client connections on every port.

aiohttp limits the memory of one connection and the time of its first request, and the kernel keeps
connections that have sent nothing. Neither limits the number of connections or handshakes, or the
time that a client takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from spotalis.web.event_loop_budget import EventLoopBudget

if TYPE_CHECKING:
    from spotalis.web.listener import Listener

T = TypeVar("T")

_LINGERING_SECONDS = 2.0
"""Time for which the rest of a rejected body is read and discarded, so that the client receives
the response."""
_MAX_HEADERS = 32
_REQUEST_LINE_BYTES = 1024
_HEAD_BYTES = 16 * 1024
"""Of an incomplete head. A token of a service account has about 1 kB, other headers much less."""
_READ_BUFFER_BYTES = 64 * 1024
_PRIORITY_SECONDS = 0.005
"""Unknown clients that have taken less time come first, then those that have taken less than twice
as much, and so on. A handshake and a request of the API server take 3 ms (measured)."""


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


_PATIENCE_SECONDS = {Stage.HANDSHAKE: 0.1, Stage.CONNECTED: 0.25, Stage.KNOWN: 1.0}
"""A client with a shorter delay keeps its connection. A handshake waits once for the client; the
API server sends its request, head and body, as soon as it is connected; an idle connection of a
known client is likely to be used again."""


class Connection(web.RequestHandler):
    """A connection from its TLS handshake on; aiohttp parses HTTP from it."""

    __slots__ = (
        "_budget",
        "_first_request",
        "_head_bytes",
        "_listener",
        "_pause",
        "_taken_seconds",
        "handshake",
        "is_answering",
        "is_busy",
        "is_waiting",
        "since",
        "stage",
    )

    def __init__(
        self,
        server: web.Server,
        listener: Listener,
        budget: EventLoopBudget,
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
        self._budget = budget
        self._taken_seconds = 0.0
        self._pause: asyncio.Future[None] | None = None
        """The turn for which the client has to wait before more is read."""
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
        self.is_waiting = False
        """The client's request waits for its turn."""
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
        self._end_pause()
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

    def become_known(self) -> None:
        """Record that a request was valid and named an existing object."""
        self.stage = Stage.KNOWN
        self._end_pause()

    @property
    def is_paused(self) -> bool:
        """Whether the client cannot send more until it has a turn."""
        return self._pause is not None

    def charge(self, seconds: float) -> None:
        """Charge the client with time of the event loop, unless it is known."""
        if self.stage is not Stage.KNOWN:
            self._taken_seconds += seconds
            self._budget.charge(seconds)

    async def metered(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await a coroutine, and charge the client with the time of its steps."""
        if self.stage is Stage.KNOWN:
            return await coroutine
        return await self._budget.metered(coroutine, self.charge)

    async def take_turn(self) -> None:
        """Wait until the request of the client may be handled: at once if it is known."""
        if self.stage is Stage.KNOWN:
            return
        self.is_waiting = True
        try:
            await self._turn()
        finally:
            self.is_waiting = False

    def on_read(self, seconds: float, tcp: asyncio.Transport) -> None:
        """Charge the client with what was read; the next piece has to wait for a turn."""
        self.charge(seconds)
        if self.stage is Stage.CONNECTED and self._pause is None:
            tcp.pause_reading()
            self._pause = self._turn()
            self._pause.add_done_callback(lambda turn: self._resume(tcp))

    def _resume(self, tcp: asyncio.Transport) -> None:
        self._pause = None
        tcp.resume_reading()

    def _end_pause(self) -> None:
        if self._pause is not None:
            self._pause.cancel()

    def _turn(self) -> asyncio.Future[None]:
        return self._budget.turn(self._priority)

    @property
    def _priority(self) -> int:
        return int(self._taken_seconds / _PRIORITY_SECONDS)

    def can_drop(self, now: float) -> bool:
        """Whether the client delays its request, or the reading of the response, for too long.

        A client that waits for a turn delays nothing, but is dropped if it has taken much time.
        """
        if self.is_waiting or self.is_paused:
            return self._priority > 0
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
