"""Forwards admission requests from standby instances to the leader.

One instance decides about all pods of a workload, and each decision sees the reservations of the
previous ones, so that a burst of pods is split exactly. The leader publishes its address in an
annotation of the Lease. A standby that gets no response in time decides from its own cache: a pod
placed with a bounded error, which the controller repairs, is better than a pod that is not placed.

An instance that does not lead rejects forwarded requests (421), even if it led a moment before. It
may hold more reservations than the sender, but an instance that lost leadership has usually lost
the API server first, so that its cache is stale. A leader that shuts down in order releases the
Lease only after its last admission request. The sender never forwards a rejected request again, so
requests cannot loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any, Protocol

from spotalis.model.environment import Clock

FORWARD_PATH = "/forward"
PATIENCE_SECONDS = 0.3
"""Timeout since the last response of the leader."""
MAX_SECONDS = 1.0
"""Timeout of one request while the leader answers others. In a burst the queue at the leader is
long, and a decision made elsewhere makes the split inexact. The API server waits 2 s in all."""
BACKOFF_SECONDS = 5.0
"""Time without requests to a leader that did not answer."""
_TICK = 0.001
"""Timers are not more precise: a shorter remainder is not worth another wait."""


class ForwardResult(StrEnum):
    """Where an admission request was decided, and why: a label of a metric.

    All but ``FORWARDED`` were decided by this instance.
    """

    LEADER = "leader"
    """This instance is the leader."""
    FORWARDED = "forwarded"
    """The leader decided."""
    NO_LEADER = "no-leader"
    """No instance is the leader, or its address is not known."""
    BACKOFF = "backoff"
    """The leader did not answer a moment before."""
    TIMEOUT = "timeout"
    """The leader did not answer in time."""
    REJECTED = "rejected"
    """The other instance is not the leader, or failed."""
    UNREACHABLE = "unreachable"
    """The connection to the leader failed."""


class PeerRejected(Exception):
    """The other instance is not the leader, or could not decide."""


class PeerUnreachable(Exception):
    """The request did not reach the other instance."""


class PeerClient(Protocol):
    """Sends admission requests to another instance."""

    async def send(self, address: str, body: bytes) -> bytes:
        """Return the response of the instance at ``address``.

        Raises:
            PeerRejected, PeerUnreachable: see there.
        """
        ...


class Leadership(Protocol):
    """The result of the leader election."""

    @property
    def leads(self) -> bool:
        """Whether this instance is the leader."""
        ...

    @property
    def leader_address(self) -> str:
        """``ip:port`` of the leader's webhook; empty if it is not known."""
        ...


class Forwarder:
    """Forwards admission requests if another instance leads and answers."""

    def __init__(
        self,
        leadership: Leadership,
        peer_client: PeerClient | None,
        *,
        clock: Clock,
        on_forward: Callable[[str], None] = lambda result: None,
    ) -> None:
        """Prepare; without a ``peer_client`` this instance decides every request.

        ``on_forward`` is called with the result of each request.
        """
        self._leadership = leadership
        self._peer_client = peer_client
        self._clock = clock
        self._on_forward = on_forward
        self._last_response: tuple[str, float] = ("", 0.0)
        """The address that answered last, and when."""
        self._backoff: tuple[str, float] = ("", 0.0)
        """The address that did not answer, and until when no request is sent there."""

    @property
    def leads(self) -> bool:
        """Whether this instance decides the requests of other instances."""
        return self._leadership.leads

    async def forward(self, body: bytes) -> bytes | None:
        """Return the leader's response; None if this instance has to decide."""
        result, response = await self._forward(body)
        self._on_forward(result)
        return response

    async def _forward(self, body: bytes) -> tuple[ForwardResult, bytes | None]:
        address = self._leadership.leader_address
        result = initial_result(
            leads=self._leadership.leads,
            address=address if self._peer_client else "",
            backoff=self._backoff,
            now=self._clock.monotonic(),
        )
        if result is not ForwardResult.FORWARDED or self._peer_client is None:
            return result, None
        try:
            return result, await self._wait(address, self._peer_client.send(address, body))
        except TimeoutError:
            result = ForwardResult.TIMEOUT
        except PeerRejected:
            result = ForwardResult.REJECTED
        except PeerUnreachable:
            result = ForwardResult.UNREACHABLE
        self._backoff = (address, self._clock.monotonic() + BACKOFF_SECONDS)
        return result, None

    async def _wait(self, address: str, sending: Coroutine[Any, Any, bytes]) -> bytes:
        """Wait for a response for as long as the leader keeps answering requests.

        Raises:
            TimeoutError: it does not.
        """
        clock = self._clock
        sent_at = clock.monotonic()
        task = asyncio.ensure_future(sending)
        try:
            while not task.done():
                answered_at = self._last_response[1] if self._last_response[0] == address else 0.0
                deadline = min(max(sent_at, answered_at) + PATIENCE_SECONDS, sent_at + MAX_SECONDS)
                remaining = deadline - clock.monotonic()
                if remaining <= _TICK:
                    raise TimeoutError
                await asyncio.wait((task,), timeout=remaining)
            response = task.result()
        finally:
            task.cancel()
        self._last_response = (address, clock.monotonic())
        return response


def initial_result(
    *, leads: bool, address: str, backoff: tuple[str, float], now: float
) -> ForwardResult:
    """Decide whether to forward a request, from what is known before.

    ``address`` is the leader's, empty if it is not known. ``backoff`` is an address and the time
    until which no request is sent there; a new leader is not affected.
    """
    if leads:
        return ForwardResult.LEADER
    if not address:
        return ForwardResult.NO_LEADER
    if backoff[0] == address and now < backoff[1]:
        return ForwardResult.BACKOFF
    return ForwardResult.FORWARDED
