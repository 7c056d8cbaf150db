"""The scheduler in virtual time: conditions, retries and spreading."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise

import pytest

from spotalis.embedded.cluster import EmbeddedCluster
from spotalis.embedded.objects.conditions import condition
from spotalis.embedded.objects.resources import Object
from tests.support.eventually import until
from tests.support.virtual_time import in_virtual_time
from tests.unit.embedded.controllers.builders import a_workload
from tests.unit.embedded.controllers.helpers import (
    a_cluster,
    living,
    nodes_of,
    now,
    pods,
    ready,
)

SPOT = {"nodeSelector": {"karpenter.sh/capacity-type": "spot"}}


def scheduled(pod: Object) -> tuple[str, str]:
    found = condition(pod, "PodScheduled") or {}
    return found.get("status", ""), found.get("reason", "")


async def deploy(cluster: EmbeddedCluster, replicas: int, **options: object) -> None:
    await cluster.api.create(
        "deployments",
        a_workload("Deployment", "web", replicas, **options),  # type: ignore[arg-type]
    )


@in_virtual_time
async def test_an_unschedulable_pod_reports_why_and_runs_when_a_node_is_added() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(on_demand=2)
        await deploy(cluster, 1, pod=SPOT)
        await asyncio.sleep(30)
        (pod,) = pods(cluster)
        assert scheduled(pod) == ("False", "Unschedulable")
        found = condition(pod, "PodScheduled")
        assert found is not None
        assert found["message"].startswith(
            "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
        )
        assert found["lastTransitionTime"] == "2026-11-24T12:00:00Z"
        await cluster.fleet.add(spot=1)
        await until(lambda: ready(cluster))
        assert now() == pytest.approx(31, abs=0.2)
        assert nodes_of(cluster) == ["spot-1"]


@in_virtual_time
async def test_a_new_message_keeps_the_transition_time() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(on_demand=1)
        await deploy(cluster, 1, pod=SPOT)
        await asyncio.sleep(60)
        await cluster.fleet.add(on_demand=1)
        await asyncio.sleep(10)
        found = condition(pods(cluster)[0], "PodScheduled")
        assert found is not None
        assert found["message"].startswith("0/2 nodes")
        assert found["lastTransitionTime"] == "2026-11-24T12:00:00Z"


@pytest.mark.parametrize("event", ["uncordoned", "untainted", "ready", "freed"])
@in_virtual_time
async def test_a_pod_is_retried_when_a_node_becomes_available(event: str) -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=1, pods=1, ready=event != "ready")
        if event == "uncordoned":
            await cluster.fleet.cordon("spot-1")
        elif event == "untainted":
            await cluster.fleet.announce_reclaim("spot-1")
        elif event == "freed":
            await cluster.api.create("deployments", a_workload("Deployment", "other", 1))
            await until(lambda: ready(cluster, "other"))
        await deploy(cluster, 1)
        await asyncio.sleep(20)
        assert scheduled(pods(cluster)[0]) == ("False", "Unschedulable")
        if event == "uncordoned":
            await cluster.fleet.cordon("spot-1", cordoned=False)
        elif event == "untainted":
            await cluster.fleet.withdraw_notice("spot-1")
        elif event == "ready":
            cluster.fleet.mark_ready("spot-1")
        else:
            await cluster.api.delete("deployments", "default", "other")
        assert await until(lambda: ready(cluster)) < 2.3


@in_virtual_time
async def test_retries_back_off_from_one_second_to_ten() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(on_demand=1)
        attempts: list[float] = []

        def on_pod(change: str, new: Object, old: Object | None) -> None:
            if change == "MODIFIED":  # each attempt writes a message about one node more
                attempts.append(now())

        cluster.store.subscribe("pods", on_pod)
        await deploy(cluster, 1, pod=SPOT)
        for _ in range(500):
            await cluster.fleet.add(on_demand=1)
            await asyncio.sleep(0.1)
        waits = [later - earlier for earlier, later in pairwise(attempts)]
        assert waits == pytest.approx([1, 2, 4, 8, 10, 10, 10], abs=0.2)


@in_virtual_time
async def test_a_gated_pod_is_scheduled_when_its_gates_are_removed() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=1)
        await deploy(cluster, 1, pod={"schedulingGates": [{"name": "example.com/wait"}]})
        await asyncio.sleep(5)
        (pod,) = pods(cluster)
        assert scheduled(pod) == ("False", "SchedulingGated")
        spec = {key: value for key, value in pod["spec"].items() if key != "schedulingGates"}
        await cluster.api.update("pods", {**pod, "spec": spec})
        await until(lambda: ready(cluster))


@in_virtual_time
async def test_pods_are_spread_over_nodes_and_zones() -> None:
    async with a_cluster() as cluster:
        cluster.fleet.zones = ("a", "b", "c")
        await cluster.fleet.add(spot=6)
        await deploy(cluster, 12)
        await until(lambda: len(ready(cluster)) == 12)
        assert set(Counter(nodes_of(cluster)).values()) == {2}


@in_virtual_time
async def test_pods_stay_pending_if_a_required_spread_would_be_violated() -> None:
    constraint = {
        "topologyKey": "topology.kubernetes.io/zone",
        "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
    async with a_cluster() as cluster:
        cluster.fleet.zones = ("a", "b")
        await cluster.fleet.add(spot=2, pods=3)
        await cluster.fleet.cordon("spot-2")
        await deploy(cluster, 4, pod={"topologySpreadConstraints": [constraint]})
        await asyncio.sleep(5)
        assert nodes_of(cluster) == ["", "", "", "spot-1"]
        await cluster.fleet.cordon("spot-2", cordoned=False)
        await until(lambda: len(ready(cluster)) == 4)
        assert nodes_of(cluster) == ["spot-1"] * 2 + ["spot-2"] * 2


@in_virtual_time
async def test_nodes_are_never_overcommitted() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=3, cpu="4")
        await deploy(cluster, 20, requests={"cpu": "1500m"})
        await asyncio.sleep(5)
        assert Counter(nodes_of(cluster)) == {"": 14, "spot-1": 2, "spot-2": 2, "spot-3": 2}
        assert len(living(cluster)) == 20


@in_virtual_time
async def test_pods_of_another_scheduler_are_ignored() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=1)
        await deploy(cluster, 1, pod={"schedulerName": "another"})
        await asyncio.sleep(5)
        assert scheduled(pods(cluster)[0]) == ("", "")
