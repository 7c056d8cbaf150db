"""Spot nodes that die within minutes and are bought again: the interruption breaker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import pytest

from spotalis.model.nodes import NodeType
from tests.support import incidents
from tests.support.cluster import TestCluster, policy
from tests.support.incidents import KARPENTER, SPOT_ITN
from tests.support.scenarios import only_embedded

LIFETIME_SECONDS = 180.0
HOUR_SECONDS = 3600.0
POLICY = policy(50, 1, spot_fallback="60s")
End: TypeAlias = Callable[[TestCluster, str], Awaitable[None]]
"""Ends a node, given its name."""


async def vanish(cluster: TestCluster, node: str) -> None:
    """The node and its pods are gone at once."""
    await cluster.reclaim(node)


async def announce(cluster: TestCluster, node: str) -> None:
    """AWS's termination handler announces the end."""
    await incidents.warn(cluster, node, SPOT_ITN)
    await asyncio.sleep(20)
    await cluster.reclaim(node)


async def interrupt(cluster: TestCluster, node: str) -> None:
    """Karpenter learns of the interruption, or the node has expired."""
    await incidents.interrupt(cluster, node)
    await asyncio.sleep(20)
    await incidents.end_interruption(cluster, node)
    await cluster.reclaim(node)


async def replace(cluster: TestCluster, node: str) -> None:
    """Karpenter consolidates the node, or it has drifted."""
    await incidents.warn(cluster, node, KARPENTER)
    await asyncio.sleep(20)
    await incidents.interrupt(cluster, node)
    await asyncio.sleep(5)
    await incidents.end_interruption(cluster, node)
    await cluster.reclaim(node)


@asynccontextmanager
async def dying_spot_nodes(cluster: TestCluster, end: End) -> AsyncIterator[set[str]]:
    """End each spot node 3 minutes after it has joined; collect the UIDs of pods on spot."""
    seen: set[str] = set()

    async def die(node: str) -> None:
        await asyncio.sleep(LIFETIME_SECONDS)
        await end(cluster, node)

    async def watch() -> None:
        dying: dict[str, asyncio.Task[None]] = {}
        while True:
            types = await cluster.node_types()
            for node, found in types.items():
                if found is NodeType.SPOT and node not in dying:
                    dying[node] = asyncio.create_task(die(node))
            pods = await cluster.pods("web")
            seen.update(pod.uid for pod in pods if types.get(pod.node) is NodeType.SPOT)
            await asyncio.sleep(5)

    watching = asyncio.create_task(watch())
    try:
        yield seen
    finally:
        watching.cancel()


@only_embedded  # An hour passes.
@pytest.mark.parametrize(
    ("end", "births", "evictions"),
    [  # Two replicas try, and are evicted for that.
        pytest.param(announce, 2, 2, id="notice"),
        pytest.param(interrupt, 2, 2, id="Karpenter's reaction"),
        # The pods of a deleted node vanish at once here: only the placement of the first
        # replacement sees the loss, and the replica moves to spot once more.
        pytest.param(vanish, 3, 3, id="no notice"),
    ],
)
async def test_a_replica_is_born_on_unstable_spot_nodes_at_most_three_times_an_hour(
    cluster: TestCluster, end: End, births: int, evictions: int
) -> None:
    await cluster.add_nodes(on_demand=1)
    async with cluster.provisioner(), cluster.operator():
        async with dying_spot_nodes(cluster, end) as on_spot:
            await cluster.create_deployment("web", 2, POLICY)
            await cluster.wait_for_split("web", 1, 1)
            await asyncio.sleep(900)
            await cluster.wait_for_split("web", 2, 0)
            await cluster.wait_for_status("web", "SpotUnstable")
            await asyncio.sleep(HOUR_SECONDS - 900)
            assert len(on_spot) == births
            # Half open: one replica tries, is lost too, and the breaker opens again.
            await asyncio.sleep(1200)
            assert len(on_spot) == births + 1
            await cluster.wait_for_status("web", "SpotUnstable")
        # The pool is stable again: the next try stays.
        await asyncio.sleep(HOUR_SECONDS)
        await cluster.wait_for_split("web", 1, 1)
        await cluster.assert_unchanged("web")
    assert len(cluster.evictions()) == evictions


@only_embedded  # An hour passes.
async def test_without_the_breaker_a_replica_is_born_on_unstable_spot_nodes_again_and_again(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(on_demand=1)
    async with (
        cluster.provisioner(),
        cluster.operator("--breaker-interruptions=0"),
        dying_spot_nodes(cluster, vanish) as on_spot,
    ):
        await cluster.create_deployment("web", 2, POLICY)
        await asyncio.sleep(HOUR_SECONDS)
        assert len(on_spot) >= 15
    assert cluster.evictions() == []


@only_embedded  # An hour passes.
async def test_nodes_that_karpenter_replaces_again_and_again_do_not_open_the_breaker(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(on_demand=1)
    async with (
        cluster.provisioner(),
        cluster.operator(),
        dying_spot_nodes(cluster, replace) as on_spot,
    ):
        await cluster.create_deployment("web", 2, POLICY)
        for _ in range(12):
            await asyncio.sleep(300)
            assert await cluster.get_status_reason("web") != "SpotUnstable"
        assert len(on_spot) >= 12
    await cluster.wait_for_split("web", 1, 1)
    assert cluster.evictions() == []
