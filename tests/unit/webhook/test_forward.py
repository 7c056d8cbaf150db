"""Which way a review goes: to the leader, or not, and how long that is waited for."""

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
from tests.support.virtual_time import LoopClock, in_virtual_time

LEADER, NEXT = "10.0.0.5:9443", "10.0.0.6:9443"


@pytest.mark.parametrize(
    ("leads", "address", "rests", "way"),
    [
        pytest.param(True, "", ("", 0.0), ForwardResult.LED, id="the leader decides"),
        pytest.param(
            True, LEADER, (LEADER, 99.0), ForwardResult.LED, id="whatever it knew as a standby"
        ),
        pytest.param(
            False, "", ("", 0.0), ForwardResult.NO_LEADER, id="without a leader a standby decides"
        ),
        pytest.param(False, LEADER, ("", 0.0), ForwardResult.FORWARDED, id="with one it asks"),
        pytest.param(
            False, LEADER, (LEADER, 10.1), ForwardResult.RESTING, id="but not one that was silent"
        ),
        pytest.param(
            False, LEADER, (LEADER, 10.0), ForwardResult.FORWARDED, id="for more than a while"
        ),
        pytest.param(
            False, NEXT, (LEADER, 10.1), ForwardResult.FORWARDED, id="and its successor at once"
        ),
    ],
)
def test_the_first_way(
    leads: bool, address: str, rests: tuple[str, float], way: ForwardResult
) -> None:
    assert initial_result(leads=leads, address=address, rests=rests, now=10.0) is way


@dataclass
class Leadership:
    leads: bool = False
    leader_address: str = LEADER


@dataclass
class ScriptedPeerClient:
    """Answers after so many seconds, or raises; the last of the script is repeated."""

    script: list[float | Exception]
    asked: list[str] = field(default_factory=list)

    async def send(self, address: str, body: bytes) -> bytes:
        self.asked.append(address)
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, Exception):
            raise step
        await asyncio.sleep(step)
        return b"decided: " + body


class Standby:
    """A forwarder and what it did."""

    def __init__(self, *script: float | Exception) -> None:
        self.leadership = Leadership()
        self.peer_client = ScriptedPeerClient(list(script))
        self.ways: list[str] = []
        self.forwarder = Forwarder(
            self.leadership, self.peer_client, clock=LoopClock(), on_forward=self.ways.append
        )

    async def ask(self) -> tuple[bytes | None, float]:
        """The answer, and how long it took."""
        began = LoopClock().monotonic()
        answer = await self.forwarder.ask(b"review")
        return answer, round(LoopClock().monotonic() - began, 6)


def test_the_leaders_answer_is_taken() -> None:
    async def story() -> None:
        standby = Standby(0.001)
        assert await standby.ask() == (b"decided: review", 0.001)
        assert standby.ways == ["forwarded"]

    in_virtual_time(story())


def test_a_silent_leader_is_waited_for_300_ms_and_left_alone_for_5_s() -> None:
    async def story() -> None:
        standby = Standby(3600.0)
        assert await standby.ask() == (None, 0.3)
        assert await standby.ask() == (None, 0.0)
        await asyncio.sleep(4.99)
        assert await standby.ask() == (None, 0.0)
        await asyncio.sleep(0.01)
        assert await standby.ask() == (None, 0.3)
        assert standby.ways == ["timeout", "resting", "resting", "timeout"]

    in_virtual_time(story())


@pytest.mark.parametrize(
    ("error", "way"), [(PeerRejected("421"), "refused"), (PeerUnreachable("nobody"), "unreachable")]
)
def test_a_leader_that_refuses_or_is_not_there_is_left_alone_for_5_s(
    error: Exception, way: str
) -> None:
    async def story() -> None:
        standby = Standby(error)
        assert await standby.ask() == (None, 0.0)
        assert await standby.ask() == (None, 0.0)
        assert standby.ways == [way, "resting"]
        standby.leadership.leader_address = NEXT
        await standby.ask()
        assert standby.peer_client.asked == [LEADER, NEXT], "its successor is asked at once"

    in_virtual_time(story())


def test_a_long_line_at_a_leader_that_answers_is_waited_in_for_at_most_a_second() -> None:
    async def story() -> None:
        standby = Standby(0.2, 0.4, 0.6, 0.8, 1.2)
        found = await asyncio.gather(*(standby.ask() for _ in range(5)))
        answered = b"decided: review"
        assert found == [
            (answered, 0.2),
            (answered, 0.4),
            (answered, 0.6),
            (answered, 0.8),
            (None, 1.0),
        ]

    in_virtual_time(story())


@pytest.mark.parametrize(
    ("prepare", "way"),
    [
        pytest.param(lambda one: setattr(one.leadership, "leads", True), "led", id="it leads"),
        pytest.param(
            lambda one: setattr(one.leadership, "leader_address", ""), "no-leader", id="nobody does"
        ),
    ],
)
def test_nobody_is_asked_where_there_is_nobody_to_ask(
    prepare: Callable[[Standby], None], way: str
) -> None:
    async def story() -> None:
        standby = Standby(0.001)
        prepare(standby)
        assert await standby.ask() == (None, 0.0)
        assert (standby.ways, standby.peer_client.asked) == ([way], [])

    in_virtual_time(story())
