"""Spot nodes that die within minutes, and nodes that Karpenter replaces: the breaker."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from spotalis.model.nodes import NodeType
from tests.support.cluster import TestCluster, policy
from tests.support.karpenter import (
    Karpenter,
    NodePool,
    karpenter_beside,
)
from tests.support.scenarios import only_real

LIFETIME_SECONDS = 180
STORY_SECONDS = 900
NODE_SECONDS = 120
"""For the replacement of all nodes, on a busy machine."""
WORKLOADS = {"web": (2, 50, (1, 1)), "shop": (10, 70, (3, 7))}


@asynccontextmanager
async def dying_spot_nodes(
    cluster: TestCluster, karpenter: Karpenter
) -> AsyncIterator[Mapping[str, set[str]]]:
    """Interrupt each spot node 3 minutes after it has joined; collect the pods on spot by UID."""
    seen: dict[str, set[str]] = defaultdict(set)

    async def die(node: str) -> None:
        await asyncio.sleep(LIFETIME_SECONDS)
        await karpenter.interrupt(node)

    async def watch() -> None:
        dying: dict[str, asyncio.Task[None]] = {}
        while True:
            types = await cluster.node_types()
            for node, found in types.items():
                if found is NodeType.SPOT and node not in dying:
                    dying[node] = asyncio.create_task(die(node))
            for name in WORKLOADS:
                pods = await cluster.pods(name)
                seen[name] |= {pod.uid for pod in pods if types.get(pod.node) is NodeType.SPOT}
            await asyncio.sleep(1)

    watching = asyncio.create_task(watch())
    try:
        yield seen
    finally:
        watching.cancel()


async def count_births(cluster: TestCluster, karpenter: Karpenter) -> dict[str, int]:
    """Count the replicas on spot in 15 minutes, if spot nodes die 3 minutes after they joined."""
    async with dying_spot_nodes(cluster, karpenter) as on_spot:
        for name, (replicas, percentage, split) in WORKLOADS.items():
            await cluster.create_deployment(name, replicas, policy(percentage))
            await cluster.wait_for_split(name, *split)
        await asyncio.sleep(STORY_SECONDS)
        return {name: len(pods) for name, pods in on_spot.items()}


@pytest.mark.long
@only_real
async def test_each_spot_slot_is_filled_twice_before_the_breaker_opens(
    cluster: TestCluster,
) -> None:
    cluster.webhook_timeout_seconds = 30
    async with karpenter_beside(cluster, NodePool()) as karpenter, cluster.operator():
        assert await count_births(cluster, karpenter) == {"web": 2, "shop": 14}
        for name, (replicas, _, _) in WORKLOADS.items():
            await cluster.wait_for_split(name, replicas, 0)
            await cluster.wait_for_status(name, "SpotUnstable")
        assert cluster.evictions() == []


@pytest.mark.long
@only_real
async def test_without_the_breaker_spot_slots_are_filled_again_and_again(
    cluster: TestCluster,
) -> None:
    cluster.webhook_timeout_seconds = 30
    async with (
        karpenter_beside(cluster, NodePool()) as karpenter,
        cluster.operator("--breaker-interruptions=0"),
    ):
        births = await count_births(cluster, karpenter)
        assert births["web"] >= 4
        assert births["shop"] >= 28
        assert cluster.evictions() == []


@only_real
async def test_nodes_that_karpenter_replaces_twice_do_not_open_the_breaker(
    cluster: TestCluster,
) -> None:
    async with karpenter_beside(cluster, NodePool()) as karpenter, cluster.operator():
        await cluster.create_deployment("web", 10, policy(70))
        await cluster.wait_for_split("web", 3, 7)
        for generation in ("1", "2"):
            drifted = set(await karpenter.nodes())
            await karpenter.change(labels={"generation": generation})

            async def are_replaced(drifted: set[str] = drifted) -> bool:
                return not drifted & set(await karpenter.nodes())

            await cluster.wait_until(are_replaced, "the nodes are replaced", within=NODE_SECONDS)
            await cluster.wait_for_split("web", 3, 7)
        await cluster.wait_for_status("web", "Balanced")
        assert cluster.evictions() == []
        # It evicts some pods a second time.
        assert len({eviction.name for eviction in karpenter.evictions()}) == 20
