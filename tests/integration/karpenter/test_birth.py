"""New workloads are split at creation beside Karpenter, which launches a node for Pending pods."""

from __future__ import annotations

import pytest

from tests.support.cluster import CAPACITY_TYPE_LABEL, EKS_LABEL, TestCluster, policy
from tests.support.karpenter import NodePool, karpenter_beside
from tests.support.real_cluster import RealTestCluster
from tests.support.scenarios import only_real

BIRTHS = [
    pytest.param(10, 70, (3, 7), id="10 replicas at 70% split into 3 + 7"),
    pytest.param(10, 75, (3, 7), id="10 replicas at 75% split into 3 + 7", marks=pytest.mark.long),
    pytest.param(
        40, 75, (10, 30), id="40 replicas at 75% split into 10 + 30", marks=pytest.mark.long
    ),
    pytest.param(
        40, 80, (8, 32), id="40 replicas at 80% split into 8 + 32", marks=pytest.mark.long
    ),
]
LARGE_BIRTHS = [(70, (90, 210)), (75, (75, 225)), (80, (60, 240))]
LARGE_SECONDS = 300
"""For 300 replicas on a busy machine."""


async def add_managed_node_group(cluster: TestCluster) -> None:
    """Add two small on-demand nodes that Karpenter does not manage."""
    assert isinstance(cluster, RealTestCluster)
    cluster.plane.add_nodes(
        on_demand=2,
        labels={CAPACITY_TYPE_LABEL: "", EKS_LABEL: "ON_DEMAND"},
        allocatable={"cpu": "250m", "memory": "1Gi", "pods": "20"},
    )


@only_real
@pytest.mark.parametrize(("replicas", "percentage", "split"), BIRTHS)
async def test_a_deployment_is_split_at_creation_on_a_cluster_without_nodes(
    cluster: TestCluster, replicas: int, percentage: int, split: tuple[int, int]
) -> None:
    async with karpenter_beside(cluster, NodePool()) as karpenter, cluster.operator():
        await cluster.create_deployment("web", replicas, policy(percentage))
        await cluster.wait_for_split("web", *split)
        await cluster.assert_unchanged("web")
        assert cluster.evictions() == []
        assert karpenter.evictions() == []
        # Karpenter saw all pods at once: one node of each capacity type.
        assert karpenter.launches() == 2


@only_real
@pytest.mark.parametrize(("replicas", "percentage", "split"), BIRTHS)
async def test_a_deployment_is_split_at_creation_beside_a_managed_node_group(
    cluster: TestCluster, replicas: int, percentage: int, split: tuple[int, int]
) -> None:
    await add_managed_node_group(cluster)
    async with karpenter_beside(cluster, NodePool()), cluster.operator():
        await cluster.create_deployment("web", replicas, policy(percentage))
        await cluster.wait_for_split("web", *split)
        await cluster.assert_unchanged("web")
        assert cluster.evictions() == []


@pytest.mark.long
@only_real
@pytest.mark.parametrize("beside_managed_nodes", [False, True])
@pytest.mark.parametrize(("percentage", "split"), LARGE_BIRTHS)
async def test_300_replicas_are_split_at_creation(
    cluster: TestCluster, percentage: int, split: tuple[int, int], beside_managed_nodes: bool
) -> None:
    cluster.webhook_timeout_seconds = 30
    if beside_managed_nodes:
        await add_managed_node_group(cluster)
    async with karpenter_beside(cluster, NodePool()) as karpenter, cluster.operator():
        await cluster.create_deployment("web", 300, policy(percentage))
        await cluster.wait_for_split("web", *split, within=LARGE_SECONDS)
        await cluster.assert_unchanged("web")
        assert cluster.evictions() == []
        assert karpenter.evictions() == []
