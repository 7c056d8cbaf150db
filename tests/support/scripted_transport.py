"""A transport that answers requests from a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from spotalis.model.transport import Request, Response, StreamRefused

Step = bytes | Exception | float | Callable[[], None]
"""A step of a stream: bytes to send, an error to raise, seconds to wait, or a function to call."""


class Stream(list[Step]):
    """A response that arrives step by step and then ends."""


Answer = Response | Exception | Stream


@dataclass
class ScriptedTransport:
    """Gives its answers in order. Further requests wait forever."""

    answers: list[Answer]
    requests: list[Request] = field(default_factory=list)
    used_up: asyncio.Event = field(default_factory=asyncio.Event)
    closed_streams: int = 0

    async def send(self, request: Request) -> Response:
        answer = await self._next(request)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Response), "a stream is scripted, a single answer was asked for"
        return answer

    async def stream(self, request: Request) -> AsyncIterator[bytes]:
        answer = await self._next(request)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Response):
            raise StreamRefused(answer)
        try:
            for step in answer:
                if isinstance(step, bytes):
                    yield step
                elif isinstance(step, Exception):
                    raise step
                elif isinstance(step, float):
                    await asyncio.sleep(step)
                else:
                    step()
        finally:
            self.closed_streams += 1

    async def close(self) -> None:
        """Does nothing."""

    async def _next(self, request: Request) -> Answer:
        self.requests.append(request)
        if not self.answers:
            self.used_up.set()
            await asyncio.Event().wait()
        return self.answers.pop(0)
