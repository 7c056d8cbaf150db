"""StatefulSets with zonal volumes: a pod moves only where its volume can be attached."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.support import incidents
from tests.support.cluster import TestCluster, policy
from tests.support.embedded_cluster import EmbeddedTestCluster
from tests.support.scenarios import on_both_beds, only_embedded
from tests.support.volumes import ZONE, bound, claiming

HOST = "kubernetes.io/hostname"


async def add_nodes(
    cluster: TestCluster, zone: str, *, spot: int = 0, on_demand: int = 0
) -> list[str]:
    """Add nodes in a zone that belong to no node pool."""
    names = await cluster.add_nodes(spot=spot, on_demand=on_demand)
    for name in names:
        await incidents.label(cluster, name, {ZONE: zone})
    await incidents.end_provisioning(cluster)
    return names


async def uids(cluster: TestCluster) -> dict[str, str]:
    return {pod.name: pod.uid for pod in await cluster.pods("db")}


async def notes(cluster: TestCluster) -> list[str]:
    answer = await cluster.api.raw("GET", f"/api/v1/namespaces/{cluster.namespace}/events")
    return [event["message"] for event in json.loads(answer.body)["items"]]


@pytest.mark.check
@on_both_beds
async def test_only_pods_whose_volumes_can_be_attached_are_moved(cluster: TestCluster) -> None:
    await add_nodes(cluster, "a", spot=2, on_demand=2)
    await add_nodes(cluster, "b", on_demand=2)
    await bound(
        cluster, {"db-0": "a", "db-1": "b", "db-2": "a", "db-3": "a", "db-4": "b", "db-5": "b"}
    )
    async with cluster.operator():
        annotations = policy(0, max_moves_in_flight="3")
        await cluster.create_stateful_set("db", 6, annotations, spec=claiming())
        await cluster.wait_for_split("db", 6, 0)
        before = await uids(cluster)
        # The spot slots are 1, 3 and 5: two of these pods cannot move, and two others move instead.
        await cluster.annotate("StatefulSet", "db", {"spot-percentage": "50"})
        await cluster.wait_for_split("db", 3, 3)
        assert sorted(cluster.evictions()) == ["db-0", "db-2", "db-3"]
        await cluster.annotate("StatefulSet", "db", {"spot-percentage": "100"})
        await incidents.told(cluster, "db", "SpotCapacityMissing")
        await cluster.assert_unchanged("db")
        assert len(cluster.evictions()) == 3
        now = await uids(cluster)
        assert {name for name in now if now[name] == before[name]} == {"db-1", "db-4", "db-5"}
        [note] = [note for note in await notes(cluster) if "(zone b)" in note]
        assert note == (
            "3 replicas to move from on-demand to spot; no spot node that can attach "
            "its volume (zone b) could hold the pod"
        )
        await add_nodes(cluster, "b", spot=1)
        await cluster.wait_for_split("db", 0, 6)
    assert len(cluster.evictions()) == 6


@on_both_beds
async def test_a_pod_that_waits_for_spot_stays_if_no_on_demand_node_reaches_its_volume(
    cluster: TestCluster,
) -> None:
    await add_nodes(cluster, "a", on_demand=2)
    doomed = [*await add_nodes(cluster, "a", spot=1), *await add_nodes(cluster, "b", spot=1)]
    await bound(cluster, {"db-0": "a", "db-1": "b", "db-2": "a", "db-3": "a"})
    async with cluster.operator():
        await cluster.create_stateful_set("db", 4, policy(50, spot_fallback="6s"), spec=claiming())
        await cluster.wait_for_split("db", 2, 2)
        for node in doomed:
            await cluster.reclaim(node)

        async def db_3_is_ready_again() -> bool:
            return "db-3" in cluster.evictions() and await cluster.split("db") == (3, 0)

        await cluster.wait_until(db_3_is_ready_again, "db-3 starts on on-demand")
        stuck = await uids(cluster)
        await asyncio.sleep(15)  # more than twice spot-fallback
        assert "db-1" not in cluster.evictions()
        assert (await uids(cluster))["db-1"] == stuck["db-1"]
        await add_nodes(cluster, "b", on_demand=1)

        async def db_1_is_ready_again() -> bool:
            pods = {pod.name: pod for pod in await cluster.pods("db")}
            return pods["db-1"].ready if "db-1" in pods else False

        await cluster.wait_until(db_1_is_ready_again, "db-1 starts on on-demand")
        assert cluster.evictions().count("db-1") == 1


@only_embedded
@pytest.mark.parametrize(
    ("pools", "key", "goes"),
    [
        pytest.param({"a", "b"}, ZONE, True, id="a node of the pool is in the zone"),
        pytest.param({"a"}, ZONE, False, id="nodes of the pool are in another zone"),
        pytest.param({"a", "b"}, HOST, False, id="the volume is a local disk of the node"),
    ],
)
async def test_a_node_pool_counts_as_capacity_only_if_its_nodes_reach_the_volume(
    cluster: TestCluster, pools: set[str], key: str, goes: bool
) -> None:
    nodes = {"a": await add_nodes(cluster, "a", spot=1, on_demand=1)}
    nodes["b"] = await add_nodes(cluster, "b", on_demand=1)
    for zone in pools:
        for node in nodes[zone]:
            await incidents.label(cluster, node, {"karpenter.sh/nodepool": "default"})
    [there] = nodes["b"]
    await bound(cluster, {"db-0": "b" if key == ZONE else there}, key=key)
    async with cluster.operator():
        await cluster.create_stateful_set("db", 1, policy(0), spec=claiming())
        await cluster.wait_for_split("db", 1, 0)
        await cluster.annotate("StatefulSet", "db", {"spot-percentage": "100"})
        await asyncio.sleep(60)
    assert cluster.evictions() == ["db-0"] * goes


@only_embedded  # the audit log of the real control plane contains no reads
async def test_volumes_are_read_once_and_only_for_pods_that_may_move(cluster: TestCluster) -> None:
    assert isinstance(cluster, EmbeddedTestCluster)
    await add_nodes(cluster, "a", spot=2, on_demand=2)
    await add_nodes(cluster, "b", on_demand=2)
    await bound(cluster, {"db-0": "a", "db-1": "b", "db-2": "b", "db-3": "b"})

    def asked() -> list[str]:
        return [
            entry.name
            for entry in cluster.embedded.audit.entries
            if entry.user == cluster.user and entry.plural.startswith("persistentvolume")
        ]

    async with cluster.operator():
        await cluster.create_stateful_set("db", 4, policy(0), spec=claiming())
        await cluster.wait_for_split("db", 4, 0)
        await asyncio.sleep(600)
        assert asked() == []
        await cluster.annotate("StatefulSet", "db", {"spot-percentage": "50"})
        await cluster.wait_for_split("db", 3, 1)
        await asyncio.sleep(3600)
        # All four pods could move; then three for an hour, without new reads.
        assert sorted(asked()) == sorted(
            name for n in range(4) for name in (f"data-db-{n}", f"disk-of-db-{n}")
        )


@only_embedded  # needs a node for a single pod
async def test_capacity_that_an_open_move_will_use_is_not_counted_for_another_move(
    cluster: TestCluster,
) -> None:
    assert isinstance(cluster, EmbeddedTestCluster)
    await add_nodes(cluster, "a", spot=1)
    await add_nodes(cluster, "b", on_demand=1)
    [small] = await cluster.embedded.fleet.add(spot=1, pods=1)
    await incidents.label(cluster, small, {ZONE: "b", "karpenter.sh/nodepool": None})
    await bound(cluster, {"db-0": "b", "db-1": "b"})
    async with cluster.operator():
        never = {"spot-fallback": "never", "max-moves-in-flight": "2"}
        await cluster.create_stateful_set("db", 2, policy(0, **never), spec=claiming())
        await cluster.wait_for_split("db", 2, 0)
        await cluster.annotate("StatefulSet", "db", {"spot-percentage": "100"})
        await cluster.wait_for_split("db", 1, 1)
        await cluster.assert_unchanged("db", seconds=120)
    assert len(cluster.evictions()) == 1


@only_embedded  # needs exact times
async def test_capacity_in_another_zone_does_not_make_a_replica_wait_for_spot_again(
    cluster: TestCluster,
) -> None:
    await add_nodes(cluster, "a", spot=1, on_demand=1)
    await add_nodes(cluster, "b", on_demand=1)
    [doomed] = await add_nodes(cluster, "b", spot=1)
    await bound(cluster, {"db-0": "b", "db-1": "b"})
    async with cluster.operator():
        await cluster.create_stateful_set("db", 2, policy(50), spec=claiming())
        await cluster.wait_for_split("db", 1, 1)
        await cluster.reclaim(doomed)
        await cluster.wait_for_split("db", 2, 0, within=150)
        assert cluster.evictions() == ["db-1"]
        await asyncio.sleep(60)
        [pod] = [pod for pod in await cluster.pods("db") if pod.name == "db-1"]
        assert await incidents.evict(cluster, pod) == 201
        await cluster.wait_for_split("db", 2, 0, within=10)
    assert cluster.evictions() == ["db-1"]
