"""The production client's transport to an API server in this process, with faults to order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from spotalis.embedded.server.api import Api
from spotalis.embedded.server.endpoints import Answer, Endpoints
from spotalis.embedded.server.watching import Stream
from spotalis.model.transport import Request, Response, StreamRefused, TransportError


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFault:
    """What becomes of one request on its way."""

    delay_seconds: float = 0.0
    """It arrives so much later, even if whoever sent it has given up by then."""
    refused: bool = False
    """No connection: it certainly never arrives."""
    lost: bool = False
    """It never arrives, and nobody says so."""
    response_lost: bool = False
    """It is carried out, and the answer never comes."""
    response: Response | None = None
    """Answered so, without the server."""


DELIVER = NetworkFault()
REFUSE = NetworkFault(refused=True)
DROP = NetworkFault(lost=True)
LOSE_RESPONSE = NetworkFault(response_lost=True)
FaultInjector = Callable[[Request], NetworkFault]
_PATIENCE_SECONDS = 60.0
"""Of a request that names none, when no answer will come."""


class OpenStream:
    """A stream that somebody reads; it can be made to fail."""

    def __init__(self, request: Request, source: Stream) -> None:
        self.request = request
        self._source = source
        self._cut = asyncio.Event()
        self._silent = False

    def cut(self) -> None:
        """Break the connection: its reader gets a TransportError."""
        self._cut.set()

    def silence(self) -> None:
        """Keep it open, and let nothing through any more."""
        self._silent = True

    async def next(self) -> bytes:
        """The next chunk; ``b""`` at the end.

        Raises:
            TransportError: it was cut.
        """
        while not self._cut.is_set():
            chunk = await self._next_or_cut()
            if chunk is not None and not self._silent:
                return chunk
            if self._silent:
                await self._cut.wait()
        raise TransportError("the connection was cut")

    async def _next_or_cut(self) -> bytes | None:
        following = asyncio.ensure_future(self._source.next())
        cutting = asyncio.ensure_future(self._cut.wait())
        try:
            await asyncio.wait((following, cutting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            cutting.cancel()
            if not following.done():
                following.cancel()
        return following.result() if following.done() and not following.cancelled() else None


class InProcessTransport:
    """A :class:`spotalis.model.transport.Transport` to an :class:`Api`.

    Bytes go in and out as over HTTP; there is no delay and no failure but those ordered.
    """

    def __init__(
        self, api: Api, user: str, on_request: FaultInjector = lambda request: DELIVER
    ) -> None:
        """``user`` is who the requests come from; ``on_request`` decides each one's fate."""
        self._endpoints = Endpoints(api)
        self._user = user
        self._delayed: set[asyncio.Task[Answer]] = set()
        self._closed = False
        self.on_request = on_request
        self.streams: list[OpenStream] = []
        """Those that are open, oldest first."""

    async def send(self, request: Request) -> Response:
        """Answer with whatever status the server gave."""
        try:
            async with asyncio.timeout(request.timeout_seconds):
                answer = await self._exchange(request)
        except TimeoutError:
            raise TransportError(f"no answer within {request.timeout_seconds:g} s") from None
        if answer.stream is not None:
            answer.stream.close()
        return Response(status=answer.status, body=answer.body, headers=answer.headers)

    async def stream(self, request: Request) -> AsyncIterator[bytes]:
        """Yield a watch's lines as they come, several in a chunk when they came at once."""
        try:
            async with asyncio.timeout(request.timeout_seconds):
                answer = await self._exchange(request)
        except TimeoutError:
            message = f"no answer within {request.timeout_seconds:g} s"
            raise TransportError(message, maybe_sent=False) from None
        if answer.status != 200:
            raise StreamRefused(
                Response(status=answer.status, body=answer.body, headers=answer.headers)
            )
        if answer.stream is None:
            yield answer.body
            return
        opened = OpenStream(request, answer.stream)
        self.streams.append(opened)
        try:
            while chunk := await _in_time(opened, request.timeout_seconds):
                yield chunk
        finally:
            self.streams.remove(opened)
            answer.stream.close()

    async def close(self) -> None:
        """Cut every stream; later requests are refused. Delayed ones still arrive."""
        self._closed = True
        for opened in tuple(self.streams):
            opened.cut()

    async def _exchange(self, request: Request) -> Answer:
        fault = self.on_request(request)
        if fault.refused or self._closed:
            raise TransportError("connection refused", maybe_sent=False)
        if fault.response is not None:
            given = fault.response
            return Answer(status=given.status, body=given.body, headers=given.headers)
        if fault.lost:
            return await _never(request)
        if fault.delay_seconds:
            answer = await self._later(request, fault.delay_seconds)
        else:
            answer = await self._endpoints.answer(request, user=self._user)
        if fault.response_lost:
            if answer.stream is not None:
                answer.stream.close()
            return await _never(request)
        return answer

    async def _later(self, request: Request, seconds: float) -> Answer:
        """Deliver from a task of its own, which the sender's patience does not end."""

        async def deliver() -> Answer:
            await asyncio.sleep(seconds)
            return await self._endpoints.answer(request, user=self._user)

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


async def _never(request: Request) -> Answer:
    await asyncio.sleep(_PATIENCE_SECONDS if request.timeout_seconds is None else 1e9)
    raise TransportError("no answer came")
