"""T013: scaling by any amount keeps the split with no eviction."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import incidents
from tests.support.bed import Bed, Wishes
from tests.support.stage import Play, on_both_beds, only_real


@on_both_beds
@pytest.mark.parametrize(
    ("percent", "floor", "at_6", "at_2", "at_12"),
    [
        pytest.param(70, 1, (2, 4), (1, 1), (4, 8), id="70 % floor 1"),
        pytest.param(50, 0, (3, 3), (1, 1), (6, 6), id="50 %"),
    ],
)
def test_6_to_2_to_12_needs_no_eviction(
    play: Play,
    percent: int,
    floor: int,
    at_6: tuple[int, int],
    at_2: tuple[int, int],
    at_12: tuple[int, int],
) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3, on_demand=3)
        async with bed.operator():
            await bed.deployment("web", 6, Wishes(percent, floor))
            await bed.settled("web", *at_6)
            await bed.scale("Deployment", "web", 2)
            await bed.settled("web", *at_2)
            await bed.scale("Deployment", "web", 12)
            await bed.settled("web", *at_12)
            await bed.stands_still("web")
        assert bed.evictions() == []

    play(scenario)


@on_both_beds
def test_a_stateful_set_scaled_from_6_to_2_to_12_needs_no_eviction(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3, on_demand=3)
        async with bed.operator():
            await bed.stateful_set("db", 6, Wishes(70, 1))
            await bed.settled("db", 2, 4)
            await bed.scale("StatefulSet", "db", 2)
            await bed.settled("db", 1, 1)
            await bed.scale("StatefulSet", "db", 12)
            await bed.settled("db", 4, 8)
            await bed.stands_still("db")
        assert bed.evictions() == []

    play(scenario)


@on_both_beds
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_an_autoscaler_that_writes_the_scale_subresource_needs_no_eviction(
    play: Play, kind: str
) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3, on_demand=3)
        async with bed.operator():
            create = bed.deployment if kind == "Deployment" else bed.stateful_set
            await create("web", 6, Wishes(70, 1))
            await bed.settled("web", 2, 4)
            await incidents.scale_as_an_autoscaler(bed, kind, "web", 2)
            await bed.settled("web", 1, 1)
            await incidents.scale_as_an_autoscaler(bed, kind, "web", 12)
            await bed.settled("web", 4, 8)
            await bed.stands_still("web")
        assert bed.evictions() == []

    play(scenario)


@only_real  # the embedded cluster has no HorizontalPodAutoscaler
def test_a_horizontal_pod_autoscaler_from_6_to_2_to_12_needs_no_eviction(play: Play) -> None:
    """Without metrics its controller still keeps the replicas within its bounds."""

    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3, on_demand=3)
        path = f"/apis/autoscaling/v2/namespaces/{bed.namespace}/horizontalpodautoscalers"
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
        body: dict[str, Any] = {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web"},
            "spec": {"scaleTargetRef": target, "minReplicas": 6, "maxReplicas": 6},
        }
        async with bed.operator():
            await bed.deployment("web", 4, Wishes(70, 1))
            await bed.settled("web", 2, 2)
            assert (await bed.api.raw("POST", path, body)).status == 201
            await bed.settled("web", 2, 4)
            for replicas, split in ((2, (1, 1)), (12, (4, 8))):
                body["spec"] |= {"minReplicas": replicas, "maxReplicas": replicas}
                assert (await bed.api.raw("PUT", f"{path}/web", body)).status == 200
                await bed.settled("web", *split)
            await bed.stands_still("web")
        assert bed.evictions() == []

    play(scenario)


@on_both_beds
def test_a_scale_up_while_the_webhook_is_away_is_corrected_when_it_is_back(play: Play) -> None:
    """All 6 new pods land on spot: 3 of them are one too many, and no more are moved."""

    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3)
        on_demand = await bed.add_nodes(on_demand=3)
        async with bed.operator():
            await bed.deployment("web", 4, Wishes(50))
            await bed.settled("web", 2, 2)
        await incidents.cordon(bed, *on_demand)
        await bed.scale("Deployment", "web", 10)
        await bed.settled("web", 2, 8)
        assert sum(pod.rule == "" for pod in await bed.pods("web")) == 6
        await incidents.cordon(bed, *on_demand, cordoned=False)
        assert bed.evictions() == []
        async with bed.operator():
            await bed.settled("web", 5, 5)
            await bed.stands_still("web")
        assert len(bed.evictions()) == 3

    play(scenario)


@on_both_beds
def test_scaled_down_one_by_one_it_is_split_right_at_every_step_with_no_eviction(
    play: Play,
) -> None:
    """Which pod goes is the ReplicaSet controller's choice; deletion costs tell it which."""

    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3, on_demand=3)
        async with bed.operator():
            await bed.deployment("web", 8, Wishes(50))
            await bed.settled("web", 4, 4)
            for replicas in range(7, 0, -1):
                await bed.scale("Deployment", "web", replicas)
                spot = replicas // 2
                await bed.settled("web", replicas - spot, spot)
        assert bed.evictions() == []

    play(scenario)
