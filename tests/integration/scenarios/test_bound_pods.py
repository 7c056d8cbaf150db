"""Templates that bind their pods to nodes by field (``matchFields``), as DaemonSets do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.support import incidents
from tests.support.cluster import TestCluster, policy, workload_body
from tests.support.scenarios import on_both_beds


def field(operator: str, node: str) -> Mapping[str, Any]:
    """A requirement on the name of a node; the API allows exactly one value."""
    return {"key": "metadata.name", "operator": operator, "values": [node]}


def bound(*terms: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of ``web`` with these terms of required node affinity in the pod template."""
    template = workload_body("Deployment", "web", 0)["spec"]["template"]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [*terms]}}
    template["spec"]["affinity"] = {"nodeAffinity": required}
    return {"template": template}


async def nodes_of(cluster: TestCluster) -> set[str]:
    return {pod.node for pod in await cluster.pods("web") if pod.deleting_at is None}


@pytest.mark.both
@on_both_beds
async def test_pods_bound_to_two_nodes_by_name_are_placed_and_moved_only_there(
    cluster: TestCluster,
) -> None:
    spot, _ = await cluster.add_nodes(spot=2)
    on_demand, _ = await cluster.add_nodes(on_demand=2)
    await incidents.end_provisioning(cluster)
    spec = bound(
        {"matchFields": [field("In", spot)]},
        {
            "matchFields": [field("In", on_demand)],
            "matchExpressions": [{"key": "kubernetes.io/os", "operator": "NotIn", "values": ["x"]}],
        },
    )
    async with cluster.operator():
        settings = policy(50, spot_fallback="never")
        await cluster.create_deployment("web", 4, settings, spec=spec)
        await cluster.wait_for_split("web", 2, 2)
        assert await nodes_of(cluster) == {spot, on_demand}
        await cluster.annotate("Deployment", "web", {"spot-percentage": "75"})
        await cluster.wait_for_split("web", 1, 3)
        assert await nodes_of(cluster) == {spot, on_demand}
    assert len(cluster.evictions()) == 1


@on_both_beds
async def test_pods_never_land_on_the_nodes_that_their_template_excludes_by_name(
    cluster: TestCluster,
) -> None:
    excluded_spot, spot = await cluster.add_nodes(spot=2)
    excluded, on_demand = await cluster.add_nodes(on_demand=2)
    spec = bound({"matchFields": [field("NotIn", excluded_spot), field("NotIn", excluded)]})
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(50), spec=spec)
        await cluster.wait_for_split("web", 2, 2)
        assert await nodes_of(cluster) == {spot, on_demand}
    assert cluster.evictions() == []
