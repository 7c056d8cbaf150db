"""What docs/operate/karpenter.md recommends, beside real Karpenter."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.cluster import TestCluster, policy, workload_body
from tests.support.karpenter import SPOT_AND_ON_DEMAND, NodePool, karpenter_beside
from tests.support.real_cluster import RealTestCluster
from tests.support.scenarios import only_real

SPOT_TAINT = "example.com/spot"
TOLERATION = {"key": SPOT_TAINT, "operator": "Exists", "effect": "NoSchedule"}


def pools(**of_spot: Any) -> tuple[NodePool, NodePool]:
    """One NodePool for each capacity type; keywords are fields of the spot pool."""
    spot = NodePool(name="spot", capacity_types=("spot",), **of_spot)
    return spot, NodePool(name="on-demand", capacity_types=("on-demand",))


def template(**spec: Any) -> dict[str, Any]:
    """The pod template of ``web``; keywords add to the spec of its pods."""
    found: dict[str, Any] = workload_body("Deployment", "web", 0)["spec"]["template"]
    found["spec"] |= spec
    return found


def requirement(key: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": "In", "values": list(values)}]}


@pytest.mark.long
@only_real
async def test_a_taint_on_the_spot_pool_is_tolerated_with_spot_tolerations(
    cluster: TestCluster,
) -> None:
    tolerations = json.dumps([TOLERATION])
    async with (
        karpenter_beside(cluster, *pools(taints={SPOT_TAINT: "NoSchedule"})) as karpenter,
        cluster.operator("--spot-tolerations", tolerations),
    ):
        await cluster.create_deployment("web", 10, policy(70))
        await cluster.wait_for_split("web", 3, 7)
        await cluster.assert_unchanged("web")
        assert cluster.evictions() == []
        assert karpenter.launches() == 2


@pytest.mark.long
@only_real
async def test_without_spot_tolerations_replicas_of_a_tainted_spot_pool_fall_back(
    cluster: TestCluster,
) -> None:
    async with (
        karpenter_beside(cluster, *pools(taints={SPOT_TAINT: "NoSchedule"})),
        cluster.operator(),
    ):
        await cluster.create_deployment("web", 10, policy(70))
        await cluster.wait_for_split("web", 10, 0)


@pytest.mark.long
@only_real
async def test_the_owners_own_terms_hold_beside_the_capacity_type(cluster: TestCluster) -> None:
    assert isinstance(cluster, RealTestCluster)
    terms = [requirement("topology.kubernetes.io/zone", "zone-a")]
    affinity = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    async with karpenter_beside(cluster, *pools()), cluster.operator():
        await cluster.create_deployment(
            "web", 10, policy(70), spec={"template": template(affinity={"nodeAffinity": affinity})}
        )
        await cluster.wait_for_split("web", 3, 7)
        nodes = json.loads(cluster.plane.kubectl("get", "nodes", "--output=json"))["items"]
        zones = {node["metadata"]["labels"]["topology.kubernetes.io/zone"] for node in nodes}
        assert zones == {"zone-a"}
        assert cluster.evictions() == []


@pytest.mark.long
@only_real
async def test_a_node_pool_of_both_capacity_types_may_be_named(cluster: TestCluster) -> None:
    pool = NodePool(name="team-a", taints={"team-a": "NoSchedule"})
    other = NodePool(name="other", capacity_types=SPOT_AND_ON_DEMAND)
    spec = {
        "nodeSelector": {"karpenter.sh/nodepool": "team-a"},
        "tolerations": [{"key": "team-a", "operator": "Exists"}],
    }
    async with karpenter_beside(cluster, pool, other), cluster.operator():
        await cluster.create_deployment("web", 10, policy(70), spec={"template": template(**spec)})
        await cluster.wait_for_split("web", 3, 7)
        await cluster.assert_unchanged("web")
        assert cluster.evictions() == []


@pytest.mark.long
@only_real
async def test_pods_of_daemon_sets_take_room_on_every_node_and_change_no_split(
    cluster: TestCluster,
) -> None:
    assert isinstance(cluster, RealTestCluster)
    agent = template(tolerations=[{"operator": "Exists"}])
    agent["metadata"]["labels"] = {"app": "agent"}
    agent["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1"}}
    daemon_set = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "agent", "namespace": cluster.namespace},
        "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": agent},
    }
    async with karpenter_beside(cluster, *pools()) as karpenter, cluster.operator():
        cluster.plane.apply([daemon_set])
        await cluster.create_deployment("web", 10, policy(0))
        await cluster.wait_for_split("web", 10, 0)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "70"})
        await cluster.wait_for_split("web", 3, 7)
        # Each node of 2 CPUs has room for the agent and 9 replicas of 100m.
        assert len(await karpenter.nodes("spot")) == 1
        assert len(cluster.evictions()) == 7
