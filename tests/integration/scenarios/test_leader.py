"""Leadership: of several instances one moves pods, and another takes over when it ends."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.cluster import TestCluster, policy
from tests.support.operator_replicas import (
    AcceptedEviction,
    OperatorInstance,
    OperatorReplicas,
    takeovers,
)
from tests.support.scenarios import on_both_beds, only_embedded, only_real

CLEAN = timedelta(seconds=3)
CRASH = timedelta(seconds=18)
LEASE = timedelta(seconds=15)
"""Has to expire after a crash, on every machine."""
PODS = 60
"""Enough pods that a move is always due, two at a time."""


async def start_rebalance(cluster: TestCluster) -> None:
    """Start a rebalance that takes a while: about one eviction per second."""
    await cluster.add_nodes(spot=3, on_demand=3)
    await cluster.create_deployment("web", PODS, policy(0, max_moves_in_flight="2"))
    await cluster.wait_for_split("web", PODS, 0, within=240)
    await cluster.annotate("Deployment", "web", {"spot-percentage": "100"})


def with_slack(cluster: TestCluster, promised: timedelta) -> timedelta:
    """Return the promised duration, with slack for slow machines, except for the Lease."""
    waits = LEASE if promised > LEASE else timedelta()
    return waits + (promised - waits) * cluster.slack


async def wait_for_evictions(
    cluster: TestCluster,
    operators: OperatorReplicas,
    instance: OperatorInstance,
    *,
    minimum: int,
    within: float = 120,
) -> AcceptedEviction:
    """Wait until an instance has sent at least ``minimum`` evictions. Return that instance."""

    async def is_reached() -> bool:
        return (
            sum(eviction.identity == instance.identity for eviction in operators.evictions())
            >= minimum
        )

    await cluster.wait_until(is_reached, f"{instance.identity} evicts {minimum}", within=within)
    return next(each for each in operators.evictions() if each.identity == instance.identity)


async def wait_for_end(
    cluster: TestCluster,
    operators: OperatorReplicas,
    *,
    order: list[OperatorInstance],
    orphans: int = 0,
) -> None:
    """Wait for the end of the rebalance. There was one leader at a time, and no extra eviction.

    ``orphans``: maximum number of admission requests that a killed process did not answer. Such a
    pod is admitted unchanged, and one eviction corrects it.
    """
    await cluster.wait_for_split("web", 0, PODS, within=480)
    lost = len(operators.unanswered_pods())
    assert lost <= orphans
    assert PODS <= len(cluster.evictions()) <= PODS + lost
    assert takeovers(operators.evictions()) == [instance.identity for instance in order]


async def create_workloads(cluster: TestCluster, times: int) -> None:
    """Pods of new workloads are placed while no instance is the leader."""
    for number in range(times):
        name = f"new-{number}"
        await cluster.create_deployment(name, 2, policy(50))
        await cluster.wait_for_split(name, 1, 1)


async def hand_over(
    cluster: TestCluster,
    leave: Callable[[OperatorInstance], Coroutine[Any, Any, None]],
    promised: timedelta,
    orphans: int = 0,
) -> None:
    async with cluster.operators(2) as operators:
        leader = await operators.leader()
        [other] = operators.standbys(leader)
        await start_rebalance(cluster)
        await wait_for_evictions(cluster, operators, leader, minimum=4)
        left_at = await cluster.now()
        leaving = asyncio.create_task(leave(leader))
        placing = asyncio.create_task(create_workloads(cluster, 2))
        first = await wait_for_evictions(cluster, operators, other, minimum=1)
        took = first.received - left_at
        print(f"hand-over: {took.total_seconds():.2f} s")
        assert took < with_slack(cluster, promised)
        await leaving
        await placing
        await wait_for_end(cluster, operators, order=[leader, other], orphans=orphans)


@pytest.mark.check
@on_both_beds
async def test_a_terminated_leader_hands_over_within_3_seconds(
    cluster: TestCluster,
) -> None:
    await hand_over(cluster, lambda leader: leader.terminate(), CLEAN)


@pytest.mark.both
@on_both_beds
async def test_a_killed_leader_is_replaced_within_18_seconds(cluster: TestCluster) -> None:
    # Two moves at once, and two new workloads, at the time of the kill.
    await hand_over(cluster, lambda leader: leader.kill(), CRASH, orphans=4)


@on_both_beds
async def test_the_leader_recreates_a_deleted_lease_and_no_other_instance_moves_pods(
    cluster: TestCluster,
) -> None:
    async with cluster.operators(2) as operators:
        leader = await operators.leader()
        await start_rebalance(cluster)
        for _ in range(3):
            await asyncio.sleep(2)
            before = await operators.lease()
            await operators.delete_lease()
            assert await operators.leader() is leader
            after = await operators.lease()
            assert before is not None
            assert after is not None
            assert after.uid != before.uid
        await wait_for_end(cluster, operators, order=[leader])


@only_real
async def test_a_leader_frozen_for_20_seconds_resumes_as_a_standby(
    cluster: TestCluster,
) -> None:
    """Only a process can be frozen. A unit test covers the elector after the freeze."""

    async with cluster.operators(2) as operators:
        leader = await operators.leader()
        [other] = operators.standbys(leader)
        await start_rebalance(cluster)
        await wait_for_evictions(cluster, operators, leader, minimum=4)
        frozen_at = await cluster.now()
        leader.freeze()  # type: ignore[attr-defined]
        try:
            first = await wait_for_evictions(cluster, operators, other, minimum=1)
            took = first.received - frozen_at
            print(f"hand-over: {took.total_seconds():.2f} s")
            assert took < with_slack(cluster, CRASH)
            await asyncio.sleep(max(0.0, 20 - (await cluster.now() - frozen_at).total_seconds()))
        finally:
            leader.thaw()  # type: ignore[attr-defined]
        await cluster.wait_for_split("web", 0, PODS, within=480)
        assert len(cluster.evictions()) == PODS
        assert takeovers(operators.evictions()) == [leader.identity, other.identity]


@pytest.mark.long
@only_real
async def test_ten_terminated_leaders_hand_over_within_3_seconds_each(cluster: TestCluster) -> None:
    async with cluster.operators(2) as operators:
        await cluster.add_nodes(spot=3, on_demand=3)
        await cluster.create_deployment("web", 200, policy(0, max_moves_in_flight="2"))
        await cluster.wait_for_split("web", 200, 0, within=240)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "100"})
        took, order = [], []
        for _ in range(10):
            leader = await operators.leader()
            await wait_for_evictions(cluster, operators, leader, minimum=1)
            order.append(leader.identity)
            left_at = await cluster.now()
            leaving = asyncio.create_task(leader.terminate())
            other = await operators.leader(other_than=leader)
            first = await wait_for_evictions(cluster, operators, other, minimum=1)
            took.append((first.received - left_at).total_seconds())
            await leaving
            successor = leader.successor()  # type: ignore[attr-defined]
            operators.instances[operators.instances.index(leader)] = successor  # type: ignore[index]
            await cluster.wait_until(successor.is_ready, "the next standby is ready")
        print("hand-overs:", sorted(round(seconds, 2) for seconds in took))
        assert statistics.median(took) < CLEAN.total_seconds()
        assert max(took) < with_slack(cluster, CLEAN).total_seconds()
        assert takeovers(operators.evictions())[:10] == order
        assert operators.unanswered_pods() == []


def test_two_instances_that_move_pods_at_once_are_detected() -> None:
    at = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
    second = timedelta(seconds=1)
    one, other = (
        AcceptedEviction(at, at + 2 * second, "one"),
        AcceptedEviction(at + second, at + second, "other"),
    )
    with pytest.raises(AssertionError, match="two movers"):
        takeovers([one, other])


@only_embedded
async def test_the_clock_of_the_fallback_goes_on_after_a_change_of_leader(
    cluster: TestCluster,
) -> None:
    """It starts at the transition time of the pod's condition, which the API server keeps."""
    await cluster.add_nodes(on_demand=3)
    async with cluster.operators(2) as operators:
        began = await cluster.now()
        await cluster.create_deployment("web", 4, policy(50, spot_fallback="60s"))
        await cluster.wait_for_status("web", "NoSpotCapacity")
        await asyncio.sleep(40)
        assert operators.evictions() == []
        await (await operators.leader()).kill()
        await cluster.wait_for_split("web", 4, 0, within=60)
        waited = {round((one.received - began).total_seconds()) for one in operators.evictions()}
        assert (waited, len(operators.evictions())) == ({60}, 2)
