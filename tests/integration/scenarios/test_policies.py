"""T012c, T015: what an owner takes back, mistypes or pauses; namespaces that come and go."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from spotalis.kube.client import PatchType
from spotalis.model.objects import Pod
from tests.support import incidents
from tests.support.bed import Bed, Wishes
from tests.support.embedded_stage import OnEmbeddedCluster
from tests.support.stage import Play, on_both_beds


def ours(pod: Pod) -> list[str]:
    """The labels that Spotalis put on a pod."""
    return [key for key in pod.labels if key.startswith("spotalis.io/")]


@on_both_beds
def test_a_workload_that_is_disabled_is_not_touched_and_its_new_pods_are_as_written(
    play: Play,
) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3, on_demand=3)
        async with bed.operator():
            await bed.deployment("web", 6, Wishes(50))
            await bed.settled("web", 3, 3)
            old = {pod.uid for pod in await bed.pods("web")}
            said = await incidents.events(bed, "web")
            await bed.annotate("Deployment", "web", {"enabled": None, "spot-percentage": "0"})
            await bed.stands_still("web")
            await bed.scale("Deployment", "web", 8)

            async def scaled() -> bool:
                return sum(pod.ready for pod in await bed.pods("web")) == 8

            await bed.until(scaled, "8 pods serve")
            new = [pod for pod in await bed.pods("web") if pod.uid not in old]
            assert [(pod.rule, pod.slot, ours(pod)) for pod in new] == [("", None, [])] * 2
            await bed.stands_still("web")
            assert bed.evictions() == []
            assert await incidents.events(bed, "web") == said
            await bed.annotate("Deployment", "web", {"enabled": "true"})
            await bed.settled("web", 8, 0)

    play(scenario)


BROKEN = [
    pytest.param({"spot-percentage": "7O"}, id="7O for 70"),
    pytest.param({"min-on-demand": "two"}, id="a floor in words"),
    pytest.param({"disruption-schedule": "0 25 * * *", "disruption-duration": "1h"}, id="25:00"),
]


@on_both_beds
@pytest.mark.parametrize("values", BROKEN)
def test_an_invalid_value_leaves_the_workload_as_it_is_until_it_is_mended(
    play: Play, values: Mapping[str, str]
) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3, on_demand=3)
        async with bed.operator():
            await bed.deployment("web", 6, Wishes(50))
            await bed.deployment("good", 4, Wishes(0))
            await bed.settled("web", 3, 3)
            await bed.settled("good", 4, 0)
            old = {pod.uid for pod in await bed.pods("web")}
            await bed.annotate("Deployment", "web", {"spot-percentage": "0", **values})
            await bed.annotate("Deployment", "good", {"spot-percentage": "50"})
            await incidents.told(bed, "web", "InvalidSplitPolicy")
            await bed.settled("good", 2, 2)
            await bed.scale("Deployment", "web", 8)

            async def scaled() -> bool:
                return sum(pod.ready for pod in await bed.pods("web")) == 8

            await bed.until(scaled, "8 pods serve")
            pods = await bed.pods("web")
            assert {pod.uid for pod in pods} >= old
            assert all(not ours(pod) for pod in pods if pod.uid not in old)
            await bed.stands_still("web")
            said = await incidents.events(bed, "web")
            assert said.count("InvalidSplitPolicy") == 1
            assert len(bed.evictions()) == 2  # of the good one

            mended: dict[str, str | None] = dict.fromkeys(values)
            await bed.annotate("Deployment", "web", {**mended, "spot-percentage": "0"})
            await bed.settled("web", 8, 0)

    play(scenario)


@on_both_beds
def test_a_mistyped_key_is_said_once_and_stops_nothing(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3, on_demand=3)
        async with bed.operator():
            await bed.deployment("web", 4, Wishes(50))
            await bed.settled("web", 2, 2)
            await bed.annotate("Deployment", "web", {"min-ondemand": "3"})
            await incidents.told(bed, "web", "UnknownPolicyKey")
            await bed.stands_still("web")
            await bed.scale("Deployment", "web", 6)
            await bed.settled("web", 3, 3)
            assert (await incidents.events(bed, "web")).count("UnknownPolicyKey") == 1
            assert bed.evictions() == []
            await bed.annotate("Deployment", "web", {"min-ondemand": None, "min-on-demand": "4"})
            await bed.settled("web", 4, 2)
        assert len(bed.evictions()) == 1

    play(scenario)


@on_both_beds
def test_while_paused_new_pods_are_placed_and_none_is_moved(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3, on_demand=3)
        async with bed.operator():
            await bed.deployment("web", 4, Wishes(0))
            await bed.settled("web", 4, 0)
            wishes = {"spot-percentage": "50", "paused-until": "forever"}
            await bed.annotate("Deployment", "web", wishes)
            await incidents.told(bed, "web", "RebalancingPaused")
            await bed.stands_still("web")
            await bed.scale("Deployment", "web", 6)
            await bed.settled("web", 4, 2)
            await bed.stands_still("web")
            assert (await incidents.events(bed, "web")).count("RebalancingPaused") == 1
            assert bed.evictions() == []
            await bed.annotate("Deployment", "web", {"paused-until": None})
            await bed.settled("web", 3, 3)
            assert (await incidents.events(bed, "web")).count("RebalancingResumed") == 1
        assert len(bed.evictions()) == 1

    play(scenario)


@on_both_beds
def test_a_pause_until_an_instant_ends_by_itself(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3, on_demand=3)
        async with bed.operator():
            await bed.deployment("web", 4, Wishes(0))
            await bed.settled("web", 4, 0)
            until = (await bed.now() + timedelta(seconds=15)).replace(microsecond=0)
            wishes = {"spot-percentage": "50", "paused-until": until.isoformat()}
            await bed.annotate("Deployment", "web", wishes)
            await bed.says("web", "Paused")
            assert bed.evictions() == []
            await bed.settled("web", 2, 2, within=120)
            await bed.stands_still("web", seconds=5)
        first, second = bed.evicted_at()
        assert until <= first < second

    play(scenario)


async def namespace(bed: Bed, name: str, **metadata: Any) -> None:
    answer = await bed.api.raw(
        "POST",
        "/api/v1/namespaces",
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **metadata}},
    )
    assert answer.status == 201, answer.body


@on_both_beds
def test_a_namespace_that_is_labelled_opts_its_workloads_in_at_once_and_out_again(
    play: Play,
) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=2)
        await namespace(bed, "shop", annotations={"spotalis.io/spot-percentage": "50"})
        await bed.deployment("web", 4, namespace="shop")

        async def on_demand_is(count: int) -> bool:
            types = await bed.node_types()
            pods = await bed.pods("web", "shop")
            ready = [pod for pod in pods if pod.ready and not pod.deleting_at]
            found = sum(types[pod.node] == "on-demand" for pod in ready)
            return len(pods) == len(ready) == 4 and found == count

        await bed.until(lambda: on_demand_is(0), "4 spot pods serve")
        await bed.add_nodes(on_demand=2)
        path = "/api/v1/namespaces/shop"
        async with bed.operator():
            before = {pod.uid for pod in await bed.pods("web", "shop")}
            await bed.stands_still("web")
            assert {pod.uid for pod in await bed.pods("web", "shop")} == before
            for word, wanted, share in (("true", 2, "50"), ("false", 2, "0"), ("true", 4, "0")):
                body = {
                    "metadata": {
                        "labels": {"spotalis.io/enabled": word},
                        "annotations": {"spotalis.io/spot-percentage": share},
                    }
                }
                answer = await bed.api.raw("PATCH", path, body, content_type=PatchType.MERGE.value)
                assert answer.status == 200
                await bed.until(
                    lambda wanted=wanted: on_demand_is(wanted),  # type: ignore[misc]
                    f"{wanted} on-demand pods",
                )
                if word == "false":
                    held = {pod.uid for pod in await bed.pods("web", "shop")}
                    await bed.stands_still("web")
                    assert {pod.uid for pod in await bed.pods("web", "shop")} == held

    play(scenario)


@on_both_beds
def test_the_operators_own_namespace_is_never_touched(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=2)
        async with bed.operator():
            await bed.deployment("web", 4, Wishes(0), namespace="spotalis-system")

            async def ready() -> bool:
                pods = await bed.pods("web", "spotalis-system")
                return sum(pod.ready for pod in pods) == 4

            await bed.until(ready, "4 pods serve, on spot although 0 % may be")
            await bed.add_nodes(on_demand=2)
            before = await bed.pods("web", "spotalis-system")
            assert all(not ours(pod) and pod.slot is None for pod in before)
            await bed.stands_still("web", seconds=35)  # longer than the resync
            after = await bed.pods("web", "spotalis-system")
            assert {pod.uid for pod in after} == {pod.uid for pod in before}

    play(scenario)


SELECTOR = (
    "{matchLabels: {}, matchExpressions: [{key: team, operator: In, values: [a, b]}, "
    "{key: frozen, operator: DoesNotExist}]}"
)


@on_both_beds
def test_a_namespace_outside_the_selector_is_left_alone_until_it_is_relabelled(
    play: Play,
) -> None:
    async def scenario(bed: Bed) -> None:
        resyncs = 12.0  # two of them, of the shortest there may be
        path = "/api/v1/namespaces/default"

        async def label(**labels: str | None) -> None:
            body = {"metadata": {"labels": labels}}
            answer = await bed.api.raw("PATCH", path, body, content_type=PatchType.MERGE.value)
            assert answer.status == 200

        await label(team="c")
        await bed.add_nodes(spot=2)
        async with bed.operator(f"--namespace-selector={SELECTOR}", "--resync=5s"):
            await bed.deployment("web", 4, Wishes(50))
            await bed.settled("web", 0, 4)
            await bed.add_nodes(on_demand=2)
            assert all(not ours(pod) for pod in await bed.pods("web"))
            await bed.stands_still("web", seconds=resyncs)
            relabelled = await bed.now()
            await label(team="a")
            await bed.settled("web", 2, 2)
            if isinstance(bed, OnEmbeddedCluster):  # where nothing else takes time
                assert bed.evicted_at()[0] - relabelled < timedelta(seconds=1)
            assert len(bed.evictions()) == 2
            await label(team="b", frozen="yes")
            await bed.annotate("Deployment", "web", {"spot-percentage": "0"})
            await bed.stands_still("web", seconds=resyncs)
            await bed.scale("Deployment", "web", 6)

            async def scaled() -> bool:
                return sum(pod.ready for pod in await bed.pods("web")) == 6

            await bed.until(scaled, "6 pods serve")
            assert sum(not ours(pod) for pod in await bed.pods("web")) == 4
            assert len(bed.evictions()) == 2
            await label(frozen=None)
            await bed.settled("web", 6, 0)

    play(scenario)
