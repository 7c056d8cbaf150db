"""T014: several replicas, one of them moves pods; however it goes, another takes over."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.bed import Bed, Wishes
from tests.support.crew import Crew, Moved, Replica, takeovers
from tests.support.stage import Play, Scenario, on_both_beds, only_real

CLEAN = timedelta(seconds=3)
CRASH = timedelta(seconds=18)
LEASE = timedelta(seconds=15)
"""Has to run out after a crash, however fast the machine is."""
PODS = 60
"""Enough moves, two at a time, that one is always due."""


async def under_way(bed: Bed) -> None:
    """A rebalance that goes on for a while: a pod's worth of evictions every second or so."""
    await bed.add_nodes(spot=3, on_demand=3)
    await bed.deployment("web", PODS, Wishes(0, other={"max-moves-in-flight": "2"}))
    await bed.settled("web", PODS, 0, within=240)
    await bed.annotate("Deployment", "web", {"spot-percentage": "100"})


def at_most(bed: Bed, promised: timedelta) -> timedelta:
    """What is promised; on a bed whose machine is shared, with slack for all but the Lease."""
    waits = LEASE if promised > LEASE else timedelta()
    return waits + (promised - waits) * bed.slack


async def evictions_by(
    bed: Bed, crew: Crew, replica: Replica, *, least: int, within: float = 120
) -> Moved:
    """Wait for so many; the first of them."""

    async def so() -> bool:
        return sum(one.identity == replica.identity for one in crew.moved()) >= least

    await bed.until(so, f"{replica.identity} evicts {least}", within=within)
    return next(one for one in crew.moved() if one.identity == replica.identity)


async def finished(bed: Bed, crew: Crew, *, order: list[Replica], orphans: int = 0) -> None:
    """The rebalance ends as if one leader had done it all, and never two at a time.

    ``orphans``: reviews that a killed process may have had in hand. The API server lets such a pod
    through as it is, and one eviction puts it right.
    """
    await bed.settled("web", 0, PODS, within=480)
    lost = len(crew.unanswered())
    assert lost <= orphans
    assert PODS <= len(bed.evictions()) <= PODS + lost
    assert takeovers(crew.moved()) == [replica.identity for replica in order]


async def webhook_answers(bed: Bed, times: int) -> None:
    """New pods of another workload are placed while there is no leader, or none that answers."""
    for number in range(times):
        name = f"new-{number}"
        await bed.deployment(name, 2, Wishes(50))
        await bed.settled(name, 1, 1)


def handed_over(
    leave: Callable[[Replica], Coroutine[Any, Any, None]], promised: timedelta, orphans: int = 0
) -> Scenario:
    async def scenario(bed: Bed) -> None:
        async with bed.crew(2) as crew:
            leader = await crew.leader()
            [other] = crew.standbys(leader)
            await under_way(bed)
            await evictions_by(bed, crew, leader, least=4)
            left_at = await bed.now()
            leaving = asyncio.create_task(leave(leader))
            placing = asyncio.create_task(webhook_answers(bed, 2))
            first = await evictions_by(bed, crew, other, least=1)
            took = first.received - left_at
            print(f"hand-over: {took.total_seconds():.2f} s")
            assert took < at_most(bed, promised)
            await leaving
            await placing
            await finished(bed, crew, order=[leader, other], orphans=orphans)

    return scenario


@on_both_beds
def test_a_leader_that_is_told_to_end_hands_over_within_3_seconds(play: Play) -> None:
    play(handed_over(lambda leader: leader.terminate(), CLEAN))


@on_both_beds
def test_a_leader_that_is_killed_is_succeeded_within_18_seconds(play: Play) -> None:
    # Two moves at once and two workloads that begin, at the moment of the kill.
    play(handed_over(lambda leader: leader.kill(), CRASH, orphans=4))


@on_both_beds
def test_a_deleted_lease_is_written_again_by_the_leader_and_nobody_else_moves(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        async with bed.crew(2) as crew:
            leader = await crew.leader()
            await under_way(bed)
            for _ in range(3):
                await asyncio.sleep(2)
                before = await crew.lease()
                await crew.delete_lease()
                assert await crew.leader() is leader
                after = await crew.lease()
                assert before is not None
                assert after is not None
                assert after.uid != before.uid
            await finished(bed, crew, order=[leader])

    play(scenario)


@only_real
def test_a_leader_that_is_frozen_for_20_seconds_wakes_up_as_a_standby(play: Play) -> None:
    """Only processes can be frozen; what a thawed elector thinks is a unit test."""

    async def scenario(bed: Bed) -> None:
        async with bed.crew(2) as crew:
            leader = await crew.leader()
            [other] = crew.standbys(leader)
            await under_way(bed)
            await evictions_by(bed, crew, leader, least=4)
            frozen_at = await bed.now()
            leader.freeze()  # type: ignore[attr-defined]
            try:
                first = await evictions_by(bed, crew, other, least=1)
                took = first.received - frozen_at
                print(f"hand-over: {took.total_seconds():.2f} s")
                assert took < at_most(bed, CRASH)
                await asyncio.sleep(max(0.0, 20 - (await bed.now() - frozen_at).total_seconds()))
            finally:
                leader.thaw()  # type: ignore[attr-defined]
            await bed.settled("web", 0, PODS, within=480)
            assert len(bed.evictions()) == PODS
            assert takeovers(crew.moved()) == [leader.identity, other.identity]

    play(scenario)


@only_real
def test_ten_leaders_in_a_row_hand_over_within_3_seconds_each(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        async with bed.crew(2) as crew:
            await bed.add_nodes(spot=3, on_demand=3)
            await bed.deployment("web", 200, Wishes(0, other={"max-moves-in-flight": "2"}))
            await bed.settled("web", 200, 0, within=240)
            await bed.annotate("Deployment", "web", {"spot-percentage": "100"})
            took, order = [], []
            for _ in range(10):
                leader = await crew.leader()
                await evictions_by(bed, crew, leader, least=1)
                order.append(leader.identity)
                left_at = await bed.now()
                leaving = asyncio.create_task(leader.terminate())
                other = await crew.leader(other_than=leader)
                first = await evictions_by(bed, crew, other, least=1)
                took.append((first.received - left_at).total_seconds())
                await leaving
                successor = leader.successor()  # type: ignore[attr-defined]
                crew.replicas[crew.replicas.index(leader)] = successor  # type: ignore[index]
                await bed.until(successor.is_ready, "the next standby is ready")
            print("hand-overs:", sorted(round(seconds, 2) for seconds in took))
            assert statistics.median(took) < CLEAN.total_seconds()
            assert max(took) < at_most(bed, CLEAN).total_seconds()
            assert takeovers(crew.moved())[:10] == order
            assert crew.unanswered() == []

    play(scenario)


def test_two_movers_at_a_time_would_be_noticed() -> None:
    at = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
    second = timedelta(seconds=1)
    one, other = Moved(at, at + 2 * second, "one"), Moved(at + second, at + second, "other")
    with pytest.raises(AssertionError, match="two movers"):
        takeovers([one, other])
