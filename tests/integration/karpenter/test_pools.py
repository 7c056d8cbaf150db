"""Limits of node pools, pods that name a pool, consolidation and drift, beside real Karpenter."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.cluster import TestCluster, policy
from tests.support.karpenter import NodePool, karpenter_beside
from tests.support.scenarios import only_real

QUIET_MINUTES = 15


@pytest.mark.long
@only_real
async def test_replicas_fall_back_when_the_spot_pool_is_at_its_limit(cluster: TestCluster) -> None:
    spot = NodePool(name="spot", capacity_types=("spot",), cpu_limit=2)
    on_demand = NodePool(name="on-demand", capacity_types=("on-demand",))
    async with karpenter_beside(cluster, spot, on_demand), cluster.operator():
        # A node of 2 CPUs has 1.9 allocatable: 3 replicas of 600m.
        requests = {"resources": {"requests": {"cpu": "600m"}}}
        container = {"name": "main", "image": "registry.example/main:1", **requests}
        template = {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
        }
        await cluster.create_deployment(
            "web", 10, policy(70, spot_fallback="20s"), spec={"template": template}
        )
        await cluster.wait_for_split("web", 7, 3)
        assert len(cluster.evictions()) == 4


@pytest.mark.long
@only_real
async def test_pods_that_name_a_spot_pool_stay_there(cluster: TestCluster) -> None:
    spot = NodePool(name="team-a", capacity_types=("spot",))
    async with karpenter_beside(cluster, spot, NodePool()), cluster.operator():
        await cluster.create_deployment(
            "web", 10, policy(70), node_selector={"karpenter.sh/nodepool": "team-a"}
        )
        await cluster.wait_for_split("web", 0, 10)
        await cluster.wait_for_status("web", "Pinned")
        await cluster.assert_unchanged("web")
        assert cluster.evictions() == []


@pytest.mark.long
@only_real
async def test_consolidation_and_drift_keep_the_split_and_cause_no_eviction_by_the_operator(
    cluster: TestCluster,
) -> None:
    pool = NodePool(consolidate_after="10s", disruption_budget="1")
    async with karpenter_beside(cluster, pool) as karpenter, cluster.operator():
        for number in range(5):
            await cluster.create_deployment(f"web-{number}", 10, policy(70))
        for number in range(5):
            await cluster.wait_for_split(f"web-{number}", 3, 7)
        for minute in range(QUIET_MINUTES):
            if minute % 5 == 0:
                await karpenter.change(labels={"generation": str(minute)})
            await asyncio.sleep(60)
        assert karpenter.evictions()  # it did replace nodes
        for number in range(5):
            await cluster.wait_for_split(f"web-{number}", 3, 7)
        assert cluster.evictions() == []
