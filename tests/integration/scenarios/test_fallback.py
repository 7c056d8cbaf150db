"""Spot shortage and return: replicas fall back to on-demand, probe spot, and return to spot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from spotalis.kube.client import PatchType
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Pod
from tests.integration.scenarios.test_neighbours import template
from tests.support import incidents
from tests.support.cluster import Policy, TestCluster, policy, workload_body
from tests.support.embedded_cluster import EmbeddedTestCluster
from tests.support.scenarios import on_both_beds, only_embedded

FALLBACK = "10s"
CILIUM = {"key": "node.cilium.io/agent-not-ready", "effect": "NoSchedule"}
"""A startup taint."""


def fallback_policy(fallback: str = FALLBACK) -> Policy:
    return policy(70, 2, spot_fallback=fallback, max_moves_in_flight="4")


async def list_nodes(cluster: TestCluster, node_type: NodeType) -> list[str]:
    return [name for name, found in (await cluster.node_types()).items() if found is node_type]


async def remove_spot_nodes(cluster: TestCluster) -> None:
    await cluster.reclaim(*await list_nodes(cluster, NodeType.SPOT))


async def pending_pods(cluster: TestCluster, name: str = "web") -> list[Pod]:
    return [
        pod for pod in await cluster.pods(name) if pod.unschedulable and pod.deleting_at is None
    ]


async def wait_for_pending(cluster: TestCluster, count: int) -> None:
    async def is_reached() -> bool:
        return len(await pending_pods(cluster)) == count

    await cluster.wait_until(is_reached, f"{count} pods are pending")


async def cordon(cluster: TestCluster, node: str, cordoned: bool) -> None:
    body = {"spec": {"unschedulable": cordoned or None}}
    answer = await cluster.api.raw(
        "PATCH", f"/api/v1/nodes/{node}", body, content_type=PatchType.MERGE.value
    )
    assert answer.status == 200


@asynccontextmanager
async def provisioner(cluster: TestCluster) -> AsyncIterator[None]:
    """Add a spot node as soon as a pod is pending, as Karpenter does."""

    async def provide() -> None:
        while not await pending_pods(cluster):
            await asyncio.sleep(0.2)
        await cluster.add_nodes(spot=1)

    providing = asyncio.create_task(provide())
    try:
        yield
        await providing
    finally:
        providing.cancel()


async def wait_for_fallbacks(cluster: TestCluster, count: int) -> None:
    async def is_reached() -> bool:
        return len(cluster.evictions()) >= count

    async def instead() -> str:
        pods = [(pod.node, pod.phase, pod.rule) for pod in await cluster.pods("web")]
        return f"{len(cluster.evictions())} evictions, {pods}"

    await cluster.wait_until(is_reached, f"{count} replicas start on on-demand", instead=instead)


@pytest.mark.both
@on_both_beds
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
async def test_replicas_fall_back_when_spot_is_lost_and_return_with_the_fewest_evictions(
    cluster: TestCluster, kind: str
) -> None:
    await cluster.add_nodes(spot=2, on_demand=3)
    async with cluster.operator():
        await (cluster.create_deployment if kind == "Deployment" else cluster.create_stateful_set)(
            "web", 10, fallback_policy("15s")
        )
        await cluster.wait_for_split("web", 3, 7)
        async with cluster.track_minimum_ready("web", NodeType.ON_DEMAND) as fewest:
            await remove_spot_nodes(cluster)
            await wait_for_fallbacks(cluster, 7)
            await cluster.wait_for_split("web", 10, 0)  # none of them is evicted for a probe
            await cluster.add_nodes(spot=2)
            async with cluster.track_minimum_ready("web") as serving:
                await cluster.wait_for_split("web", 3, 7)
        assert fewest() == 3  # never down to the floor of 2
        assert 6 <= serving() < 10  # they return at the pace of max-moves-in-flight
        await cluster.assert_unchanged("web")
        # 7 replicas fall back and 7 return: no replica waited twice.
        assert len(cluster.evictions()) == 14


@on_both_beds
async def test_while_spot_is_exhausted_new_replicas_start_on_on_demand_immediately(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 10, fallback_policy("15s"))
        await wait_for_fallbacks(cluster, 7)
        await cluster.scale("Deployment", "web", 16)
        await cluster.wait_for_split("web", 16, 0)
        assert len(cluster.evictions()) == 7  # New replicas do not wait, and none probes yet.


@pytest.mark.check
@only_embedded  # The probe is due after 5 minutes.
async def test_one_probe_finds_new_spot_nodes_and_the_other_replicas_follow(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 10, fallback_policy())
        await wait_for_fallbacks(cluster, 7)
        await cluster.wait_for_split("web", 10, 0)
        async with provisioner(cluster):
            await cluster.assert_unchanged("web", seconds=240)
            await asyncio.sleep(60)
            await cluster.wait_for_split("web", 3, 7)
        assert len(cluster.evictions()) == 14
        await cluster.assert_unchanged("web")


@only_embedded
async def test_each_failed_probe_takes_one_replica_and_the_interval_grows(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 10, fallback_policy())
        await cluster.wait_for_split("web", 10, 0)
        await asyncio.sleep(30)
        counts = [len(cluster.evictions()) - 7]
        for _ in range(12):  # one hour
            await asyncio.sleep(300)
            counts.append(len(cluster.evictions()) - 7)
            assert (await cluster.split("web"))[0] >= 9
        # Probes 5, 15 and 35 minutes after the fallback: two evictions each.
        assert counts == [0, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6, 6, 6]


@only_embedded
async def test_a_restart_keeps_the_spot_shortage_and_the_time_of_the_next_probe(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 10, fallback_policy())
        await cluster.wait_for_split("web", 10, 0)
        await asyncio.sleep(60)
        assert len(cluster.evictions()) == 7
        await cluster.kill_operator()
    async with cluster.operator():
        await cluster.scale("Deployment", "web", 14)
        await cluster.wait_for_split("web", 14, 0, within=5)
        await asyncio.sleep(120)
        assert len(cluster.evictions()) == 7
        await asyncio.sleep(180)
        assert len(cluster.evictions()) == 9


@on_both_beds
async def test_no_replica_moves_back_and_forth_if_both_capacity_types_are_full(
    cluster: TestCluster,
) -> None:
    on_demand = await cluster.add_nodes(on_demand=2)
    await cluster.add_nodes(spot=2)
    async with cluster.operator():
        await cluster.create_deployment("web", 10, fallback_policy())
        await cluster.wait_for_split("web", 3, 7)
        for node in on_demand:
            await cordon(cluster, node, True)
        await remove_spot_nodes(cluster)

        await wait_for_fallbacks(cluster, 7)
        await wait_for_pending(cluster, 7)
        await cluster.assert_unchanged("web", seconds=15)
        for node in on_demand:
            await cordon(cluster, node, False)
        await cluster.wait_for_split("web", 10, 0)


@on_both_beds
async def test_with_spot_fallback_never_replicas_wait_for_spot_without_evictions(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=2, on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 10, fallback_policy("never"))
        await cluster.wait_for_split("web", 3, 7)
        await remove_spot_nodes(cluster)
        await wait_for_pending(cluster, 7)
        await cluster.assert_unchanged("web", seconds=10)
        await cluster.add_nodes(spot=2)
        await cluster.wait_for_split("web", 3, 7)
        assert cluster.evictions() == []


@on_both_beds
async def test_the_fallback_completes_a_rollout_that_waits_for_spot(cluster: TestCluster) -> None:
    await cluster.add_nodes(spot=2, on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 10, fallback_policy())
        await cluster.wait_for_split("web", 3, 7)
        await remove_spot_nodes(cluster)
        await wait_for_pending(cluster, 7)
        image = {"spec": {"template": {"spec": {"containers": [_container("2")]}}}}
        await cluster.patch_workload("Deployment", "web", image)
        await cluster.wait_for_split("web", 10, 0)
        workload = await cluster.get_workload("Deployment", "web")
        assert workload.updated_replicas == 10


def _container(version: str) -> dict[str, Any]:
    return {
        "name": "main",
        "image": f"registry.example/main:{version}",
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
    }


@on_both_beds
async def test_no_replica_falls_back_while_an_autoscaler_reports_a_scale_up(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 10, fallback_policy())
        await wait_for_pending(cluster, 7)
        for pod in await pending_pods(cluster):
            await report_scale_up(cluster, pod)
        await cluster.assert_unchanged("web", seconds=15)
        assert cluster.evictions() == []
        await cluster.add_nodes(spot=2)
        await cluster.wait_for_split("web", 3, 7)
        assert cluster.evictions() == []


async def report_scale_up(cluster: TestCluster, pod: Pod) -> None:
    now = (await cluster.now()).isoformat(timespec="seconds").replace("+00:00", "Z")
    body = {
        "metadata": {"generateName": "scaling.", "namespace": pod.namespace},
        "involvedObject": {
            "kind": "Pod",
            "namespace": pod.namespace,
            "name": pod.name,
            "uid": pod.uid,
        },
        "reason": "TriggeredScaleUp",
        "message": "pod triggered scale-up: [{spot 0->1 (max: 10)}]",
        "type": "Normal",
        "source": {"component": "cluster-autoscaler"},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    answer = await cluster.api.raw("POST", f"/api/v1/namespaces/{pod.namespace}/events", body)
    assert answer.status == 201, answer.body


GATE = "example.com/wait"


@on_both_beds
async def test_the_fallback_clock_starts_when_the_last_scheduling_gate_is_removed(
    cluster: TestCluster,
) -> None:
    """The gates hold the pods for longer than ``spot-fallback``."""

    await cluster.add_nodes(on_demand=3)
    (spot,) = await cluster.add_nodes(spot=1)
    await incidents.cordon(cluster, spot)
    async with cluster.operator():
        body = workload_body("Deployment", "web", 4)["spec"]["template"]
        body["spec"]["schedulingGates"] = [{"name": GATE}]
        await cluster.create_deployment(
            "web", 4, policy(50, spot_fallback="10s"), spec={"template": body}
        )

        async def all_exist() -> bool:
            return len(await cluster.pods("web")) == 4

        await cluster.wait_until(all_exist, "four pods exist")
        await asyncio.sleep(15)
        assert cluster.evictions() == []
        released_at = await cluster.now()
        for pod in await cluster.pods("web"):
            path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
            gates = {"spec": {"schedulingGates": None}}
            merge = PatchType.MERGE.value
            answer = await cluster.api.raw("PATCH", path, gates, content_type=merge)
            assert answer.status == 200, answer.body
        await cluster.wait_until(lambda: _evicted(cluster), "a pod falls back")
        waited = (cluster.eviction_times()[0] - released_at).total_seconds()
        assert waited >= 9, waited


async def _evicted(cluster: TestCluster) -> bool:
    return bool(cluster.evictions())


@on_both_beds
async def test_a_ready_spot_node_with_a_startup_taint_stops_the_fallback_clock(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(on_demand=3)
    (spot,) = await cluster.add_nodes(spot=1)
    await incidents.warn(cluster, spot, CILIUM)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(50, spot_fallback="2s"))
        await cluster.wait_for_status("web", "NoSpotCapacity")
        await asyncio.sleep(10)
        assert cluster.evictions() == []
        await incidents.withdraw(cluster, spot, CILIUM)
        await cluster.wait_for_split("web", 2, 2)
    assert cluster.evictions() == []


@only_embedded  # The scheduler stands still.
async def test_the_scheduler_has_time_to_bind_pods_to_a_node_that_has_just_been_initialized(
    cluster: TestCluster,
) -> None:
    """The clock is over when the node is ready, because initialization took longer."""
    assert isinstance(cluster, EmbeddedTestCluster)
    await cluster.add_nodes(on_demand=3)
    (spot,) = await cluster.add_nodes(spot=1)
    await incidents.warn(cluster, spot, CILIUM)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(50, spot_fallback="2s"))
        await cluster.wait_for_status("web", "NoSpotCapacity")
        await asyncio.sleep(30)
        await cluster.embedded.stop_controller("scheduler")
        await incidents.withdraw(cluster, spot, CILIUM)
        await asyncio.sleep(12)
        await cluster.embedded.start_controller("scheduler")
        await cluster.wait_for_split("web", 2, 2)
    assert cluster.evictions() == []


@on_both_beds
async def test_a_spot_node_whose_gpus_are_not_registered_yet_stops_the_fallback_clock(
    cluster: TestCluster,
) -> None:
    """The node is Ready and has no startup taint."""
    (spot,) = await cluster.add_nodes(spot=1)
    await incidents.label(cluster, spot, {"cloud.google.com/gke-accelerator": "nvidia-l4"})
    for node in await cluster.add_nodes(on_demand=2):
        await incidents.offer_devices(cluster, node, gpu="4")
    spec = template("web", 4)
    (container,) = spec["template"]["spec"]["containers"]
    container["resources"] = {"limits": {"nvidia.com/gpu": "1"}}
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(50, spot_fallback="2s"), spec=spec)
        await cluster.wait_for_status("web", "NoSpotCapacity")
        await asyncio.sleep(10)
        assert cluster.evictions() == []
        await incidents.offer_devices(cluster, spot, gpu="4")
        await cluster.wait_for_split("web", 2, 2)
    assert cluster.evictions() == []
