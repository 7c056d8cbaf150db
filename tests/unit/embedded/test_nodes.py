"""The fleet: adding nodes, notices, and the provisioner."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from spotalis.embedded.cluster import EmbeddedCluster
from spotalis.embedded.controllers.provisioner import Provisioning
from spotalis.embedded.nodes import AKS, EKS, GKE, KARPENTER, RECLAIM_NOTICES, Provider, make_node
from spotalis.embedded.objects.conditions import condition
from spotalis.embedded.objects.resources import Object
from spotalis.model.classification import NodeClassification
from spotalis.model.nodes import NodeType
from spotalis.model.provider_groups import BUILT_IN_GROUPS
from tests.support.eventually import until
from tests.support.virtual_time import in_virtual_time
from tests.unit.embedded.controllers.builders import a_workload
from tests.unit.embedded.controllers.helpers import (
    a_cluster,
    nodes_of,
    now,
    pods,
    ready,
)


def node(cluster: EmbeddedCluster, name: str) -> Object:
    found = cluster.store.get("nodes", "", name)
    assert found is not None
    return found


@pytest.mark.parametrize("provider", [KARPENTER, EKS, GKE, AKS])
@in_virtual_time
async def test_the_built_in_rules_classify_the_nodes_of_each_provider(provider: Provider) -> None:
    async with a_cluster(provider=provider) as cluster:
        spot, on_demand = await cluster.fleet.add(spot=1, on_demand=1)
        assert (spot, on_demand) == ("spot-1", "on-demand-1")
        rules = NodeClassification(BUILT_IN_GROUPS)
        labels = [node(cluster, name)["metadata"]["labels"] for name in (spot, on_demand)]
        found = [rules.classify(one) for one in labels]
        assert found == [NodeType.SPOT, NodeType.ON_DEMAND]
        assert cluster.fleet.names(NodeType.SPOT) == ["spot-1"]
        assert cluster.fleet.names(NodeType.ON_DEMAND) == ["on-demand-1"]


@pytest.mark.parametrize("how", RECLAIM_NOTICES)
@in_virtual_time
async def test_a_notice_appears_and_can_be_withdrawn(how: str) -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=1)
        await asyncio.sleep(0.1)
        before = node(cluster, "spot-1")
        await cluster.fleet.announce_reclaim("spot-1", how)
        announced = node(cluster, "spot-1")
        notice = RECLAIM_NOTICES[how]
        if notice.taint:
            assert notice.taint in [t["key"] for t in announced["spec"]["taints"]]
        if notice.condition is not None:
            found = condition(announced, notice.condition[0])
            assert found is not None
            assert (found["status"], found["reason"]) == ("True", notice.condition[1])
        await cluster.fleet.withdraw_notice("spot-1", how)
        after = node(cluster, "spot-1")
        assert after["spec"].get("taints", []) == before["spec"].get("taints", [])
        assert after["status"] == before["status"]


@in_virtual_time
async def test_nodes_are_distributed_over_zones() -> None:
    async with a_cluster() as cluster:
        cluster.fleet.zones = ("a", "b")
        names = await cluster.fleet.add(spot=3)
        labels = [node(cluster, name)["metadata"]["labels"] for name in names]
        assert [label["topology.kubernetes.io/zone"] for label in labels] == ["a", "b", "a"]


def test_a_node_has_capacity_and_labels() -> None:
    gpu: dict[str, Any] = {"nvidia.com/gpu": "1"}
    made = make_node("n", cpu="2", memory="4Gi", pods="9", zone="z", **gpu)
    assert made["status"]["allocatable"] == {
        "cpu": "2",
        "memory": "4Gi",
        "pods": "9",
        "nvidia.com/gpu": "1",
    }
    assert made["metadata"]["labels"] == {
        "kubernetes.io/hostname": "n",
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/zone": "z",
    }


@in_virtual_time
async def test_the_provisioner_adds_the_minimum_number_of_nodes_of_the_required_type() -> None:
    spot = {"nodeSelector": {"karpenter.sh/capacity-type": "spot"}}
    provisioning = Provisioning(limits={NodeType.SPOT: 5}, delay=timedelta(seconds=30))
    async with a_cluster(provisioning=provisioning) as cluster:
        workload = a_workload("Deployment", "web", 6, pod=spot, requests={"cpu": "1"})
        await cluster.api.create("deployments", workload)
        await until(lambda: len(ready(cluster)) == 6)
        assert now() == pytest.approx(31, abs=0.5)
        assert cluster.fleet.names() == ["spot-1", "spot-2"]
        notes = [event["message"] for event in cluster.store.list("events", "default")]
        assert (
            sorted(notes)
            == ["Pod should schedule on: node/spot-1"] * 4
            + ["Pod should schedule on: node/spot-2"] * 2
        )


@in_virtual_time
async def test_the_provisioner_respects_its_limit_and_replaces_a_reclaimed_node() -> None:
    provisioning = Provisioning(limits={NodeType.SPOT: 1}, delay=timedelta(seconds=5))
    async with a_cluster(provisioning=provisioning) as cluster:
        workload = a_workload("Deployment", "web", 8, requests={"cpu": "1"})
        await cluster.api.create("deployments", workload)
        await asyncio.sleep(60)
        assert nodes_of(cluster) == [""] * 4 + ["spot-1"] * 4
        await cluster.fleet.reclaim("spot-1")
        await asyncio.sleep(60)
        assert len(pods(cluster)) == 8
        assert nodes_of(cluster) == [""] * 4 + ["spot-2"] * 4
