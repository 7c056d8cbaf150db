"""T011b: spot is short, spot comes back; nobody waits twice, and nothing goes round in circles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from spotalis.kube.client import PatchType
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Pod
from tests.support.bed import Bed, Wishes
from tests.support.embedded_stage import OnEmbeddedCluster
from tests.support.stage import Play, on_both_beds, only_embedded

PATIENCE = "10s"


def wishes(patience: str = PATIENCE) -> Wishes:
    return Wishes(70, 2, {"spot-fallback": patience, "max-moves-in-flight": "4"})


async def nodes_of(bed: Bed, node_type: NodeType) -> list[str]:
    return [name for name, found in (await bed.node_types()).items() if found is node_type]


async def spot_ends(bed: Bed) -> None:
    await bed.reclaim(*await nodes_of(bed, NodeType.SPOT))


async def waiting(bed: Bed, name: str = "web") -> list[Pod]:
    return [pod for pod in await bed.pods(name) if pod.unschedulable and pod.deleting_at is None]


async def count_waiting(bed: Bed, count: int) -> None:
    async def so() -> bool:
        return len(await waiting(bed)) == count

    await bed.until(so, f"{count} wait for a node")


async def cordon(bed: Bed, node: str, cordoned: bool) -> None:
    body = {"spec": {"unschedulable": cordoned or None}}
    answer = await bed.api.raw(
        "PATCH", f"/api/v1/nodes/{node}", body, content_type=PatchType.MERGE.value
    )
    assert answer.status == 200


@asynccontextmanager
async def a_provisioner(bed: Bed) -> AsyncIterator[None]:
    """Adds one spot node as soon as a pod waits for one, as Karpenter does."""

    async def provide() -> None:
        while not await waiting(bed):
            await asyncio.sleep(0.2)
        await bed.add_nodes(spot=1)

    providing = asyncio.create_task(provide())
    try:
        yield
        await providing
    finally:
        providing.cancel()


async def fallen_back(bed: Bed, count: int) -> None:
    async def so() -> bool:
        return len(bed.evictions()) >= count

    async def instead() -> str:
        pods = [(pod.node, pod.phase, pod.rule) for pod in await bed.pods("web")]
        return f"{len(bed.evictions())} evictions, {pods}"

    await bed.until(so, f"{count} start on on-demand", instead=instead)


@on_both_beds
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_lost_spot_falls_back_and_returns_by_the_fewest_evictions(play: Play, kind: str) -> None:
    async def scenario(bed: Bed) -> None:
        async def all_serve_but_one() -> bool:
            return await bed.split("web") == (9, 0)

        await bed.add_nodes(spot=2, on_demand=3)
        async with bed.operator():
            await (bed.deployment if kind == "Deployment" else bed.stateful_set)(
                "web", 10, wishes("15s")
            )
            await bed.settled("web", 3, 7)
            async with bed.fewest("web", NodeType.ON_DEMAND) as fewest:
                await spot_ends(bed)
                await fallen_back(bed, 7)  # at once one of them goes to find out, and waits
                await count_waiting(bed, 1)
                await bed.until(all_serve_but_one, "9 serve")
                await bed.add_nodes(spot=2)
                async with bed.fewest("web") as serving:
                    await bed.settled("web", 3, 7)
            assert fewest() == 3  # never at the floor, let alone below
            assert 6 <= serving() < 10  # back at the pace of max-moves-in-flight
            await bed.stands_still("web")
            # 7 start on on-demand, 7 come back: nobody has waited twice.
            assert len(bed.evictions()) == 14

    play(scenario)


@on_both_beds
def test_while_spot_is_short_new_replicas_start_on_on_demand_at_once(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(on_demand=3)
        async with bed.operator():
            await bed.deployment("web", 10, wishes("15s"))
            await fallen_back(bed, 7)
            await bed.scale("Deployment", "web", 16)

            async def all_but_the_probe_serve() -> bool:
                return (await bed.split("web"))[0] >= 15

            await bed.until(all_but_the_probe_serve, "15 serve")
            # 7 have waited; then the probe has gone, and perhaps come back. None of the new ones.
            assert len(bed.evictions()) in (8, 9)
            if isinstance(bed, OnEmbeddedCluster):
                assert len(await waiting(bed)) == 1

    play(scenario)


@on_both_beds
def test_one_replica_finds_out_that_spot_nodes_are_added_and_opens_spot_for_all(
    play: Play,
) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(on_demand=3)
        async with bed.operator():
            await bed.deployment("web", 10, wishes())
            await fallen_back(bed, 7)
            async with a_provisioner(bed):
                await bed.settled("web", 3, 7)
            assert len(bed.evictions()) == 14
            await bed.stands_still("web")

    play(scenario)


@only_embedded
def test_probes_in_vain_lose_one_replica_each_and_come_ever_more_rarely(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(on_demand=3)
        async with bed.operator():
            await bed.deployment("web", 10, wishes())
            await bed.settled("web", 10, 0)
            await asyncio.sleep(30)
            counts = [len(bed.evictions()) - 7]
            for _ in range(12):  # an hour, look by look
                await asyncio.sleep(300)
                counts.append(len(bed.evictions()) - 7)
                assert (await bed.split("web"))[0] >= 9
            # At once, after 5, 10, 20 and (not yet over) 40 minutes: two evictions each.
            assert counts == [2, 4, 4, 6, 6, 6, 6, 8, 8, 8, 8, 8, 8]

    play(scenario)


@only_embedded
def test_a_restart_forgets_neither_that_spot_is_short_nor_when_the_next_probe_is_due(
    play: Play,
) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(on_demand=3)
        async with bed.operator():
            await bed.deployment("web", 10, wishes())
            await bed.settled("web", 10, 0)
            await asyncio.sleep(60)
            assert len(bed.evictions()) == 9  # the first probe has failed
            await bed.kill_operator()
        async with bed.operator():
            await bed.scale("Deployment", "web", 14)
            await bed.settled("web", 14, 0, within=5)
            await asyncio.sleep(120)
            assert len(bed.evictions()) == 9
            await asyncio.sleep(180)
            assert len(bed.evictions()) == 11

    play(scenario)


@on_both_beds
def test_where_both_classes_are_full_nothing_goes_round_in_circles(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        on_demand = await bed.add_nodes(on_demand=2)
        await bed.add_nodes(spot=2)
        async with bed.operator():
            await bed.deployment("web", 10, wishes())
            await bed.settled("web", 3, 7)
            for node in on_demand:
                await cordon(bed, node, True)
            await spot_ends(bed)

            await fallen_back(bed, 7)
            await count_waiting(bed, 7)
            await bed.stands_still("web", seconds=15)
            for node in on_demand:
                await cordon(bed, node, False)
            await bed.settled("web", 10, 0)

    play(scenario)


@on_both_beds
def test_who_never_falls_back_waits_and_needs_no_eviction(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=2, on_demand=3)
        async with bed.operator():
            await bed.deployment("web", 10, wishes("never"))
            await bed.settled("web", 3, 7)
            await spot_ends(bed)
            await count_waiting(bed, 7)
            await bed.stands_still("web", seconds=10)
            await bed.add_nodes(spot=2)
            await bed.settled("web", 3, 7)
            assert bed.evictions() == []

    play(scenario)


@on_both_beds
def test_a_rollout_that_waits_for_spot_is_freed_by_the_fallback(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=2, on_demand=3)
        async with bed.operator():
            await bed.deployment("web", 10, wishes())
            await bed.settled("web", 3, 7)
            await spot_ends(bed)
            await count_waiting(bed, 7)
            image = {"spec": {"template": {"spec": {"containers": [_container("2")]}}}}
            await bed._patch("Deployment", "web", image)
            await bed.settled("web", 10, 0)
            workload = await bed.workload("Deployment", "web")
            assert workload.updated_replicas == 10

    play(scenario)


def _container(version: str) -> dict[str, Any]:
    return {
        "name": "main",
        "image": f"registry.example/main:{version}",
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
    }


@on_both_beds
def test_nobody_falls_back_while_an_autoscaler_says_that_it_makes_room(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(on_demand=3)
        async with bed.operator():
            await bed.deployment("web", 10, wishes())
            await count_waiting(bed, 7)
            for pod in await waiting(bed):
                await _promise(bed, pod)
            await bed.stands_still("web", seconds=15)
            assert bed.evictions() == []
            await bed.add_nodes(spot=2)
            await bed.settled("web", 3, 7)
            assert bed.evictions() == []

    play(scenario)


async def _promise(bed: Bed, pod: Pod) -> None:
    now = (await bed.now()).isoformat(timespec="seconds").replace("+00:00", "Z")
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
    answer = await bed.api.raw("POST", f"/api/v1/namespaces/{pod.namespace}/events", body)
    assert answer.status == 201, answer.body
