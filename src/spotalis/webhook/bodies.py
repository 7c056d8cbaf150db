"""Reads the bodies of requests within limits of size, time and memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from spotalis.kube.waiting import wait_for_event
from spotalis.web.connections import connection_of, drop_traceback
from spotalis.webhook.errors import ErrorCode, RequestRejected

LARGE_BYTES = 32 * 1024
"""The admission request of a pod has about 10 kB, so ordinary bodies are not large."""
_PATIENCE_SECONDS = 0.25
"""A body that arrives within this time does not give way. It also limits how often clients can have
new bodies read instead of old ones."""
_POLL_SECONDS = 0.02


class _Body:
    """A large body: what has arrived of it counts until its request is answered."""

    def __init__(self, timeout: asyncio.Timeout) -> None:
        self.timeout = timeout
        self.since = asyncio.get_running_loop().time()
        self.size = 0
        self.gave_way = False


class BodyReader:
    """Reads bodies; all large ones together hold at most ``max_total_bytes``.

    A client holds only what it has sent. At the limit, bodies wait until the oldest incomplete one
    gives way: the API server sends a body within milliseconds. Complete bodies are kept until their
    requests are answered.
    """

    def __init__(self, *, max_bytes: int, max_total_bytes: int, timeout_seconds: float) -> None:
        self._max_bytes = max_bytes
        self._max_total_bytes = max_total_bytes
        self._timeout_seconds = timeout_seconds
        self._total = 0
        self._incomplete: dict[_Body, None] = {}
        """Oldest first."""
        self._released = asyncio.Event()

    @asynccontextmanager
    async def read(self, request: web.BaseRequest) -> AsyncIterator[bytes]:
        """Read the body of a request; its memory counts until the block ends.

        Raises:
            RequestRejected: it is too large, too slow, broken, or had to give way.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        length = request.content_length
        body = _Body(asyncio.timeout_at(deadline))
        is_large = length is None or length > LARGE_BYTES
        if is_large:
            self._incomplete[body] = None
        try:
            yield await self._read(request, body, counts=is_large)
        finally:
            self._incomplete.pop(body, None)
            self._total -= body.size
            self._released.set()

    async def _read(self, request: web.BaseRequest, body: _Body, *, counts: bool) -> bytes:
        chunks: list[bytes] = []
        size = 0
        expects_continue = request.headers.get("Expect", "").lower() == "100-continue"
        try:
            if expects_continue and request.transport is not None:
                request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            async with body.timeout:
                while chunk := await request.content.readany():
                    size += len(chunk)
                    if size > self._max_bytes:
                        raise too_large(self._max_bytes)
                    chunks.append(chunk)
                    if counts:
                        await self._count(body, len(chunk))
        except TimeoutError:
            if body.gave_way or connection_of(request).is_paused:
                raise overloaded("too many large bodies at once") from None
            message = f"the body took longer than {self._timeout_seconds:g} s"
            raise RequestRejected(ErrorCode.REQUEST_TIMEOUT, message, close=True) from None
        except OSError as error:  # disconnected, or TLS broke: the response only counts
            drop_traceback(error)
            raise RequestRejected(
                ErrorCode.CLIENT_DISCONNECTED, "connection lost", close=True
            ) from None
        except web.RequestPayloadError as error:
            drop_traceback(error)
            message = "the body does not match its headers"
            raise RequestRejected(ErrorCode.INVALID_REQUEST, message, close=True) from None
        self._incomplete.pop(body, None)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _count(self, body: _Body, size: int) -> None:
        """Count bytes that have arrived; makes room for them."""
        body.size += size
        self._total += size
        while self._total > self._max_total_bytes:
            oldest = next((other for other in self._incomplete if other is not body), None)
            now = asyncio.get_running_loop().time()
            if oldest is not None and now - oldest.since >= _PATIENCE_SECONDS:
                self._give_way(oldest)
            else:
                self._released.clear()
                await wait_for_event(self._released, _POLL_SECONDS)

    def _give_way(self, body: _Body) -> None:
        del self._incomplete[body]
        self._total -= body.size
        body.size = 0
        body.gave_way = True
        body.timeout.reschedule(asyncio.get_running_loop().time())


def too_large(max_bytes: int) -> RequestRejected:
    """The error for a body that is larger than ``max_bytes``."""
    return RequestRejected(
        ErrorCode.PAYLOAD_TOO_LARGE,
        f"the body must not be larger than {max_bytes} bytes",
        details={"limit": max_bytes},
        close=True,
    )


def overloaded(message: str) -> RequestRejected:
    """The error for a request for which there are no resources."""
    headers = {"Retry-After": "1"}
    return RequestRejected(ErrorCode.OVERLOADED, message, headers=headers, close=True)
