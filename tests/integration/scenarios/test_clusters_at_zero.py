"""Clusters without nodes of a provider: Karpenter before its first node, and groups at zero."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from spotalis.controller.ledgers import GROUP_MEMORY
from spotalis.model.possible_types import NODE_POOL
from spotalis.model.provider_groups import KARPENTER_API
from tests.support import incidents
from tests.support.cluster import CAPACITY_TYPE_LABEL, TestCluster, policy
from tests.support.operator_replicas import HOME
from tests.support.scenarios import on_both_beds

EKS = "eks.amazonaws.com/capacityType"
MEMORY_PATH = f"/api/v1/namespaces/{HOME}/configmaps/{GROUP_MEMORY}"


async def as_node_groups(cluster: TestCluster, *names: str) -> None:
    """Give nodes the labels of EKS managed node groups instead of Karpenter's."""
    for name in names:
        eks = "SPOT" if name.startswith("spot") else "ON_DEMAND"
        karpenter = {CAPACITY_TYPE_LABEL: None, "karpenter.sh/nodepool": None}
        await incidents.label(cluster, name, {**karpenter, EKS: eks})


async def wait_for_placed(cluster: TestCluster, name: str, on_demand: int, spot: int) -> None:
    """Wait for the pods of a workload, and assert what the webhook sent them to."""

    async def exist() -> bool:
        return len(await cluster.pods(name)) == on_demand + spot

    await cluster.wait_until(exist, f"{name} has {on_demand + spot} pods")
    found = Counter(
        pod.labels.get("spotalis.io/capacity-type", "") for pod in await cluster.pods(name)
    )
    assert (found["on-demand"], found["spot"]) == (on_demand, spot)


async def wait_for_running(cluster: TestCluster, on_demand: int, spot: int) -> None:
    """Wait until ``web`` has exactly these Ready pods, by the names of their nodes."""

    async def found() -> tuple[int, int]:
        nodes = [pod.node for pod in await cluster.pods("web") if pod.ready]
        types = Counter(node.rpartition("-")[0] for node in nodes)
        return types["on-demand"], types["spot"]

    async def is_reached() -> bool:
        return await found() == (on_demand, spot)

    async def instead() -> str:
        return f"{await found()}"

    await cluster.wait_until(is_reached, f"{on_demand} + {spot} pods run", instead=instead)


def large() -> dict[str, Any]:
    """The spec of ``web``: a node with 32 CPUs holds one pod."""
    container = {
        "name": "main",
        "image": "registry.example/main:1",
        "resources": {"requests": {"cpu": "20"}},
    }
    pod = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    return {"template": {"metadata": {"labels": {"app": "web"}}, "spec": pod}}


@pytest.mark.check
@on_both_beds
async def test_pods_are_placed_at_birth_on_a_cluster_without_nodes(cluster: TestCluster) -> None:
    await cluster.serve_api(KARPENTER_API)
    async with cluster.operator():
        await cluster.create_deployment("web", 10, policy(70))
        await wait_for_placed(cluster, "web", 3, 7)
        async with cluster.provisioner():
            await cluster.wait_for_split("web", 3, 7)
        await cluster.wait_for_status("web", "Balanced")
        await cluster.assert_unchanged("web")
    assert cluster.evictions() == []


@on_both_beds
async def test_pods_beside_a_node_group_may_also_run_on_the_nodes_that_karpenter_adds(
    cluster: TestCluster,
) -> None:
    """The most common installation on EKS: a small node group, and Karpenter without a node."""
    await as_node_groups(cluster, *await cluster.add_nodes(on_demand=2))
    await cluster.serve_api(KARPENTER_API)
    async with cluster.operator():
        await cluster.create_deployment("web", 10, policy(70), spec={"replicas": 10, **large()})
        await wait_for_placed(cluster, "web", 3, 7)
        for pod in await cluster.pods("web"):
            node_group, karpenter = pod.shape.node_terms
            assert EKS in {r.key for r in node_group if r.operator == "In"}
            assert [r.key for r in karpenter] == [CAPACITY_TYPE_LABEL]
        async with cluster.provisioner():
            await wait_for_running(cluster, 3, 7)
        await cluster.wait_for_status("web", "Balanced")
        await cluster.assert_unchanged("web")
        nodes = Counter(await cluster.node_types()).keys()
        assert len(nodes) == 2 + 8
    assert cluster.evictions() == []


