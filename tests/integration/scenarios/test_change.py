"""A changed policy, and workloads that run before they are enabled, take the fewest moves."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support import incidents
from tests.support.cluster import TestCluster, policy
from tests.support.scenarios import on_both_beds

MOVES_AT_ONCE = "3"
REVISION = "deployment.kubernetes.io/revision"


@on_both_beds
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
async def test_changing_10_replicas_from_0_to_70_to_30_percent_takes_7_then_4_evictions(
    cluster: TestCluster, kind: str
) -> None:
    await cluster.add_nodes(spot=4, on_demand=4)
    annotations = policy(0, max_moves_in_flight=MOVES_AT_ONCE)
    async with cluster.operator():
        create = cluster.create_deployment if kind == "Deployment" else cluster.create_stateful_set
        await create("web", 10, annotations)
        await incidents.rolled_out(cluster, kind, "web")
        before = unmanaged_part(await cluster.get_object(kind, "web"))
        assert before["revision"] or REVISION in before["annotations"]
        first = {pod.uid for pod in await cluster.pods("web")}

        await cluster.annotate(kind, "web", {"spot-percentage": "70"})
        await cluster.wait_for_split("web", 3, 7)
        assert len(cluster.evictions()) == 7
        second = {pod.uid for pod in await cluster.pods("web")}
        assert len(first & second) == 3

        await cluster.annotate(kind, "web", {"spot-percentage": "30"})
        await cluster.wait_for_split("web", 7, 3)
        await cluster.assert_unchanged("web")
        assert len(cluster.evictions()) == 11
        assert len(second & {pod.uid for pod in await cluster.pods("web")}) == 6

        await cluster.annotate(kind, "web", {"spot-percentage": "0"})
        await cluster.wait_for_split("web", 10, 0)
        assert unmanaged_part(await cluster.get_object(kind, "web")) == before


@pytest.mark.check
@on_both_beds
async def test_enabling_20_spot_pods_at_70_percent_takes_exactly_6_evictions(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=4)
    await cluster.create_deployment("web", 20)
    await cluster.wait_for_split("web", 0, 20)
    await cluster.add_nodes(on_demand=3)
    async with cluster.operator():
        await cluster.annotate("Deployment", "web", ADOPTED)
        await cluster.wait_for_split("web", 6, 14)
        await cluster.assert_unchanged("web")
    assert len(cluster.evictions()) == 6


@pytest.mark.both
@on_both_beds
async def test_enabling_a_stateful_set_evicts_ordinals_16_13_10_6_1_0_in_this_order(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=4)
    await cluster.create_stateful_set("db", 20)
    await cluster.wait_for_split("db", 0, 20)
    before = await cluster.get_object("StatefulSet", "db")
    await cluster.add_nodes(on_demand=3)
    async with cluster.operator():
        await cluster.annotate("StatefulSet", "db", ADOPTED)
        await cluster.wait_for_split("db", 6, 14)
        await cluster.assert_unchanged("db")
    assert cluster.evictions() == [f"db-{ordinal}" for ordinal in (16, 13, 10, 6, 1, 0)]
    after = await cluster.get_object("StatefulSet", "db")
    assert after["spec"] == before["spec"]
    assert after["status"]["updateRevision"] == before["status"]["updateRevision"]


ADOPTED = {"enabled": "true", "spot-percentage": "70", "min-on-demand": "2"}


def unmanaged_part(document: dict[str, Any]) -> dict[str, Any]:
    """Return what Spotalis must not change: the spec, the owner's annotations and the revision."""
    status = document["status"]
    return {
        "annotations": document["metadata"]["annotations"],  # includes the revision of a Deployment
        "spec": document["spec"],
        "revision": status.get("updateRevision"),
    }


async def target_events(cluster: TestCluster) -> list[dict[str, Any]]:
    """Return the Events about changed targets in the order that kubectl describe shows."""
    path = f"/api/v1/namespaces/{cluster.namespace}/events"
    items = json.loads((await cluster.api.raw("GET", path)).body)["items"]
    found = [item for item in items if item["reason"] == "SplitTargetChanged"]
    return sorted(found, key=lambda item: item["lastTimestamp"])


@on_both_beds
async def test_a_repeated_change_is_counted_and_events_have_timestamps(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 10, policy(70))
        await cluster.wait_for_split("web", 3, 7)
        paused = {"paused-until": "forever"}
        await cluster.annotate("Deployment", "web", paused)
        for said, percent in enumerate(("30", "70", "30", "70"), 1):
            await asyncio.sleep(1.1)  # timestamps have whole seconds
            await cluster.annotate("Deployment", "web", {"spot-percentage": percent})

            async def counted(said: int = said) -> bool:
                return sum(int(e["count"]) for e in await target_events(cluster)) == said

            await cluster.wait_until(counted, f"{said} changes are counted")
        down, up = await target_events(cluster)
        assert [(down["message"], down["count"]), (up["message"], up["count"])] == [
            ("Target is now 7 on-demand + 3 spot (was 3 + 7): spot-percentage 70 -> 30", 2),
            ("Target is now 3 on-demand + 7 spot (was 7 + 3): spot-percentage 30 -> 70", 2),
        ]
        times = [down["firstTimestamp"], up["firstTimestamp"]]
        times += [down["lastTimestamp"], up["lastTimestamp"]]
        assert times == sorted(set(times))
        assert (up["source"]["component"], up["eventTime"]) == ("spotalis.io/controller", None)
    assert cluster.evictions() == []
