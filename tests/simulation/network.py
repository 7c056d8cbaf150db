"""Between one operator process and the API server: what becomes of each message."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251  # seeded
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace

import msgspec

from spotalis.embedded.transport import (
    DROP,
    LOSE_RESPONSE,
    REFUSE,
    InProcessTransport,
    NetworkFault,
)
from spotalis.model.transport import Request, Response
from tests.simulation.story import Weather

LONGEST_HELD_SECONDS = 40.0
LONGEST_LATE_SECONDS = 10.0


class Line:
    """A :class:`spotalis.model.transport.Transport` that tells an oracle, and obeys the rng."""

    def __init__(
        self,
        inner: InProcessTransport,
        rng: random.Random,
        *,
        weather: Weather,
        sending: Callable[[Request], Request],
        listed: Callable[[Request, str], None],
        crash: Callable[[str], None],
    ) -> None:
        """``sending`` sees every request before its fate is thrown; ``listed``, every list with
        the resourceVersion of its answer; ``crash`` ends the process, soon."""
        self._inner = inner
        self._dice = rng
        self._sending = sending
        self._listed = listed
        self._crash = crash
        self.weather = weather
        self.order: Callable[[Request], NetworkFault | None] = lambda request: None
        """Asked before the rng; None leaves it to them."""
        self.spoil: Callable[[bytes], bytes] = lambda chunk: chunk
        """What becomes of each chunk of a stream."""
        self.isolated = False
        """Nothing gets through, in either direction."""
        self.lag_seconds = 0.0
        """Every stream is so late."""
        self.garbled = False
        """The next chunk of a stream begins with half an event."""
        self.latest = 0.0
        """Loop time at which the last message that is under way arrives."""
        inner.on_request = self._judge

    async def send(self, request: Request) -> Response:
        """Answer with whatever status the server gave."""
        request = self._sending(request)
        response = await self._inner.send(request)
        if request.method == "GET" and response.status == 200:
            self._listed(request, _version_of(response))
        if self._dice.random() < self.weather.slept:
            await asyncio.sleep(self._dice.uniform(0.0, LONGEST_LATE_SECONDS))
        return response

    async def stream(self, request: Request) -> AsyncIterator[bytes]:
        """The chunks, as late as the line lags."""
        async with aclosing(self._inner.stream(request)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                if self.lag_seconds:
                    await asyncio.sleep(self.lag_seconds)
                if self.garbled:
                    self.garbled = False
                    chunk = b'{"type":"MODIFIED","object":{"metad\n' + chunk
                yield self.spoil(chunk)

    async def close(self) -> None:
        """The process is gone; what it has sent still arrives."""
        await self._inner.close()

    def cut(self, number: int) -> None:
        """Break one open stream."""
        if streams := self._inner.streams:
            streams[number % len(streams)].cut()

    def silence(self, number: int) -> None:
        """Let nothing through one open stream any more, and say nothing."""
        if streams := self._inner.streams:
            streams[number % len(streams)].silence()

    def clear(self) -> None:
        """From now on nothing is disturbed; what was silent breaks."""
        self.weather = Weather(latency=self.weather.latency)
        self.isolated = False
        self.lag_seconds = 0.0
        for stream in tuple(self._inner.streams):
            stream.cut()

    def _judge(self, request: Request) -> NetworkFault:
        if self.isolated:
            return DROP
        if (ordered := self.order(request)) is not None:
            return ordered
        weather, rng = self.weather, self._dice
        way = rng.random() * weather.latency
        usual = NetworkFault(delay_seconds=way)
        if weather.calm:
            return usual
        verdict = self._fate(request, usual)
        # Where it hurts most, a crash is likeliest.
        if rng.random() < weather.crash * (5 if _matters(request) else 1):
            self._crash(f"{request.method} {request.path}")
            verdict = replace(usual, lost=rng.random() < 0.3)
            if _matters(request) and rng.random() < weather.held:
                verdict = self._held(LONGEST_HELD_SECONDS)
        return verdict

    def _fate(self, request: Request, usual: NetworkFault) -> NetworkFault:
        weather, rng = self.weather, self._dice
        if _matters(request) and rng.random() < weather.held:
            return self._held(LONGEST_HELD_SECONDS)
        if rng.random() < weather.late:
            return self._held(LONGEST_LATE_SECONDS)
        fates = (
            (weather.lost, DROP),
            (weather.unanswered, LOSE_RESPONSE if request.method != "GET" else usual),
            (weather.refused, REFUSE),
            (weather.busy, NetworkFault(response=_BUSY)),
            (weather.broken, NetworkFault(response=_BROKEN)),
        )
        for chance, verdict in fates:
            if rng.random() < chance:
                return verdict
        return usual

    def _held(self, longest: float) -> NetworkFault:
        seconds = self._dice.uniform(0.5, longest)
        arrives = asyncio.get_running_loop().time() + seconds
        self.latest = max(self.latest, arrives)
        return NetworkFault(delay_seconds=seconds)


def _matters(request: Request) -> bool:
    return request.path.endswith("/eviction") or "/configmaps" in request.path


class _Head(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _List(msgspec.Struct):
    metadata: _Head = msgspec.field(default_factory=_Head)


_READ = msgspec.json.Decoder(_List)


def _version_of(response: Response) -> str:
    return _READ.decode(response.body).metadata.resource_version


_BUSY = Response(
    status=429,
    body=b'{"kind":"Status","status":"Failure","message":"too many requests","code":429}',
    headers={"retry-after": "1"},
)
_BROKEN = Response(
    status=500,
    body=b'{"kind":"Status","status":"Failure","message":"etcdserver: no leader","code":500}',
)
