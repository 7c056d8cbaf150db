"""Whether an admission request is forwarded to the leader, and how long a standby waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from spotalis.webhook.forward import (
    Forwarder,
    ForwardResult,
    PeerRejected,
    PeerUnreachable,
    initial_result,
)
from tests.support.virtual_time import in_virtual_time, virtual_clock

LEADER, NEXT = "10.0.0.5:9443", "10.0.0.6:9443"
NO_BACKOFF = ("", 0.0)


@pytest.mark.parametrize(
    ("leads", "address", "backoff", "expected"),
    [
        pytest.param(True, "", NO_BACKOFF, ForwardResult.LEADER, id="leader"),
        pytest.param(True, LEADER, (LEADER, 99.0), ForwardResult.LEADER, id="new leader"),
        pytest.param(False, "", NO_BACKOFF, ForwardResult.NO_LEADER, id="no leader"),
        pytest.param(False, LEADER, NO_BACKOFF, ForwardResult.FORWARDED, id="standby"),
        pytest.param(False, LEADER, (LEADER, 10.1), ForwardResult.BACKOFF, id="during backoff"),
        pytest.param(False, LEADER, (LEADER, 10.0), ForwardResult.FORWARDED, id="after backoff"),
        pytest.param(False, NEXT, (LEADER, 10.1), ForwardResult.FORWARDED, id="next leader"),
    ],
)
def test_the_initial_result(
    leads: bool, address: str, backoff: tuple[str, float], expected: ForwardResult
) -> None:
    result = initial_result(leads=leads, address=address, backoff=backoff, now=10.0)
    assert result is expected


@dataclass
class Leadership:
    leads: bool = False
    leader_address: str = LEADER


@dataclass
class ScriptedPeerClient:
    """Responds after the given seconds, or raises; repeats the last entry of the script."""

    script: list[float | Exception]
    addresses: list[str] = field(default_factory=list)

    async def send(self, address: str, body: bytes) -> bytes:
        self.addresses.append(address)
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, Exception):
            raise step
        await asyncio.sleep(step)
        return b"response to " + body


class Standby:
    """A forwarder with a scripted leader."""

    def __init__(self, *script: float | Exception) -> None:
        self.leadership = Leadership()
        self.peer_client = ScriptedPeerClient(list(script))
        self.results: list[str] = []
        self.forwarder = Forwarder(
            self.leadership,
            self.peer_client,
            clock=virtual_clock(),
            on_forward=self.results.append,
        )

    async def forward(self) -> tuple[bytes | None, float]:
        """Forward a request; returns the response and the duration in seconds."""
        began = virtual_clock().monotonic()
        response = await self.forwarder.forward(b"request")
        return response, round(virtual_clock().monotonic() - began, 6)


@in_virtual_time
async def test_the_response_of_the_leader_is_returned() -> None:
    standby = Standby(0.001)
    assert await standby.forward() == (b"response to request", 0.001)
    assert standby.results == ["forwarded"]


@in_virtual_time
async def test_a_leader_without_response_for_300_ms_gets_no_requests_for_5_s() -> None:
    standby = Standby(3600.0)
    assert await standby.forward() == (None, 0.3)
    assert await standby.forward() == (None, 0.0)
    await asyncio.sleep(4.99)
    assert await standby.forward() == (None, 0.0)
    await asyncio.sleep(0.01)
    assert await standby.forward() == (None, 0.3)
    assert standby.results == ["timeout", "backoff", "backoff", "timeout"]


@pytest.mark.parametrize(
    ("error", "result"),
    [(PeerRejected("421"), "rejected"), (PeerUnreachable("no route"), "unreachable")],
)
@in_virtual_time
async def test_a_leader_that_rejects_or_is_unreachable_gets_no_requests_for_5_s(
    error: Exception, result: str
) -> None:
    standby = Standby(error)
    assert await standby.forward() == (None, 0.0)
    assert await standby.forward() == (None, 0.0)
    assert standby.results == [result, "backoff"]
    standby.leadership.leader_address = NEXT
    await standby.forward()
    assert standby.peer_client.addresses == [LEADER, NEXT], "no backoff for the next leader"


@in_virtual_time
async def test_a_standby_waits_up_to_one_second_while_the_leader_answers_other_requests() -> None:
    standby = Standby(0.2, 0.4, 0.6, 0.8, 1.2)
    found = await asyncio.gather(*(standby.forward() for _ in range(5)))
    response = b"response to request"
    assert found == [
        (response, 0.2),
        (response, 0.4),
        (response, 0.6),
        (response, 0.8),
        (None, 1.0),
    ]


@pytest.mark.parametrize(
    ("prepare", "result"),
    [
        pytest.param(lambda it: setattr(it.leadership, "leads", True), "leader", id="leader"),
        pytest.param(
            lambda it: setattr(it.leadership, "leader_address", ""), "no-leader", id="no leader"
        ),
    ],
)
@in_virtual_time
async def test_a_request_is_decided_locally_by_the_leader_or_without_a_leader(
    prepare: Callable[[Standby], None], result: str
) -> None:
    standby = Standby(0.001)
    prepare(standby)
    assert await standby.forward() == (None, 0.0)
    assert (standby.results, standby.peer_client.addresses) == ([result], [])
