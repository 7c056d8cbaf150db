"""Spot availability is knowledge about the cluster: evidence of one workload counts for others."""

from __future__ import annotations

import asyncio

import pytest

from spotalis.kube.resources import CORE_EVENTS
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Pod
from tests.support import incidents
from tests.support.cluster import Policy, TestCluster, policy
from tests.support.scenarios import on_both_beds, only_embedded

KARPENTER_REFUSES = (
    "Failed to schedule pod, incompatible requirements, key karpenter.sh/capacity-type, "
    "karpenter.sh/capacity-type In [spot] not in karpenter.sh/capacity-type In [on-demand]"
)


def ten_with(fallback: str) -> Policy:
    return policy(70, 2, spot_fallback=fallback, max_moves_in_flight="4")


async def report(cluster: TestCluster, pod: Pod, component: str, reason: str, message: str) -> None:
    """Write an Event on a pod, as an autoscaler does."""
    now = (await cluster.now()).isoformat(timespec="seconds").replace("+00:00", "Z")
    body = {
        "metadata": {"generateName": f"{pod.name}.", "namespace": pod.namespace},
        "involvedObject": {
            "kind": "Pod",
            "namespace": pod.namespace,
            "name": pod.name,
            "uid": pod.uid,
        },
        "reason": reason,
        "message": message,
        "type": "Warning",
        "source": {"component": component},
        "reportingComponent": component,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    answer = await cluster.api.raw("POST", f"/api/v1/namespaces/{pod.namespace}/events", body)
    assert answer.status == 201, answer.body


async def pending_pods(cluster: TestCluster, name: str = "web") -> list[Pod]:
    return [p for p in await cluster.pods(name) if p.unschedulable and p.deleting_at is None]


async def wait_for_pending(cluster: TestCluster, count: int, name: str = "web") -> None:
    async def is_reached() -> bool:
        return len(await pending_pods(cluster, name)) == count

    await cluster.wait_until(is_reached, f"{count} pods of {name} are pending")


async def notes(cluster: TestCluster, reason: str) -> set[str]:
    """Return the messages of the Events with this reason."""
    events = CORE_EVENTS.with_fields(f"reason={reason}")
    found = await cluster.api.list_all(events, cluster.namespace, quorum=True)
    return {event.message for event in found}


@only_embedded  # Needs a provisioner that is as fast as the first probe is late.
async def test_a_spot_node_of_any_workload_brings_all_workloads_back_without_probes(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(on_demand=3)
    async with cluster.operator():
        for name in ("web", "api"):
            await cluster.create_deployment(name, 10, ten_with("10s"))
        for name in ("web", "api"):
            await cluster.wait_for_split(name, 10, 0)
        assert len(cluster.evictions()) == 14
        # A workload that is created in the drought does not wait at all.
        await cluster.create_deployment("late", 10, ten_with("10s"))
        await cluster.wait_for_split("late", 10, 0, within=8)
        assert len(cluster.evictions()) == 14
        async with cluster.provisioner():
            await asyncio.sleep(60)
            assert len(cluster.evictions()) == 14
            # An autoscaler adds a node that other pods fill; nothing is left of it.
            (node,) = await cluster.add_nodes(spot=1)
            await incidents.cordon(cluster, node)
            for name in ("web", "api", "late"):
                await cluster.wait_for_split(name, 3, 7, within=120)
        assert len(cluster.evictions()) == 14 + 21
        found = await notes(cluster, "SpotCapacityFound")
        assert found == {"A spot node was found; 7 replicas to move back to spot"}
        await cluster.assert_unchanged("web")


@only_embedded  # The replicas wait for two minutes.
async def test_a_short_wait_of_one_workload_says_nothing_to_a_workload_that_waits_longer(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("hasty", 10, ten_with("10s"))
        await cluster.wait_for_split("hasty", 10, 0)
        await cluster.create_deployment("web", 10, ten_with("2m"))
        await wait_for_pending(cluster, 7)
        await cluster.assert_unchanged("web", seconds=60)
        assert len(cluster.evictions()) == 7
        await cluster.add_nodes(spot=2)
        await cluster.wait_for_split("web", 3, 7)
        await cluster.wait_for_split("hasty", 3, 7)
        assert len(cluster.evictions()) == 14


@pytest.mark.both
@on_both_beds
async def test_replicas_that_karpenter_refuses_start_on_on_demand_within_15_seconds(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 10, ten_with("10m"))
        await wait_for_pending(cluster, 7)
        for pod in await pending_pods(cluster):
            await report(cluster, pod, "default-scheduler", "FailedScheduling", "0/3 nodes fit")
            words = "pod didn't trigger scale-up: 1 node(s) didn't match Pod's node affinity"
            await report(cluster, pod, "cluster-autoscaler", "NotTriggerScaleUp", words)
        await cluster.assert_unchanged("web", seconds=12)
        assert cluster.evictions() == []
        for pod in await pending_pods(cluster):
            await report(cluster, pod, "karpenter", "FailedScheduling", KARPENTER_REFUSES)
        await cluster.wait_for_split("web", 10, 0, within=15)
        assert len(cluster.evictions()) == 7
        found = await notes(cluster, "SpotCapacityMissing")
        started = [note for note in found if note.startswith("No spot node for")]
        assert started
        assert all("replicas: karpenter says: Failed to schedule pod" in note for note in started)


@only_embedded  # The provisioner of the embedded cluster reports what it cannot add.
async def test_a_provisioner_without_spot_is_believed_at_once(cluster: TestCluster) -> None:
    await cluster.add_nodes(on_demand=1)
    async with cluster.operator(), cluster.provisioner():
        cluster.embedded.provisioning.limits[NodeType.SPOT] = 0  # type: ignore[attr-defined]
        await cluster.create_deployment("web", 10, ten_with("10m"))
        await cluster.wait_for_split("web", 10, 0, within=15)
        assert len(cluster.evictions()) == 7
