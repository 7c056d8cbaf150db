"""The network between one operator process and the API server."""

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
from tests.simulation.history import FaultRates

MAX_HELD_SECONDS = 40.0
MAX_DELAY_SECONDS = 10.0


class FaultyTransport:
    """A transport that reports requests to the oracle and injects random and scripted faults."""

    def __init__(
        self,
        inner: InProcessTransport,
        rng: random.Random,
        *,
        fault_rates: FaultRates,
        sending: Callable[[Request], Request],
        listed: Callable[[Request, str], None],
        crash: Callable[[str], None],
    ) -> None:
        """Args:
        sending: called with each request before its fault is chosen; returns the request to
            send.
        listed: called with each list request and the resourceVersion of its response.
        crash: crashes the operator process soon.
        """
        self._inner = inner
        self._rng = rng
        self._sending = sending
        self._listed = listed
        self._crash = crash
        self.fault_rates = fault_rates
        self.fault_rule: Callable[[Request], NetworkFault | None] = lambda request: None
        """Chooses the fault of a request; None: the fault is random."""
        self.alter_chunk: Callable[[bytes], bytes] = lambda chunk: chunk
        """Applied to each chunk of a watch."""
        self.isolated = False
        """No message gets through, in either direction."""
        self.lag_seconds = 0.0
        """Delay of each chunk of a watch."""
        self.garbled = False
        """The next chunk of a watch begins with half an event."""
        self.latest = 0.0
        """Loop time at which the last message in transit arrives."""
        inner.on_request = self._choose_fault

    async def send(self, request: Request) -> Response:
        """Send a request; the response can have any status."""
        request = self._sending(request)
        response = await self._inner.send(request)
        if request.method == "GET" and response.status == 200:
            self._listed(request, _version_of(response))
        if self._rng.random() < self.fault_rates.reader_paused:
            await asyncio.sleep(self._rng.uniform(0.0, MAX_DELAY_SECONDS))
        return response

    async def stream(self, request: Request) -> AsyncIterator[bytes]:
        """The chunks of a watch, delayed by ``lag_seconds``."""
        async with aclosing(self._inner.stream(request)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                if self.lag_seconds:
                    await asyncio.sleep(self.lag_seconds)
                if self.garbled:
                    self.garbled = False
                    chunk = b'{"type":"MODIFIED","object":{"metad\n' + chunk
                yield self.alter_chunk(chunk)

    async def close(self) -> None:
        """Close the connections. Messages in transit still arrive."""
        await self._inner.close()

    def cut(self, number: int) -> None:
        """Break one open watch."""
        if streams := self._inner.streams:
            streams[number % len(streams)].cut()

    def silence(self, number: int) -> None:
        """Stop delivering events on one open watch without closing it."""
        if streams := self._inner.streams:
            streams[number % len(streams)].silence()

    def clear(self) -> None:
        """End all faults, and break all watches so that they reconnect."""
        self.fault_rates = FaultRates(latency=self.fault_rates.latency)
        self.isolated = False
        self.lag_seconds = 0.0
        for stream in tuple(self._inner.streams):
            stream.cut()

    def _choose_fault(self, request: Request) -> NetworkFault:
        if self.isolated:
            return DROP
        if (scripted := self.fault_rule(request)) is not None:
            return scripted
        fault_rates, rng = self.fault_rates, self._rng
        latency = rng.random() * fault_rates.latency
        usual = NetworkFault(delay_seconds=latency)
        if fault_rates.is_zero:
            return usual
        fault = self._random_fault(request, usual)
        # Crashes are most likely at evictions and ledger writes.
        if rng.random() < fault_rates.crash * (5 if _is_critical(request) else 1):
            self._crash(f"{request.method} {request.path}")
            fault = replace(usual, lost=rng.random() < 0.3)
            if _is_critical(request) and rng.random() < fault_rates.held:
                fault = self._held(MAX_HELD_SECONDS)
        return fault

    def _random_fault(self, request: Request, usual: NetworkFault) -> NetworkFault:
        fault_rates, rng = self.fault_rates, self._rng
        if _is_critical(request) and rng.random() < fault_rates.held:
            return self._held(MAX_HELD_SECONDS)
        if rng.random() < fault_rates.delayed:
            return self._held(MAX_DELAY_SECONDS)
        faults = (
            (fault_rates.lost, DROP),
            (fault_rates.unanswered, LOSE_RESPONSE if request.method != "GET" else usual),
            (fault_rates.refused, REFUSE),
            (fault_rates.throttled, NetworkFault(response=_THROTTLED)),
            (fault_rates.server_error, NetworkFault(response=_SERVER_ERROR)),
        )
        for chance, fault in faults:
            if rng.random() < chance:
                return fault
        return usual

    def _held(self, maximum: float) -> NetworkFault:
        seconds = self._rng.uniform(0.5, maximum)
        arrives = asyncio.get_running_loop().time() + seconds
        self.latest = max(self.latest, arrives)
        return NetworkFault(delay_seconds=seconds)


def _is_critical(request: Request) -> bool:
    return request.path.endswith("/eviction") or "/configmaps" in request.path


class _ListMetadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _List(msgspec.Struct):
    metadata: _ListMetadata = msgspec.field(default_factory=_ListMetadata)


_DECODER = msgspec.json.Decoder(_List)


def _version_of(response: Response) -> str:
    return _DECODER.decode(response.body).metadata.resource_version


_THROTTLED = Response(
    status=429,
    body=b'{"kind":"Status","status":"Failure","message":"too many requests","code":429}',
    headers={"retry-after": "1"},
)
_SERVER_ERROR = Response(
    status=500,
    body=b'{"kind":"Status","status":"Failure","message":"etcdserver: no leader","code":500}',
)
