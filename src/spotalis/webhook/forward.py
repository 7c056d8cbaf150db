"""One sequencer per cluster: a standby sends the reviews it gets to the leader (behaviour.md 4).

A burst is exact because one replica decides about all pods of a workload, each decision seeing
the reservations before it. The leader says in an annotation of the Lease where it can be asked.
A standby whose question is not answered in time decides from its own cache: a pod placed with a
bounded error, which the controller repairs, is better than one placed by nobody.

A replica that does not lead refuses (421), also if it led a moment ago. It might have more
reservations than whoever asks; but who has lost the lead has mostly lost the API server first,
and its cache with it, while the one that asks has a cache that is alive. A leader that shuts down
in order gives up the lead only after its last review. What is refused is not sent on to yet
another replica, so no review can go round in circles.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any, Protocol

import aiohttp

from spotalis.model.environment import Clock

FORWARD_PATH = "/forward"
PATIENCE_SECONDS = 0.3
"""A leader that answers nobody for so long is not waited for."""
LONGEST_SECONDS = 1.0
"""For one answer of a leader that goes on answering others: in a burst the line is long, and who
leaves it spoils the split. The API server waits 2 s for our answer."""
REST_SECONDS = 5.0
"""A leader that did not answer is not asked again for so long."""
_TICK = 0.001
"""Timers are not finer: what is left of one is no reason to wait once more."""
_CONNECTIONS = 4
"""To the leader, which answers in about a millisecond: more would only be more handshakes, 4 ms
each, at the beginning of a burst."""


class ForwardResult(StrEnum):
    """How a review came to its decision: a label of ``spotalis_webhook_forwarded_total``."""

    LED = "led"
    """Decided here, by the leader."""
    FORWARDED = "forwarded"
    """Decided by the leader, for us."""
    NO_LEADER = "no-leader"
    """Decided here: nobody leads, or nobody says where."""
    RESTING = "resting"
    """Decided here: the leader has not answered a moment ago."""
    TIMEOUT = "timeout"
    """Decided here: the leader fell silent."""
    REFUSED = "refused"
    """Decided here: who was asked does not lead, or failed."""
    UNREACHABLE = "unreachable"
    """Decided here: no connection to the leader."""


class PeerRejected(Exception):
    """Who was asked does not lead, or could not decide."""


class PeerUnreachable(Exception):
    """The question did not get there."""


class PeerClient(Protocol):
    """Takes a review to another replica: over the network, or in tests within the process."""

    async def send(self, address: str, body: bytes) -> bytes:
        """The other replica's answer.

        Raises:
            PeerRejected, PeerUnreachable: see there.
        """
        ...


class Leadership(Protocol):
    """What the elector knows."""

    @property
    def leads(self) -> bool:
        """Whether this replica leads."""
        ...

    @property
    def leader_address(self) -> str:
        """``ip:port`` of the leader's webhook; empty where nobody is known to lead."""
        ...


class Forwarder:
    """Asks the leader, if that is another replica and it answers."""

    def __init__(
        self,
        leadership: Leadership,
        peer_client: PeerClient | None,
        *,
        clock: Clock,
        on_forward: Callable[[str], None] = lambda way: None,
    ) -> None:
        """Without a peer_client every review is decided here.

        Args:
            leadership: who leads.
            peer_client: how the leader is reached.
            clock: monotonic seconds.
            went: told the way of each review.
        """
        self._leadership = leadership
        self._peer_client = peer_client
        self._clock = clock
        self._on_forward = on_forward
        self._heard: tuple[str, float] = ("", 0.0)
        """Who has answered last, and when."""
        self._rests: tuple[str, float] = ("", 0.0)
        """Who did not answer, and until when it is not asked again."""

    @property
    def leads(self) -> bool:
        """Whether reviews of other replicas are to be decided here."""
        return self._leadership.leads

    async def ask(self, body: bytes) -> bytes | None:
        """The leader's answer to a review; None: decide here."""
        way, answer = await self._ask(body)
        self._on_forward(way)
        return answer

    async def _ask(self, body: bytes) -> tuple[ForwardResult, bytes | None]:
        address = self._leadership.leader_address
        way = initial_result(
            leads=self._leadership.leads,
            address=address if self._peer_client else "",
            rests=self._rests,
            now=self._clock.monotonic(),
        )
        if way is not ForwardResult.FORWARDED or self._peer_client is None:
            return way, None
        try:
            return way, await self._patiently(address, self._peer_client.send(address, body))
        except TimeoutError:
            way = ForwardResult.TIMEOUT
        except PeerRejected:
            way = ForwardResult.REFUSED
        except PeerUnreachable:
            way = ForwardResult.UNREACHABLE
        self._rests = (address, self._clock.monotonic() + REST_SECONDS)
        return way, None

    async def _patiently(self, address: str, carrying: Coroutine[Any, Any, bytes]) -> bytes:
        """The answer, waited for as long as the leader shows that it lives.

        Raises:
            TimeoutError: it does not.
        """
        clock = self._clock
        asked_at = clock.monotonic()
        asking = asyncio.ensure_future(carrying)
        try:
            while not asking.done():
                heard_at = self._heard[1] if self._heard[0] == address else asked_at
                until = min(max(asked_at, heard_at) + PATIENCE_SECONDS, asked_at + LONGEST_SECONDS)
                left = until - clock.monotonic()
                if left <= _TICK:
                    raise TimeoutError
                await asyncio.wait((asking,), timeout=left)
            answer = asking.result()
        finally:
            asking.cancel()
        self._heard = (address, clock.monotonic())
        return answer


def initial_result(
    *, leads: bool, address: str, rests: tuple[str, float], now: float
) -> ForwardResult:
    """What to try first.

    Args:
        leads: we do.
        address: the leader's; empty if there is none to ask.
        rests: whom not to ask, and until when; a new leader is asked at once.
        now: monotonic seconds.
    """
    if leads:
        return ForwardResult.LED
    if not address:
        return ForwardResult.NO_LEADER
    if rests[0] == address and now < rests[1]:
        return ForwardResult.RESTING
    return ForwardResult.FORWARDED


class HttpsPeerClient:
    """Takes reviews to the leader over TLS, both ends shown to be replicas."""

    def __init__(self, context: Callable[[], ssl.SSLContext | None], peer_name: str) -> None:
        """Nothing is opened before the first review.

        Args:
            context: the present one, to ask with; None while there is none.
            peer_name: the DNS name in every replica's certificate.
        """
        self._context = context
        self._replica_name = peer_name
        self._session: aiohttp.ClientSession | None = None

    async def send(self, address: str, body: bytes) -> bytes:
        """See :class:`PeerClient`; connections are kept for the next review."""
        context = self._context()
        if context is None:
            raise PeerUnreachable("no authority vouches for replicas")
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
            self._session = aiohttp.ClientSession(connector=connector)
        try:
            async with self._session.post(
                f"https://{address}{FORWARD_PATH}",
                data=body,
                headers={"Content-Type": "application/json"},
                ssl=context,
                server_hostname=self._replica_name,
                allow_redirects=False,
            ) as answer:
                said = await answer.read()
        except (aiohttp.ClientError, OSError) as error:
            raise PeerUnreachable(str(error)) from None
        if answer.status != 200:
            raise PeerRejected(f"HTTP {answer.status}")
        return said

    async def close(self) -> None:
        """End the connections."""
        if self._session is not None:
            await self._session.close()
