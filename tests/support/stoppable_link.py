"""A TCP link on loopback that can be stopped: connections stay open, but carry no data."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_HOST = "127.0.0.1"


class Link:
    """A port that forwards to another port."""

    def __init__(self) -> None:
        self.port = 0
        self._flowing = asyncio.Event()
        self._flowing.set()

    def stop(self) -> None:
        """Hold back data in both directions."""
        self._flowing.clear()

    def go_on(self) -> None:
        """Deliver the data that was held back, and all later data."""
        self._flowing.set()

    async def copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy until one side closes."""
        try:
            with suppress(OSError):
                while data := await reader.read(64 * 1024):
                    await self._flowing.wait()
                    writer.write(data)
                    await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def stoppable_link(target: int) -> AsyncIterator[Link]:
    """Start a link to a port."""
    link = Link()
    copies: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection(_HOST, target)
        except OSError:
            writer.close()
            return
        for ends in ((reader, there[1]), (there[0], writer)):
            copy = asyncio.create_task(link.copy(*ends))
            copies.add(copy)
            copy.add_done_callback(copies.discard)

    server = await asyncio.start_server(connected, _HOST, 0)
    link.port = server.sockets[0].getsockname()[1]
    try:
        yield link
    finally:
        server.close()
        link.go_on()
        for copy in list(copies):
            copy.cancel()
        await asyncio.gather(*copies, return_exceptions=True)
        await asyncio.sleep(0.05)  # its connections are still closing
