"""Reads TLS in small pieces, and measures the time that it takes."""

from __future__ import annotations

import asyncio
import ssl
from asyncio import sslproto
from collections.abc import Callable
from typing import TypeAlias

OnRead: TypeAlias = Callable[[float, asyncio.Transport], None]
"""Called after each piece of what a client sends, the messages of the handshake included, with the
seconds that it took to read, decrypt and parse it, and with the TCP connection."""


class TlsReader(sslproto.SSLProtocol):
    """The server's side of a TLS connection: that of asyncio, with a smaller buffer.

    asyncio reads 256 kB at a time. If the client sends each byte in a TLS record of its own, to
    decrypt them takes 30 ms (measured), during which nothing else runs. No argument of asyncio sets
    the size (decision 0029).
    """

    max_size = 32 * 1024
    """Two TLS records of the maximum size. Allocated for each connection."""

    def __init__(
        self,
        application: asyncio.Protocol,
        context: ssl.SSLContext,
        *,
        on_read: OnRead,
        timer: Callable[[], float],
        handshake_seconds: float,
        shutdown_seconds: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.connected: asyncio.Future[None] = loop.create_future()
        """Done when the handshake has ended, with its error if it failed."""
        self._on_read = on_read
        self._timer = timer
        self._began = 0.0
        self._tcp: asyncio.Transport
        super().__init__(
            loop,
            application,
            context,
            self.connected,
            server_side=True,
            ssl_handshake_timeout=handshake_seconds,  # type: ignore[arg-type]  # not only int
            ssl_shutdown_timeout=shutdown_seconds,
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102  # asyncio's
        assert isinstance(transport, asyncio.Transport)
        self._tcp = transport
        super().connection_made(transport)

    def get_buffer(self, n: int) -> memoryview:  # noqa: D102  # asyncio's
        self._began = self._timer()
        return super().get_buffer(n)

    def buffer_updated(self, nbytes: int) -> None:  # noqa: D102  # asyncio's
        super().buffer_updated(nbytes)
        self._on_read(self._timer() - self._began, self._tcp)
