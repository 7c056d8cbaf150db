"""Pods whose template selects a GKE ComputeClass: the class decides where they run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spotalis.model.possible_types import COMPUTE_CLASS
from tests.integration.scenarios.test_overriding_webhooks import set_once
from tests.support import incidents
from tests.support.cluster import CAPACITY_TYPE_LABEL, TestCluster, policy
from tests.support.scenarios import on_both_beds

GKE = {"cloud.google.com/gke-nodepool": "nap", COMPUTE_CLASS: "cheap"}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


async def add_class_nodes(cluster: TestCluster) -> list[str]:
    """Add two spot and two on-demand nodes of one ComputeClass; return the on-demand nodes."""
    spot = await cluster.add_nodes(spot=2)
    on_demand = await cluster.add_nodes(on_demand=2)
    for name in (*spot, *on_demand):
        karpenter = {CAPACITY_TYPE_LABEL: None, "karpenter.sh/nodepool": None}
        labels = {"cloud.google.com/gke-spot": "true"} if name in spot else {}
        await incidents.label(cluster, name, {**karpenter, **GKE, **labels})
    return on_demand


def by_affinity() -> dict[str, Any]:
    expression = {"key": COMPUTE_CLASS, "operator": "In", "values": ["cheap"]}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    return {"affinity": {"nodeAffinity": {REQUIRED: terms}}}


@on_both_beds
@pytest.mark.parametrize(
    "constraints",
    [
        pytest.param({"nodeSelector": {COMPUTE_CLASS: "cheap"}}, id="selector"),
        pytest.param(by_affinity(), id="affinity"),
    ],
)
async def test_pods_that_select_a_compute_class_are_counted_where_it_puts_them(
    cluster: TestCluster, constraints: dict[str, Any]
) -> None:
    on_demand = await add_class_nodes(cluster)
    await incidents.cordon(cluster, *on_demand)
    async with cluster.operator():
        container = {"name": "main", "image": "registry.example/main:1"}
        pod = {"terminationGracePeriodSeconds": 1, "containers": [container], **constraints}
        spec = {"template": {"metadata": {"labels": {"app": "web"}}, "spec": pod}}
        await cluster.create_deployment("web", 4, policy(50), spec={"replicas": 4, **spec})

        async def all_run() -> bool:
            pods = await cluster.pods("web")
            return len(pods) == 4 and all(pod.ready for pod in pods)

        await cluster.wait_until(all_run, "4 pods run")
        await incidents.cordon(cluster, *on_demand, cordoned=False)
        await cluster.wait_for_status("web", "Pinned")
        await incidents.told(cluster, "web", "SplitPolicyWarning")
        await incidents.told(cluster, "web", "SplitUnreachable")
        [note] = await incidents.notes(cluster, "web", "SplitUnreachable")
        assert note.endswith("but their GKE ComputeClass decides where they run")
        await cluster.assert_unchanged("web")
        path = f"/api/v1/namespaces/{cluster.namespace}/pods"
        listed = json.loads((await cluster.api.raw("GET", path)).body)["items"]
        web = [item for item in listed if item["metadata"]["labels"].get("app") == "web"]
        assert len(web) == 4
        for item in web:
            assert "spotalis.io/" not in json.dumps(item["metadata"].get("annotations", {}))
            assert {k: item["spec"].get(k) for k in constraints} == constraints
    assert cluster.evictions() == []


@pytest.mark.both
@on_both_beds
async def test_a_compute_class_that_a_later_webhook_adds_replaces_the_pin(
    cluster: TestCluster,
) -> None:
    """GKE adds the default ComputeClass of a namespace after Spotalis has placed the pod."""
    on_demand = await add_class_nodes(cluster)
    await incidents.cordon(cluster, *on_demand)
    add_class = set_once("nodeSelector", {COMPUTE_CLASS: "cheap"})
    async with cluster.operator(), incidents.injecting(cluster, "z-webhook", add_class):
        await cluster.create_deployment("web", 4, policy(50))

        async def all_run() -> bool:
            pods = await cluster.pods("web")
            return len(pods) == 4 and all(pod.ready for pod in pods)

        await cluster.wait_until(all_run, "4 pods run")
        pods = await cluster.pods("web")
        assert {pod.rule for pod in pods} == {"overridden"}
        assert {pod.shape.node_selector for pod in pods} == {((COMPUTE_CLASS, "cheap"),)}
        assert {pod.shape.node_terms for pod in pods} == {()}
        await incidents.cordon(cluster, *on_demand, cordoned=False)
        await cluster.wait_for_status("web", "Pinned")
        await cluster.assert_unchanged("web")
    assert cluster.evictions() == []
