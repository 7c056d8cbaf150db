"""Templates that name nodes, and on-demand nodes that cannot hold a pod."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support import incidents
from tests.support.cluster import CAPACITY_TYPE_LABEL, TestCluster, policy
from tests.support.scenarios import on_both_beds

GKE_POOL = "cloud.google.com/gke-nodepool"
DEDICATED = {"key": "example.com/dedicated", "value": "system", "effect": "NoSchedule"}


async def add_pools(cluster: TestCluster, key: str) -> None:
    """Add two spot nodes with the label value ``cheap`` and two on-demand nodes with ``std``."""
    spot = await cluster.add_nodes(spot=2)
    on_demand = await cluster.add_nodes(on_demand=2)
    await incidents.end_provisioning(cluster)
    for names, value in ((spot, "cheap"), (on_demand, "std")):
        for name in names:
            await incidents.label(cluster, name, {key: value})


async def as_gke(cluster: TestCluster) -> None:
    """Give the nodes the labels of GKE instead of Karpenter's: standard nodes have none for it."""
    for name in await cluster.node_types():
        spot = "true" if name.startswith("spot") else None
        karpenter = {CAPACITY_TYPE_LABEL: None, "karpenter.sh/nodepool": None}
        await incidents.label(cluster, name, {**karpenter, "cloud.google.com/gke-spot": spot})


async def on_nodes(cluster: TestCluster) -> tuple[int, int]:
    """Return the number of Ready pods on (on-demand, spot) nodes, by the names of the nodes."""
    ready = [pod for pod in await cluster.pods("web") if pod.ready and pod.deleting_at is None]
    return (
        sum(pod.node.startswith("on-demand") for pod in ready),
        sum(pod.node.startswith("spot") for pod in ready),
    )


async def wait_for_pods(cluster: TestCluster, on_demand: int, spot: int) -> None:
    async def is_reached() -> bool:
        return await on_nodes(cluster) == (on_demand, spot)

    async def instead() -> str:
        return f"{await on_nodes(cluster)}"

    await cluster.wait_until(is_reached, f"{on_demand} + {spot} pods serve", instead=instead)


def requires(operator: str, value: str) -> Mapping[str, Any]:
    """Required node affinity to GKE node pools."""
    expression = {"key": GKE_POOL, "operator": operator, "values": [value]}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