@on_both_beds
async def test_a_cluster_that_is_at_zero_at_night_keeps_its_provider_across_a_restart(
    cluster: TestCluster,
) -> None:
    await as_node_groups(cluster, *await cluster.add_nodes(spot=2, on_demand=2))
    async with cluster.operator("--resync=5s"):
        await cluster.create_deployment("web", 4, policy(50))
        await wait_for_running(cluster, 2, 2)

        async def is_written() -> bool:
            return (await cluster.api.raw("GET", MEMORY_PATH)).status == 200

        await cluster.wait_until(is_written, "the operator has written the provider groups")
        await cluster.scale("Deployment", "web", 0)
        await wait_for_running(cluster, 0, 0)
        await cluster.reclaim(*await cluster.node_types())
        await asyncio.sleep(12)
        assert [w for w in cluster.writes() if w[1] == "configmaps"] == [("create", "configmaps")]
    found = json.loads((await cluster.api.raw("GET", MEMORY_PATH)).body)
    assert json.loads(found["data"]["groups"]).keys() == {"eks"}
    async with cluster.operators(2, "--resync=5s") as replicas:
        leader = await replicas.leader()
        await leader.terminate()
        await replicas.leader(other_than=leader)
        await cluster.scale("Deployment", "web", 4)
        await wait_for_placed(cluster, "web", 2, 2)
        await as_node_groups(cluster, *await cluster.add_nodes(spot=2, on_demand=2))
        await wait_for_running(cluster, 2, 2)
        await cluster.wait_for_status("web", "Balanced")
    assert cluster.evictions() == []


@pytest.mark.both
@on_both_beds
async def test_placement_follows_the_api_of_karpenter_while_the_operator_runs(
    cluster: TestCluster,
) -> None:
    async with cluster.operator("--resync=5s"):
        await cluster.create_deployment("before", 2, policy(50))
        await cluster.wait_for_status("before", "NoClassifier")
        await cluster.serve_api(KARPENTER_API)
        await cluster.wait_for_status("before", "WaitingForPods")
        await cluster.create_deployment("during", 2, policy(50))
        await wait_for_placed(cluster, "during", 1, 1)
        await cluster.remove_api(KARPENTER_API)
        await cluster.wait_for_status("during", "NoClassifier")
        await cluster.create_deployment("after", 2, policy(50))
        await cluster.wait_for_status("after", "NoClassifier")
        for name in ("before", "after"):
            assert {pod.rule for pod in await cluster.pods(name)} == {""}
    assert cluster.evictions() == []


def node_pool(name: str, *capacity_types: str) -> dict[str, Any]:
    """A NodePool of Karpenter that adds nodes of these capacity types."""
    requirement = {"key": CAPACITY_TYPE_LABEL, "operator": "In", "values": list(capacity_types)}
    return {
        "metadata": {"name": name},
        "spec": {"template": {"spec": {"requirements": [requirement]}}},
    }


async def add_pool_nodes(cluster: TestCluster, pool: str, **count: int) -> None:
    """Add nodes of a NodePool."""
    for name in await cluster.add_nodes(**count):
        await incidents.label(cluster, name, {NODE_POOL: pool})


@on_both_beds
async def test_a_template_that_names_a_node_pool_of_both_types_is_split(
    cluster: TestCluster,
) -> None:
    """Also while all nodes of the NodePool have one capacity type."""
    await add_pool_nodes(cluster, "default", spot=2)
    await add_pool_nodes(cluster, "other", on_demand=2)
    pools = [node_pool("default", "spot", "on-demand"), node_pool("other", "on-demand")]
    await cluster.serve_api(KARPENTER_API, plural="nodepools", objects=pools)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(50), node_selector={NODE_POOL: "default"})
        await wait_for_placed(cluster, "web", 2, 2)
        await add_pool_nodes(cluster, "default", on_demand=1)
        await cluster.wait_for_split("web", 2, 2)
        await cluster.wait_for_status("web", "Balanced")
        assert {pod.rule for pod in await cluster.pods("web")} == {"share"}
    assert cluster.evictions() == []


@on_both_beds
async def test_a_template_that_names_a_node_pool_of_one_type_is_pinned_before_its_first_node(
    cluster: TestCluster,
) -> None:
    await add_pool_nodes(cluster, "other", spot=1, on_demand=1)
    pools = [node_pool("cheap", "spot"), node_pool("other", "spot", "on-demand")]
    await cluster.serve_api(KARPENTER_API, plural="nodepools", objects=pools)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(50), node_selector={NODE_POOL: "cheap"})
        await wait_for_placed(cluster, "web", 0, 4)
        await add_pool_nodes(cluster, "cheap", spot=1)
        await cluster.wait_for_split("web", 0, 4)
        await cluster.wait_for_status("web", "Pinned")
        assert {pod.rule for pod in await cluster.pods("web")} == {"user-pinned"}
    assert cluster.evictions() == []


@on_both_beds
async def test_an_api_of_karpenter_without_a_node_pool_does_not_count(cluster: TestCluster) -> None:
    """The CustomResourceDefinitions remain after Karpenter is uninstalled."""
    await cluster.serve_api(KARPENTER_API, plural="nodepools")
    async with cluster.operator():
        await cluster.create_deployment("web", 2, policy(50))
        await cluster.wait_for_status("web", "NoClassifier")
        assert {pod.rule for pod in await cluster.pods("web")} == {""}
    assert cluster.evictions() == []
