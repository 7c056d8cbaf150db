"""StatefulSets whose volumes are in a zone: no pod is sent where its volume cannot follow."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.support import incidents
from tests.support.bed import Bed, Wishes
from tests.support.embedded_stage import OnEmbeddedCluster
from tests.support.stage import Play, on_both_beds, only_embedded
from tests.support.volumes import ZONE, bound, claiming

HOST = "kubernetes.io/hostname"


async def add_nodes(bed: Bed, zone: str, *, spot: int = 0, on_demand: int = 0) -> list[str]:
    """Nodes of a zone, none of a node pool."""
    names = await bed.add_nodes(spot=spot, on_demand=on_demand)
    for name in names:
        await incidents.label(bed, name, {ZONE: zone})
    await incidents.end_provisioning(bed)
    return names


async def uids(bed: Bed) -> dict[str, str]:
    return {pod.name: pod.uid for pod in await bed.pods("db")}


async def notes(bed: Bed) -> list[str]:
    answer = await bed.api.raw("GET", f"/apis/events.k8s.io/v1/namespaces/{bed.namespace}/events")
    return [event["note"] for event in json.loads(answer.body)["items"]]


@on_both_beds
def test_only_pods_whose_volumes_can_follow_are_moved(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await add_nodes(bed, "a", spot=2, on_demand=2)
        await add_nodes(bed, "b", on_demand=2)
        await bound(
            bed, {"db-0": "a", "db-1": "b", "db-2": "a", "db-3": "a", "db-4": "b", "db-5": "b"}
        )
        async with bed.operator():
            wishes = Wishes(0, other={"max-moves-in-flight": "3"})
            await bed.stateful_set("db", 6, wishes, spec=claiming())
            await bed.settled("db", 6, 0)
            before = await uids(bed)
            # The slots of spot are 1, 3 and 5: two of them cannot, and two others go for them.
            await bed.annotate("StatefulSet", "db", {"spot-percentage": "50"})
            await bed.settled("db", 3, 3)
            assert sorted(bed.evictions()) == ["db-0", "db-2", "db-3"]
            await bed.annotate("StatefulSet", "db", {"spot-percentage": "100"})
            await incidents.told(bed, "db", "SpotCapacityMissing")
            await bed.stands_still("db")
            assert len(bed.evictions()) == 3
            now = await uids(bed)
            assert {name for name in now if now[name] == before[name]} == {"db-1", "db-4", "db-5"}
            [note] = [note for note in await notes(bed) if "(zone b)" in note]
            assert note == (
                "3 replicas to move from on-demand to spot; no spot node could hold it where its "
                "volume is (zone b)"
            )
            await add_nodes(bed, "b", spot=1)
            await bed.settled("db", 0, 6)
        assert len(bed.evictions()) == 6

    play(scenario)


@on_both_beds
def test_who_waits_for_spot_is_left_alone_where_no_on_demand_node_reaches_its_volume(
    play: Play,
) -> None:
    async def scenario(bed: Bed) -> None:
        await add_nodes(bed, "a", on_demand=2)
        doomed = [*await add_nodes(bed, "a", spot=1), *await add_nodes(bed, "b", spot=1)]
        await bound(bed, {"db-0": "a", "db-1": "b", "db-2": "a", "db-3": "a"})
        async with bed.operator():
            await bed.stateful_set(
                "db", 4, Wishes(50, other={"spot-fallback": "6s"}), spec=claiming()
            )
            await bed.settled("db", 2, 2)
            for node in doomed:
                await bed.reclaim(node)

            async def db_3_serves_again() -> bool:
                return "db-3" in bed.evictions() and await bed.split("db") == (3, 0)

            await bed.until(db_3_serves_again, "db-3 starts on on-demand")
            stuck = await uids(bed)
            await asyncio.sleep(15)  # more than twice as long as it waits for spot
            assert "db-1" not in bed.evictions()
            assert (await uids(bed))["db-1"] == stuck["db-1"]
            await add_nodes(bed, "b", on_demand=1)

            async def db_1_serves_again() -> bool:
                pods = {pod.name: pod for pod in await bed.pods("db")}
                return pods["db-1"].ready if "db-1" in pods else False

            await bed.until(db_1_serves_again, "db-1 starts on on-demand")
            assert bed.evictions().count("db-1") == 1

    play(scenario)


@only_embedded  # what counts as evidence, case by case; that the scheduler heeds volumes is above
@pytest.mark.parametrize(
    ("pools", "key", "goes"),
    [
        pytest.param({"a", "b"}, ZONE, True, id="a node of a pool stands there"),
        pytest.param({"a"}, ZONE, False, id="nodes of pools stand elsewhere"),
        pytest.param({"a", "b"}, HOST, False, id="the volume is the node's own disk"),
    ],
)
def test_a_node_pool_is_evidence_only_where_its_nodes_reach_the_volume(
    play: Play, pools: set[str], key: str, goes: bool
) -> None:
    async def scenario(bed: Bed) -> None:
        nodes = {"a": await add_nodes(bed, "a", spot=1, on_demand=1)}
        nodes["b"] = await add_nodes(bed, "b", on_demand=1)
        for zone in pools:
            for node in nodes[zone]:
                await incidents.label(bed, node, {"karpenter.sh/nodepool": "default"})
        [there] = nodes["b"]
        await bound(bed, {"db-0": "b" if key == ZONE else there}, key=key)
        async with bed.operator():
            await bed.stateful_set("db", 1, Wishes(0), spec=claiming())
            await bed.settled("db", 1, 0)
            await bed.annotate("StatefulSet", "db", {"spot-percentage": "100"})
            await asyncio.sleep(60)
        assert bed.evictions() == ["db-0"] * goes

    play(scenario)


@only_embedded  # the real one writes no log of reads
def test_volumes_are_asked_for_once_and_only_of_whom_it_matters(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        assert isinstance(bed, OnEmbeddedCluster)
        await add_nodes(bed, "a", spot=2, on_demand=2)
        await add_nodes(bed, "b", on_demand=2)
        await bound(bed, {"db-0": "a", "db-1": "b", "db-2": "b", "db-3": "b"})

        def asked() -> list[str]:
            return [
                entry.name
                for entry in bed.cluster.audit.entries
                if entry.user == bed.user and entry.plural.startswith("persistentvolume")
            ]

        async with bed.operator():
            await bed.stateful_set("db", 4, Wishes(0), spec=claiming())
            await bed.settled("db", 4, 0)
            await asyncio.sleep(600)
            assert asked() == []
            await bed.annotate("StatefulSet", "db", {"spot-percentage": "50"})
            await bed.settled("db", 3, 1)
            await asyncio.sleep(3600)
            # All four were in question; then three for an hour, and nothing new to learn.
            assert sorted(asked()) == sorted(
                name for n in range(4) for name in (f"data-db-{n}", f"disk-of-db-{n}")
            )

    play(scenario)


@only_embedded  # needs a node for a single pod
def test_room_in_a_zone_that_an_open_move_will_take_is_promised_to_nobody_else(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        assert isinstance(bed, OnEmbeddedCluster)
        await add_nodes(bed, "a", spot=1)
        await add_nodes(bed, "b", on_demand=1)
        [small] = await bed.cluster.fleet.add(spot=1, pods=1)
        await incidents.label(bed, small, {ZONE: "b", "karpenter.sh/nodepool": None})
        await bound(bed, {"db-0": "b", "db-1": "b"})
        async with bed.operator():
            never = {"spot-fallback": "never", "max-moves-in-flight": "2"}
            await bed.stateful_set("db", 2, Wishes(0, other=never), spec=claiming())
            await bed.settled("db", 2, 0)
            await bed.annotate("StatefulSet", "db", {"spot-percentage": "100"})
            await bed.settled("db", 1, 1)
            await bed.stands_still("db", seconds=120)
        assert len(bed.evictions()) == 1

    play(scenario)


@only_embedded  # a matter of seconds
def test_room_in_another_zone_does_not_make_a_replica_wait_for_spot_again(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await add_nodes(bed, "a", spot=1, on_demand=1)
        await add_nodes(bed, "b", on_demand=1)
        [doomed] = await add_nodes(bed, "b", spot=1)
        await bound(bed, {"db-0": "b", "db-1": "b"})
        async with bed.operator():
            await bed.stateful_set("db", 2, Wishes(50), spec=claiming())
            await bed.settled("db", 1, 1)
            await bed.reclaim(doomed)
            await bed.settled("db", 2, 0, within=150)
            assert bed.evictions() == ["db-1"]
            await asyncio.sleep(60)
            [pod] = [pod for pod in await bed.pods("db") if pod.name == "db-1"]
            assert await incidents.evict(bed, pod) == 201
            await bed.settled("db", 2, 0, within=10)
        assert bed.evictions() == ["db-1"]

    play(scenario)
