"""Scaling by any amount keeps the split without evictions."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import incidents
from tests.support.cluster import TestCluster, policy
from tests.support.scenarios import on_both_beds, only_real


@on_both_beds
@pytest.mark.parametrize(
    ("percent", "floor", "at_6", "at_2", "at_12"),
    [
        pytest.param(70, 1, (2, 4), (1, 1), (4, 8), id="70% with floor 1"),
        pytest.param(50, 0, (3, 3), (1, 1), (6, 6), id="50%"),
    ],
)
async def test_scaling_a_deployment_from_6_to_2_to_12_causes_no_eviction(
    cluster: TestCluster,
    percent: int,
    floor: int,
    at_6: tuple[int, int],
    at_2: tuple[int, int],
    at_12: tuple[int, int],
) -> None:
    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 6, policy(percent, floor))
        await cluster.wait_for_split("web", *at_6)
        await cluster.scale("Deployment", "web", 2)
        await cluster.wait_for_split("web", *at_2)
        await cluster.scale("Deployment", "web", 12)
        await cluster.wait_for_split("web", *at_12)
        await cluster.assert_unchanged("web")
    assert cluster.evictions() == []


@on_both_beds
async def test_scaling_a_stateful_set_from_6_to_2_to_12_causes_no_eviction(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator():
        await cluster.create_stateful_set("db", 6, policy(70, 1))
        await cluster.wait_for_split("db", 2, 4)
        await cluster.scale("StatefulSet", "db", 2)
        await cluster.wait_for_split("db", 1, 1)
        await cluster.scale("StatefulSet", "db", 12)
        await cluster.wait_for_split("db", 4, 8)
        await cluster.assert_unchanged("db")
    assert cluster.evictions() == []


@pytest.mark.both
@on_both_beds
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
async def test_writes_to_the_scale_subresource_cause_no_eviction(
    cluster: TestCluster, kind: str
) -> None:
    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator():
        create = cluster.create_deployment if kind == "Deployment" else cluster.create_stateful_set
        await create("web", 6, policy(70, 1))
        await cluster.wait_for_split("web", 2, 4)
        await incidents.scale_as_an_autoscaler(cluster, kind, "web", 2)
        await cluster.wait_for_split("web", 1, 1)
        await incidents.scale_as_an_autoscaler(cluster, kind, "web", 12)
        await cluster.wait_for_split("web", 4, 8)
        await cluster.assert_unchanged("web")
    assert cluster.evictions() == []


@only_real  # the embedded cluster has no HorizontalPodAutoscaler
async def test_a_horizontal_pod_autoscaler_from_6_to_2_to_12_causes_no_eviction(
    cluster: TestCluster,
) -> None:
    """Without metrics the controller still keeps the replicas between minimum and maximum."""

    await cluster.add_nodes(spot=3, on_demand=3)
    path = f"/apis/autoscaling/v2/namespaces/{cluster.namespace}/horizontalpodautoscalers"
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    body: dict[str, Any] = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {"scaleTargetRef": target, "minReplicas": 6, "maxReplicas": 6},
    }
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(70, 1))
        await cluster.wait_for_split("web", 2, 2)
        assert (await cluster.api.raw("POST", path, body)).status == 201
        await cluster.wait_for_split("web", 2, 4)
        for replicas, split in ((2, (1, 1)), (12, (4, 8))):
            body["spec"] |= {"minReplicas": replicas, "maxReplicas": replicas}
            assert (await cluster.api.raw("PUT", f"{path}/web", body)).status == 200
            await cluster.wait_for_split("web", *split)
        await cluster.assert_unchanged("web")
    assert cluster.evictions() == []


@pytest.mark.check
@on_both_beds
async def test_pods_created_while_the_webhook_is_unreachable_are_moved_later(
    cluster: TestCluster,
) -> None:
    """All 6 new pods run on spot. That is 3 too many, and 3 are moved."""

    await cluster.add_nodes(spot=3)
    on_demand = await cluster.add_nodes(on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(50))
        await cluster.wait_for_split("web", 2, 2)
    await incidents.cordon(cluster, *on_demand)
    await cluster.scale("Deployment", "web", 10)
    await cluster.wait_for_split("web", 2, 8)
    assert sum(pod.rule == "" for pod in await cluster.pods("web")) == 6
    await incidents.cordon(cluster, *on_demand, cordoned=False)
    assert cluster.evictions() == []
    async with cluster.operator():
        await cluster.wait_for_split("web", 5, 5)
        await cluster.assert_unchanged("web")
    assert len(cluster.evictions()) == 3


@on_both_beds
async def test_scaling_down_one_by_one_keeps_the_split_without_evictions(
    cluster: TestCluster,
) -> None:
    """The ReplicaSet controller chooses the pods to delete by their deletion costs."""

    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 8, policy(50))
        await cluster.wait_for_split("web", 4, 4)
        for replicas in range(7, 0, -1):
            await cluster.scale("Deployment", "web", replicas)
            spot = replicas // 2
            await cluster.wait_for_split("web", replicas - spot, spot)
    assert cluster.evictions() == []
