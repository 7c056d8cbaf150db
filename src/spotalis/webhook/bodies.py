"""Reads the bodies of requests within limits of size, time and memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import web

from spotalis.kube.waiting import wait_for_event, within
from spotalis.web.connections import connection_of, drop_traceback
from spotalis.webhook.errors import ErrorCode, RequestRejected

LARGE_BYTES = 32 * 1024
"""The admission request of a pod has about 10 kB, so ordinary bodies are not large."""
_PATIENCE_SECONDS = 0.25
"""A body that arrives within this time does not give way. It also limits how often clients can have
new bodies read instead of old ones."""
_POLL_SECONDS = 0.02


class _LargeBody:
    """A large body: what has arrived of it counts until its request is answered."""

    def __init__(self, timeout: asyncio.Timeout) -> None:
        self.timeout = timeout
        self.since = asyncio.get_running_loop().time()
        self.size = 0
        self.gave_way = False


class Body:
    """A body, and what to do when its request is answered."""

    __slots__ = ("_data", "_release")

    def __init__(self, data: bytes, release: Callable[[], None]) -> None:
        self._data = data
        self._release = release

    def __enter__(self) -> bytes:
        return self._data

    def __exit__(self, *error: object) -> None:
        self._release()


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
        self._incomplete: dict[_LargeBody, None] = {}
        """Oldest first."""
        self._released = asyncio.Event()

    async def read(self, request: web.BaseRequest) -> Body:
        """Read the body of a request; its memory counts until the end of a ``with`` block.

        Raises:
            RequestRejected: it is too large, too slow, broken, or had to give way.
        """
        length = request.content_length
        if length is not None and length <= LARGE_BYTES:
            collecting = within(self._timeout_seconds, self._collect(request, None))
            return Body(await self._checked(request, None, collecting), lambda: None)
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        large = _LargeBody(asyncio.timeout_at(deadline))
        self._incomplete[large] = None
        try:
            data = await self._checked(request, large, self._collect_large(request, large))
        except BaseException:
            self._release(large)
            raise
        del self._incomplete[large]
        return Body(data, lambda: self._release(large))

    def _release(self, body: _LargeBody) -> None:
        self._incomplete.pop(body, None)
        self._total -= body.size
        self._released.set()

    async def _checked(
        self,
        request: web.BaseRequest,
        large: _LargeBody | None,
        collecting: Coroutine[Any, Any, bytes],
    ) -> bytes:
        """Await a body; turns errors into those of a request."""
        try:
            return await collecting
        except TimeoutError:
            if (large is not None and large.gave_way) or connection_of(request).is_paused:
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

    async def _collect_large(self, request: web.BaseRequest, large: _LargeBody) -> bytes:
        async with large.timeout:
            return await self._collect(request, large)

    async def _collect(self, request: web.BaseRequest, large: _LargeBody | None) -> bytes:
        chunks: list[bytes] = []
        size = 0
        expects_continue = request.headers.get("Expect", "").lower() == "100-continue"
        if expects_continue and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while chunk := await request.content.readany():
            size += len(chunk)
            if size > self._max_bytes:
                raise too_large(self._max_bytes)
            chunks.append(chunk)
            if large is not None:
                await self._count(large, len(chunk))
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _count(self, body: _LargeBody, size: int) -> None:
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

    def _give_way(self, body: _LargeBody) -> None:
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
