"""Read-only: the operator reports what it would do in all other scenarios, and changes nothing."""

from __future__ import annotations

import asyncio

import pytest

from spotalis.kube.client import PatchType
from tests.support import incidents
from tests.support.cluster import TestCluster, policy
from tests.support.embedded_cluster import EmbeddedTestCluster
from tests.support.incidents import AKS_PREEMPT, READY_NEVER, SPOT_ITN
from tests.support.scenarios import on_both_beds

ALLOWED = {
    ("create", "events"),
    ("patch", "events"),
    ("patch", "mutatingwebhookconfigurations"),
    ("update", "secrets"),
}
"""All writes of docs/reference/behaviour.md, "What is written into the cluster", but the Lease."""
FALLBACK = {"spot-fallback": "4s", "max-moves-in-flight": "4"}


async def set_up(cluster: TestCluster) -> list[str]:
    """Set up workloads with an operator that may write. Returns the names of the spot nodes."""
    spot = await cluster.add_nodes(spot=6)
    await cluster.add_nodes(on_demand=3)
    async with cluster.operator():
        for name in ("changed", "scaled", "held", "rolled", "off", "broken", "paused", "closed"):
            await cluster.create_deployment(name, 4, policy(50, 1, **FALLBACK))
        await cluster.create_stateful_set("db", 4, policy(50, 1, **FALLBACK))
        for name in ("changed", "scaled", "held", "rolled", "off", "broken", "paused", "closed"):
            await cluster.wait_for_split(name, 2, 2)
        await cluster.wait_for_split("db", 2, 2)
        # Away from the split in both directions, without a running operator.
        for name, percent in (("changed", "0"), ("held", "100"), ("closed", "100")):
            await cluster.annotate("Deployment", name, {"paused-until": "forever"})
            await cluster.annotate("Deployment", name, {"spot-percentage": percent})
    assert cluster.evictions() == []
    return spot


async def run_all_scenarios(cluster: TestCluster, spot: list[str]) -> None:
    """Do what the other scenarios do, one after the other."""
    for name in ("changed", "held", "closed"):  # a policy change: moves are due
        await cluster.annotate("Deployment", name, {"paused-until": None})
    await cluster.annotate("StatefulSet", "db", {"spot-percentage": "0"})
    await cluster.create_deployment("created", 10, policy(70, 1))  # new workloads
    await cluster.create_stateful_set("adopted", 3)
    await cluster.create_budget("held", "held", minAvailable=4)  # a budget
    never = {"disruption-schedule": "0 0 29 2 *", "disruption-duration": "1m"}
    await cluster.annotate("Deployment", "closed", never)  # a window
    await cluster.annotate(
        "Deployment", "off", {"enabled": None, "spot-percentage": "0"}
    )  # an invalid policy
    await cluster.annotate("Deployment", "broken", {"spot-percentage": "7O", "min-ondemand": "1"})
    annotations = {"paused-until": "forever", "spot-percentage": "0"}
    await cluster.annotate("Deployment", "paused", annotations)
    await cluster.annotate("StatefulSet", "adopted", {"enabled": "true", "spot-percentage": "100"})
    await cluster.scale("Deployment", "scaled", 7)  # a scale-up and a scale-down
    await incidents.scale_as_an_autoscaler(cluster, "Deployment", "scaled", 2)
    await incidents.roll_out(
        cluster, "Deployment", "rolled", "registry.example/main:2", READY_NEVER
    )
    await incidents.warn(cluster, spot[0], SPOT_ITN)  # an interruption, and a storm
    await incidents.warn(cluster, spot[1], AKS_PREEMPT)
    await cluster.reclaim(*spot[1:])  # a spot shortage: pods that are pinned to spot stay pending
    labels = {"spotalis.io/enabled": "true", "team": "a"}  # a namespace
    answer = await cluster.api.raw(
        "PATCH",
        f"/api/v1/namespaces/{cluster.namespace}",
        {"metadata": {"labels": labels}},
        content_type=PatchType.MERGE.value,
    )
    assert answer.status == 200


@pytest.mark.both
@on_both_beds
async def test_a_read_only_operator_writes_only_events_and_its_certificate(
    cluster: TestCluster,
) -> None:
    spot = await set_up(cluster)
    earlier = len(cluster.writes())
    async with cluster.operators(2, "--read-only", "--interruption-evict-early") as operators:
        leader = await operators.leader()
        await run_all_scenarios(cluster, spot)

        async def created() -> bool:
            return sum(await cluster.split("created")) == 10

        await cluster.wait_until(created, "the new pods run")
        assert {(pod.rule, pod.slot) for pod in await cluster.pods("created")} == {("", None)}
        await incidents.told(cluster, "broken", "InvalidSplitPolicy")
        await cluster.wait_for_status("held", "ReadOnly")
        await leader.terminate()  # a change of leader
        await operators.leader(other_than=leader)
        # Longer than spot-fallback, and on the embedded cluster longer than any interval.
        await asyncio.sleep(900 if isinstance(cluster, EmbeddedTestCluster) else 10)
    assert cluster.evictions() == []
    assert set(cluster.writes()[earlier:]) <= ALLOWED, cluster.writes()[earlier:]


@pytest.mark.check
@on_both_beds
async def test_a_read_only_operator_reports_what_it_would_move(cluster: TestCluster) -> None:
    await cluster.add_nodes(spot=2, on_demand=2)
    await cluster.create_deployment("web", 4, policy(50))
    async with cluster.operator("--read-only"):
        await cluster.wait_for_split("web", 2, 2)  # the scheduler spreads the pods evenly
        await cluster.wait_for_status("web", "Balanced")
        await cluster.annotate("Deployment", "web", {"spot-percentage": "0"})
        await cluster.wait_for_status("web", "ReadOnly")
        await cluster.assert_unchanged("web", seconds=5)
    assert cluster.evictions() == []
    assert set(cluster.writes()) <= ALLOWED, cluster.writes()
