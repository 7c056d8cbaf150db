"""The transport of the production client to an API server in this process, with injected faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from spotalis.embedded.server.api import Api
from spotalis.embedded.server.endpoints import ApiResponse, Endpoints
from spotalis.embedded.server.watching import Stream
from spotalis.model.transport import Request, Response, StreamRefused, TransportError


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFault:
    """What happens to one request on its way; by default nothing."""

    delay_seconds: float = 0.0
    """The request arrives this much later, even if its sender has timed out by then."""
    refused: bool = False
    """The connection is refused: the request never arrives, and the sender knows."""
    lost: bool = False
    """The request never arrives, and the sender gets no response."""
    response_lost: bool = False
    """The request is handled, but the sender gets no response."""
    response: Response | None = None
    """The sender gets this response; the request never arrives."""


DELIVER = NetworkFault()
REFUSE = NetworkFault(refused=True)
DROP = NetworkFault(lost=True)
LOSE_RESPONSE = NetworkFault(response_lost=True)
FaultInjector = Callable[[Request], NetworkFault]
_NO_RESPONSE_SECONDS = 60.0
"""When a request without a timeout fails whose response is lost."""


class OpenStream:
    """An open watch, which tests can make fail."""

    def __init__(self, request: Request, source: Stream) -> None:
        self.request = request
        self._source = source
        self._cut = asyncio.Event()
        self._silent = False

    def cut(self) -> None:
        """Break the connection: the reader gets a TransportError."""
        self._cut.set()

    def silence(self) -> None:
        """Keep the connection open, but deliver nothing from now on."""
        self._silent = True

    async def next(self) -> bytes:
        """Wait for the next chunk; returns ``b""`` at the end.

        Raises:
            TransportError: the connection was cut.
        """
        while not self._cut.is_set():
            chunk = await self._next_or_cut()
            if chunk is not None and not self._silent:
                return chunk
            if self._silent:
                await self._cut.wait()
        raise TransportError("the connection was cut")

    async def _next_or_cut(self) -> bytes | None:
        chunk = asyncio.ensure_future(self._source.next())
        cut = asyncio.ensure_future(self._cut.wait())
        try:
            await asyncio.wait((chunk, cut), return_when=asyncio.FIRST_COMPLETED)
        finally:
            cut.cancel()
            if not chunk.done():
                chunk.cancel()
        return chunk.result() if chunk.done() and not chunk.cancelled() else None


class InProcessTransport:
    """A :class:`spotalis.model.transport.Transport` to an :class:`Api`.

    Requests and responses are bytes, as over HTTP. Delays and failures are only those injected.
    """

    def __init__(
        self, api: Api, user: str, on_request: FaultInjector = lambda request: DELIVER
    ) -> None:
        """``user`` sends the requests; ``on_request`` returns the fault of each request."""
        self._endpoints = Endpoints(api)
        self._user = user
        self._delayed: set[asyncio.Task[ApiResponse]] = set()
        self._closed = False
        self.on_request = on_request
        self.streams: list[OpenStream] = []
        """The open watches, oldest first."""

    async def send(self, request: Request) -> Response:
        """Send a request and return the response, whatever its status."""
        try:
            async with asyncio.timeout(request.timeout_seconds):
                response = await self._exchange(request)
        except TimeoutError:
            raise TransportError(f"no response within {request.timeout_seconds:g} s") from None
        if response.stream is not None:
            response.stream.close()
        return Response(status=response.status, body=response.body, headers=response.headers)

    async def stream(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the lines of a watch, several in a chunk if they arrive at once."""
        try:
            async with asyncio.timeout(request.timeout_seconds):
                response = await self._exchange(request)
        except TimeoutError:
            message = f"no response within {request.timeout_seconds:g} s"
            raise TransportError(message, maybe_sent=False) from None
        if response.status != 200:
            raise StreamRefused(
                Response(status=response.status, body=response.body, headers=response.headers)
            )
        if response.stream is None:
            yield response.body
            return
        opened = OpenStream(request, response.stream)
        self.streams.append(opened)
        try:
            while chunk := await _in_time(opened, request.timeout_seconds):
                yield chunk
        finally:
            self.streams.remove(opened)
            response.stream.close()

    async def close(self) -> None:
        """Cut every watch and refuse later requests; delayed requests still arrive."""
        self._closed = True
        for opened in tuple(self.streams):
            opened.cut()

    async def _exchange(self, request: Request) -> ApiResponse:
        fault = self.on_request(request)
        if fault.refused or self._closed:
            raise TransportError("connection refused", maybe_sent=False)
        if fault.response is not None:
            given = fault.response
            return ApiResponse(status=given.status, body=given.body, headers=given.headers)
        if fault.lost:
            return await _never(request)
        if fault.delay_seconds:
            response = await self._later(request, fault.delay_seconds)
        else:
            response = await self._endpoints.handle(request, user=self._user)
        if fault.response_lost:
            if response.stream is not None:
                response.stream.close()
            return await _never(request)
        return response

    async def _later(self, request: Request, seconds: float) -> ApiResponse:
        """Deliver from a separate task, which the timeout of the sender does not cancel."""

        async def deliver() -> ApiResponse:
            await asyncio.sleep(seconds)
            return await self._endpoints.handle(request, user=self._user)

        task = asyncio.create_task(deliver())
        self._delayed.add(task)
        task.add_done_callback(self._delayed.discard)
        return await asyncio.shield(task)


async def _in_time(opened: OpenStream, seconds: float | None) -> bytes:
    try:
        async with asyncio.timeout(seconds):
            return await opened.next()
    except TimeoutError:
        raise TransportError(f"nothing came for {seconds:g} s") from None


async def _never(request: Request) -> ApiResponse:
    await asyncio.sleep(_NO_RESPONSE_SECONDS if request.timeout_seconds is None else 1e9)
    raise TransportError("no response came")
