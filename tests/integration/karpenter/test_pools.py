"""Limits of node pools, pods that name a pool, consolidation, drift, expiry: real Karpenter."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.cluster import TestCluster, policy
from tests.support.karpenter import (
    Karpenter,
    NodePool,
    karpenter_beside,
)
from tests.support.real_cluster import RealTestCluster
from tests.support.scenarios import only_real

QUIET_MINUTES = 15
CREATOR = "system:kube-controller-manager"


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


def births(cluster: TestCluster) -> int:
    """Count the pods that ReplicaSets have created."""
    assert isinstance(cluster, RealTestCluster)
    created = cluster.plane.audit(user=CREATOR, verb="create", kind="pods")
    return sum(event.code == 201 for event in created)


async def assert_only_karpenter_has_moved_pods(cluster: TestCluster, karpenter: Karpenter) -> None:
    """Assert that the five workloads are split, and each further pod replaces one that it evicted.

    So no pod was created, and removed by anything else, in between.
    """
    for number in range(5):
        await cluster.wait_for_split(f"web-{number}", 3, 7)
        await cluster.wait_for_status(f"web-{number}", "Balanced")
    assert cluster.evictions() == []
    evicted = {eviction.name for eviction in karpenter.evictions()}
    assert evicted  # it did replace nodes
    assert births(cluster) == 50 + len(evicted)


@pytest.mark.long
@only_real
async def test_consolidation_and_drift_keep_the_split_and_cause_no_eviction_by_the_operator(
    cluster: TestCluster,
) -> None:
    cluster.webhook_timeout_seconds = 30
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
        await assert_only_karpenter_has_moved_pods(cluster, karpenter)


@pytest.mark.long
@only_real
async def test_expiry_keeps_the_split_and_causes_no_eviction_by_the_operator(
    cluster: TestCluster,
) -> None:
    """Replicas of nodes that expire go to nodes that expire 4 minutes later: no unstable spot."""
    cluster.webhook_timeout_seconds = 30
    async with (
        karpenter_beside(cluster, NodePool(expire_after="8m")) as karpenter,
        cluster.operator(),
    ):
        nodes: set[str] = set()
        for numbers in (range(1), range(1, 5)):
            for number in numbers:
                await cluster.create_deployment(f"web-{number}", 10, policy(70))
            for number in numbers:
                await cluster.wait_for_split(f"web-{number}", 3, 7)
            nodes = set(await karpenter.nodes())
            await asyncio.sleep(240)
        await asyncio.sleep(60 * QUIET_MINUTES - 480)
        assert not nodes & set(await karpenter.nodes())
        await assert_only_karpenter_has_moved_pods(cluster, karpenter)
