"""Spot capacity ends and returns, beside real Karpenter."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.support.cluster import CAPACITY_TYPE_LABEL, TestCluster, policy
from tests.support.karpenter import NodePool, karpenter_beside
from tests.support.readiness_history import track_readiness
from tests.support.scenarios import only_real

FALLBACK_SECONDS = 20
NODE_SECONDS = 10
"""From a Pending pod to a ready one on a new node: Karpenter waits up to 10 s for more pods."""
SLACK_SECONDS = 30
"""For a busy machine."""
DROUGHT_SECONDS = 600


@only_real
async def test_every_replica_serves_again_when_spot_ends_and_no_ready_one_is_evicted_meanwhile(
    cluster: TestCluster,
) -> None:
    async with karpenter_beside(cluster, NodePool()) as karpenter, cluster.operator():
        await cluster.create_deployment("web", 10, policy(70, spot_fallback="20s"))
        await cluster.wait_for_split("web", 3, 7)
        async with track_readiness(cluster, "web", 10) as history:
            await karpenter.take_spot_away()
            within = FALLBACK_SECONDS + NODE_SECONDS + SLACK_SECONDS
            await cluster.wait_for_split("web", 10, 0, within=within)
        assert history.harmful_evictions(cluster) == []
        assert history.minimum >= 3  # the on-demand replicas


@only_real
async def test_fallback_does_not_wait_for_spot_fallback_if_karpenter_can_add_no_spot_node(
    cluster: TestCluster,
) -> None:
    async with karpenter_beside(cluster, NodePool()) as karpenter, cluster.operator():
        await cluster.create_deployment("web", 10, policy(70, spot_fallback="10m"))
        await cluster.wait_for_split("web", 3, 7)
        await karpenter.take_spot_away()
        await cluster.wait_for_split("web", 10, 0, within=15 + NODE_SECONDS + SLACK_SECONDS)
        assert len(cluster.evictions()) <= 7


@pytest.mark.long
@only_real
async def test_all_workloads_return_to_spot_after_ten_minutes_without_it(
    cluster: TestCluster,
) -> None:
    workloads = {"web": (10, 70, (3, 7)), "shop": (40, 75, (10, 30))}
    async with karpenter_beside(cluster, NodePool()) as karpenter, cluster.operator():
        async with AsyncExitStack() as tracking:
            histories = {}
            for name, (replicas, percentage, split) in workloads.items():
                await cluster.create_deployment(
                    name, replicas, policy(percentage, spot_fallback="20s")
                )
                await cluster.wait_for_split(name, *split)
                histories[name] = await tracking.enter_async_context(
                    track_readiness(cluster, name, replicas)
                )
            await karpenter.take_spot_away()
            for name, (replicas, _, _) in workloads.items():
                within = FALLBACK_SECONDS + NODE_SECONDS + SLACK_SECONDS
                await cluster.wait_for_split(name, replicas, 0, within=within)
            fallbacks = len(cluster.evictions())
            assert fallbacks <= 37  # of the replicas that belong on spot, each at most once
            await asyncio.sleep(DROUGHT_SECONDS)
            probes = len(cluster.evictions()) - fallbacks
            assert probes == 2  # one probe after five minutes, and its fallback
            for history in histories.values():
                assert history.harmful_evictions(cluster) == []
            await karpenter.give_spot_back()
            # Another team's pods show that there is spot capacity again.
            on_spot = {CAPACITY_TYPE_LABEL: "spot"}
            await cluster.create_deployment("other", 10, node_selector=on_spot)
            await cluster.wait_for_split("other", 0, 10)
            await cluster.wait_for_split("web", 3, 7, within=60 + SLACK_SECONDS)
            await cluster.wait_for_split("shop", 10, 30, within=240)
            await cluster.assert_unchanged("web")
        assert len(cluster.evictions()) == fallbacks + probes + 37