def spec_with(constraints: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec of ``web`` with these fields in the pod template."""
    container = {"name": "main", "image": "registry.example/main:1"}
    pod = {"terminationGracePeriodSeconds": 1, "containers": [container], **constraints}
    return {"template": {"metadata": {"labels": {"app": "web"}}, "spec": pod}}


@pytest.mark.check
@on_both_beds
@pytest.mark.parametrize(
    "constraints",
    [
        pytest.param({"nodeSelector": {GKE_POOL: "std"}}, id="selector"),
        pytest.param(requires("In", "std"), id="in"),
        pytest.param(requires("NotIn", "cheap"), id="not-in"),
    ],
)
async def test_a_template_that_names_a_gke_node_pool_is_pinned_to_the_type_of_its_nodes(
    cluster: TestCluster, constraints: Mapping[str, Any]
) -> None:
    await add_pools(cluster, GKE_POOL)
    await as_gke(cluster)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(50), spec=spec_with(constraints))
        await wait_for_pods(cluster, 4, 0)
        await cluster.wait_for_status("web", "Pinned")
        await incidents.told(cluster, "web", "SplitUnreachable")
        await cluster.assert_unchanged("web")
    assert cluster.evictions() == []


NAMES = [
    "eks.amazonaws.com/nodegroup",
    "karpenter.sh/nodepool",
    "node.kubernetes.io/instance-type",
    "example.com/pool",
]


@on_both_beds
@pytest.mark.parametrize("key", NAMES)
@pytest.mark.parametrize(("pool", "split"), [("cheap", (0, 4)), ("std", (4, 0))])
async def test_a_template_that_names_nodes_of_one_type_is_a_pin_at_birth_and_on_adoption(
    cluster: TestCluster, key: str, pool: str, split: tuple[int, int]
) -> None:
    await add_pools(cluster, key)
    await cluster.create_deployment("web", 4, node_selector={key: pool})
    await cluster.wait_for_split("web", *split)
    async with cluster.operator():
        await cluster.annotate("Deployment", "web", {"enabled": "true", "spot-percentage": "50"})
        await cluster.wait_for_status("web", "Pinned")
        await cluster.assert_unchanged("web", seconds=4)
        await cluster.scale("Deployment", "web", 0)
        await cluster.wait_for_split("web", 0, 0)
        await cluster.scale("Deployment", "web", 4)
        await cluster.wait_for_split("web", *split)
        await cluster.wait_for_status("web", "Pinned")
        assert {pod.rule for pod in await cluster.pods("web")} == {"user-pinned"}
    assert cluster.evictions() == []


@on_both_beds
async def test_a_template_that_names_a_host_is_pinned_to_its_type(cluster: TestCluster) -> None:
    await cluster.add_nodes(spot=2, on_demand=2)
    host = sorted(name for name in await cluster.node_types() if name.startswith("spot"))[0]
    field = {"key": "metadata.name", "operator": "In", "values": [host]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    async with cluster.operator():
        selector = {"kubernetes.io/hostname": host}
        await cluster.create_deployment("web", 4, policy(50, 1), node_selector=selector)
        await cluster.wait_for_split("web", 0, 4)
        await cluster.wait_for_status("web", "Pinned")
        await incidents.change(cluster, "Deployment", "web", spec_with({"affinity": affinity}))
        await cluster.wait_for_status("web", "Pinned")
        await cluster.wait_for_split("web", 0, 4)
    assert cluster.evictions() == []


@on_both_beds
async def test_ready_replicas_stay_on_spot_until_an_on_demand_node_could_hold_them(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=2)
    [system] = await cluster.add_nodes(on_demand=1)
    await incidents.warn(cluster, system, DEDICATED)
    await incidents.end_provisioning(cluster)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(100))
        await cluster.wait_for_split("web", 0, 4)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await cluster.wait_for_status("web", "NoOnDemandCapacity")
        await incidents.told(cluster, "web", "OnDemandCapacityMissing")
        await cluster.assert_unchanged("web")
        assert cluster.evictions() == []
        await cluster.add_nodes(on_demand=1)
        await cluster.wait_for_split("web", 2, 2)
        await cluster.wait_for_status("web", "Balanced")
    assert len(cluster.evictions()) == 2


@on_both_beds
async def test_without_an_on_demand_node_one_replica_moves_and_the_reason_is_named(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=2)
    await incidents.end_provisioning(cluster)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(100, spot_fallback="6s"))
        await cluster.wait_for_split("web", 0, 4)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await cluster.wait_for_status("web", "NoOnDemandCapacity")
        await incidents.told(cluster, "web", "OnDemandCapacityMissing")
        await cluster.assert_unchanged("web")
        assert await on_nodes(cluster) == (0, 3)
        await cluster.add_nodes(on_demand=1)
        await cluster.wait_for_split("web", 2, 2)
        await cluster.wait_for_status("web", "Balanced")
    assert len(cluster.evictions()) == 2


@on_both_beds
async def test_a_workload_whose_replicas_wait_for_an_on_demand_node_is_not_balanced(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=2)
    [system] = await cluster.add_nodes(on_demand=1)
    await incidents.warn(cluster, system, DEDICATED)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(50, spot_fallback="6s"))
        await wait_for_pods(cluster, 0, 2)
        await cluster.wait_for_status("web", "NoOnDemandCapacity")
        await incidents.told(cluster, "web", "OnDemandCapacityMissing")
        await cluster.assert_unchanged("web")
        await cluster.add_nodes(on_demand=1)
        await cluster.wait_for_split("web", 2, 2)
        await cluster.wait_for_status("web", "Balanced")
    assert cluster.evictions() == []


@on_both_beds
async def test_replicas_fall_back_although_no_present_on_demand_node_could_hold_them(
    cluster: TestCluster,
) -> None:
    """A tainted system pool, and a user pool at zero: scaling from zero is normal."""
    [doomed] = await cluster.add_nodes(spot=1)
    [system] = await cluster.add_nodes(on_demand=1)
    await incidents.warn(cluster, system, DEDICATED)
    await incidents.end_provisioning(cluster)
    async with cluster.operator():
        await cluster.create_deployment("web", 6, policy(100, spot_fallback="6s"))
        await cluster.wait_for_split("web", 0, 6)
        await cluster.reclaim(doomed)

        async def all_fell_back() -> bool:
            pods = await cluster.pods("web")
            return len(pods) == 6 and {pod.rule for pod in pods} == {"fallback"}

        await cluster.wait_until(all_fell_back, "6 replicas start on on-demand")
        await asyncio.sleep(5)
        assert len(cluster.evictions()) == 6
        await cluster.add_nodes(spot=2)
        await cluster.wait_for_split("web", 0, 6)
    assert len(cluster.evictions()) == 12


@on_both_beds
async def test_a_pod_counts_as_the_capacity_type_that_it_was_sent_to(cluster: TestCluster) -> None:
    """The template excludes the label that the pin requires, so that no pod can ever run."""
    await cluster.add_nodes(spot=1, on_demand=1)
    await incidents.end_provisioning(cluster)
    expression = {"key": CAPACITY_TYPE_LABEL, "operator": "DoesNotExist"}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    async with cluster.operator():
        spec = {"replicas": 4, **spec_with({"affinity": affinity})}
        await cluster.create_deployment("web", 4, policy(50, spot_fallback="6s"), spec=spec)

        async def all_are_sent_to_on_demand() -> bool:
            pods = [pod for pod in await cluster.pods("web") if pod.deleting_at is None]
            types = [pod.labels["spotalis.io/capacity-type"] for pod in pods]
            return types == ["on-demand"] * 4

        await cluster.wait_until(all_are_sent_to_on_demand, "2 replicas fall back")
        await cluster.wait_for_status("web", "NoSpotCapacity")
        await cluster.assert_unchanged("web")
    assert len(cluster.evictions()) == 2
