"""T010: workloads are split at birth, with no eviction; what is not ours is left alone."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.bed import Bed, Wishes
from tests.support.stage import Play, on_both_beds

BURSTS = [
    pytest.param(3, Wishes(70, 1), (1, 2), id="3 at 70 % floor 1 stand 1 + 2"),
    pytest.param(10, Wishes(70), (3, 7), id="10 at 70 % stand 3 + 7"),
    pytest.param(20, Wishes(80, 2), (4, 16), id="20 at 80 % floor 2 stand 4 + 16"),
    pytest.param(5, Wishes(None, 2), (5, 0), id="5 with only a floor stand 5 + 0"),
]


@on_both_beds
@pytest.mark.parametrize(("replicas", "wishes", "split"), BURSTS)
def test_a_deployment_created_in_one_go_is_split_at_birth(
    play: Play, replicas: int, wishes: Wishes, split: tuple[int, int]
) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=4, on_demand=3)
        async with bed.operator():
            await bed.deployment("web", replicas, wishes)
            await bed.settled("web", *split)
            born = {pod.uid for pod in await bed.pods("web")}
            await bed.stands_still("web")
            assert {pod.uid for pod in await bed.pods("web")} == born
        assert bed.evictions() == []

    play(scenario)


@on_both_beds
def test_a_stateful_set_created_in_one_go_is_split_at_birth(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=4, on_demand=3)
        async with bed.operator():
            await bed.stateful_set("db", 20, Wishes(80, 2))
            await bed.settled("db", 4, 16)
            await bed.stands_still("db")
        assert bed.evictions() == []

    play(scenario)


@on_both_beds
def test_scale_ups_and_downs_five_seconds_apart_stay_split_with_no_eviction(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=4, on_demand=3)
        async with bed.operator():
            await bed.deployment("one", 1, Wishes(70))
            await bed.deployment("two", 5, Wishes(70))
            await bed.settled("one", 1, 0)
            await bed.settled("two", 2, 3)
            await bed.scale("Deployment", "one", 10)
            await bed.scale("Deployment", "two", 15)
            await asyncio.sleep(5)
            await bed.scale("Deployment", "two", 8)
            await bed.settled("one", 3, 7)
            await bed.settled("two", 3, 5)
            await bed.stands_still("two")
        assert bed.evictions() == []

    play(scenario)


@on_both_beds
def test_what_is_not_opted_in_is_untouched(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=2, on_demand=2)
        async with bed.operator():
            await bed.deployment("plain", 4)
            await bed.deployment("idle", 4, Wishes(other={"enabled": "false"}))
            bare = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "bare", "labels": {"app": "bare"}},
                "spec": {"containers": [{"name": "main", "image": "registry.example/main:1"}]},
            }
            answer = await bed.api.raw("POST", f"/api/v1/namespaces/{bed.namespace}/pods", bare)
            assert answer.status == 201

            async def all_ready() -> bool:
                return all(
                    [
                        len([p for p in await bed.pods(name) if p.ready]) == count
                        for name, count in (("plain", 4), ("idle", 4), ("bare", 1))
                    ]
                )

            await bed.until(all_ready, "everything is Ready")
            for name in ("plain", "idle", "bare"):
                for pod in await bed.pods(name):
                    assert (pod.rule, pod.slot) == ("", None)
                    assert not [key for key in pod.labels if key.startswith("spotalis.io/")]
        assert bed.evictions() == []

    play(scenario)


@on_both_beds
def test_other_keys_of_a_template_node_selector_are_kept(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=2, on_demand=2)
        async with bed.operator():
            selector = {"kubernetes.io/os": "linux"}
            await bed.deployment("web", 4, Wishes(50), node_selector=selector)
            await bed.settled("web", 2, 2)
            for pod in await bed.pods("web"):
                assert ("kubernetes.io/os", "linux") in pod.shape.node_selector
                assert pod.slot is not None

    play(scenario)
