"""A TCP load balancer on loopback that distributes connections as kube-proxy does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager


@asynccontextmanager
async def spreading(port: int, backends: Sequence[int]) -> AsyncIterator[Callable[[], None]]:
    """Listen on ``port`` and distribute connections in turn. Skips backends that refuse.

    Yields a function that breaks all open connections.
    """
    taken = 0
    pipes: set[asyncio.Task[None]] = set()
    ends: set[asyncio.StreamWriter] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        task = asyncio.current_task()
        assert task is not None
        pipes.add(task)
        try:
            for _ in backends:
                taken += 1
                try:
                    there = await asyncio.open_connection(
                        "127.0.0.1", backends[taken % len(backends)]
                    )
                except OSError:
                    continue
                both = (writer, there[1])
                ends.update(both)
                try:
                    await _both_ways((reader, writer), there)
                finally:
                    ends.difference_update(both)
                return
        except asyncio.CancelledError:
            pass  # the test has ended
        finally:
            writer.close()
            pipes.discard(task)

    def cut() -> None:
        for end in ends:
            end.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", port, backlog=1024)
    try:
        yield cut
    finally:
        server.close()
        for task in list(pipes):
            task.cancel()
        if pipes:
            await asyncio.wait(pipes)
        await server.wait_closed()


_End = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _both_ways(one: _End, other: _End) -> None:
    """Copy until one side closes, then close both."""
    copies = [
        asyncio.create_task(_copy(one[0], other[1])),
        asyncio.create_task(_copy(other[0], one[1])),
    ]
    try:
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for copy in copies:
            copy.cancel()
        await asyncio.gather(*copies, return_exceptions=True)
        other[1].close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(64 * 1024):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # the connection is closed anyway
