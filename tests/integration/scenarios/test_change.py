"""A changed policy, and workloads that run before they are enabled, take the fewest moves."""

from __future__ import annotations

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
