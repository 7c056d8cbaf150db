"""Policies that owners change, mistype or pause; namespaces that are enabled and disabled."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from spotalis.kube.client import PatchType
from spotalis.model.objects import Pod
from tests.support import incidents
from tests.support.cluster import TestCluster, policy
from tests.support.embedded_cluster import EmbeddedTestCluster
from tests.support.scenarios import on_both_beds


def spotalis_labels(pod: Pod) -> list[str]:
    """Return the labels that Spotalis put on a pod."""
    return [key for key in pod.labels if key.startswith("spotalis.io/")]


@on_both_beds
async def test_a_disabled_workload_and_its_new_pods_are_left_unchanged(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 6, policy(50))
        await cluster.wait_for_split("web", 3, 3)
        old = {pod.uid for pod in await cluster.pods("web")}
        said = await incidents.events(cluster, "web")
        await cluster.annotate("Deployment", "web", {"enabled": None, "spot-percentage": "0"})
        await cluster.assert_unchanged("web")
        await cluster.scale("Deployment", "web", 8)

        async def scaled() -> bool:
            return sum(pod.ready for pod in await cluster.pods("web")) == 8

        await cluster.wait_until(scaled, "8 pods are Ready")
        new = [pod for pod in await cluster.pods("web") if pod.uid not in old]
        assert [(pod.rule, pod.slot, spotalis_labels(pod)) for pod in new] == [("", None, [])] * 2
        await cluster.assert_unchanged("web")
        assert cluster.evictions() == []
        assert await incidents.events(cluster, "web") == said
        await cluster.annotate("Deployment", "web", {"enabled": "true"})
        await cluster.wait_for_split("web", 8, 0)


BROKEN = [
    pytest.param({"spot-percentage": "7O"}, id="spot-percentage with the letter O"),
    pytest.param({"min-on-demand": "two"}, id="min-on-demand in words"),
    pytest.param(
        {"disruption-schedule": "0 25 * * *", "disruption-duration": "1h"},
        id="schedule with the hour 25",
    ),
]


@on_both_beds
@pytest.mark.parametrize("values", BROKEN)
async def test_an_invalid_annotation_stops_moves_until_it_is_corrected(
    cluster: TestCluster, values: Mapping[str, str]
) -> None:
    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 6, policy(50))
        await cluster.create_deployment("good", 4, policy(0))
        await cluster.wait_for_split("web", 3, 3)
        await cluster.wait_for_split("good", 4, 0)
        old = {pod.uid for pod in await cluster.pods("web")}
        await cluster.annotate("Deployment", "web", {"spot-percentage": "0", **values})
        await cluster.annotate("Deployment", "good", {"spot-percentage": "50"})
        await incidents.told(cluster, "web", "InvalidSplitPolicy")
        await cluster.wait_for_split("good", 2, 2)
        await cluster.scale("Deployment", "web", 8)

        async def scaled() -> bool:
            return sum(pod.ready for pod in await cluster.pods("web")) == 8

        await cluster.wait_until(scaled, "8 pods are Ready")
        pods = await cluster.pods("web")
        assert {pod.uid for pod in pods} >= old
        assert all(not spotalis_labels(pod) for pod in pods if pod.uid not in old)
        await cluster.assert_unchanged("web")
        said = await incidents.events(cluster, "web")
        assert said.count("InvalidSplitPolicy") == 1
        assert len(cluster.evictions()) == 2  # of the valid one

        mended: dict[str, str | None] = dict.fromkeys(values)
        await cluster.annotate("Deployment", "web", {**mended, "spot-percentage": "0"})
        await cluster.wait_for_split("web", 8, 0)


@on_both_beds
async def test_one_event_reports_an_unknown_annotation_and_moves_continue(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(50))
        await cluster.wait_for_split("web", 2, 2)
        await cluster.annotate("Deployment", "web", {"min-ondemand": "3"})
        await incidents.told(cluster, "web", "UnknownPolicyKey")
        await cluster.assert_unchanged("web")
        await cluster.scale("Deployment", "web", 6)
        await cluster.wait_for_split("web", 3, 3)
        assert (await incidents.events(cluster, "web")).count("UnknownPolicyKey") == 1
        assert cluster.evictions() == []
        await cluster.annotate("Deployment", "web", {"min-ondemand": None, "min-on-demand": "4"})
        await cluster.wait_for_split("web", 4, 2)
    assert len(cluster.evictions()) == 1


@on_both_beds
async def test_while_a_workload_is_paused_new_pods_are_placed_and_none_is_moved(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(0))
        await cluster.wait_for_split("web", 4, 0)
        annotations = {"spot-percentage": "50", "paused-until": "forever"}
        await cluster.annotate("Deployment", "web", annotations)
        await incidents.told(cluster, "web", "RebalancingPaused")
        await cluster.assert_unchanged("web")
        await cluster.scale("Deployment", "web", 6)
        await cluster.wait_for_split("web", 4, 2)
        await cluster.assert_unchanged("web")
        assert (await incidents.events(cluster, "web")).count("RebalancingPaused") == 1
        assert cluster.evictions() == []
        await cluster.annotate("Deployment", "web", {"paused-until": None})
        await cluster.wait_for_split("web", 3, 3)
        assert (await incidents.events(cluster, "web")).count("RebalancingResumed") == 1
    assert len(cluster.evictions()) == 1


@pytest.mark.check
@on_both_beds
async def test_a_pause_with_an_end_time_ends_by_itself(cluster: TestCluster) -> None:
    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(0))
        await cluster.wait_for_split("web", 4, 0)
        until = (await cluster.now() + timedelta(seconds=15)).replace(microsecond=0)
        annotations = {"spot-percentage": "50", "paused-until": until.isoformat()}
        await cluster.annotate("Deployment", "web", annotations)
        await cluster.wait_for_status("web", "Paused")
        assert cluster.evictions() == []
        await cluster.wait_for_split("web", 2, 2, within=120)
        await cluster.assert_unchanged("web", seconds=5)
    first, second = cluster.eviction_times()
    assert until <= first < second


async def namespace(cluster: TestCluster, name: str, **metadata: Any) -> None:
    answer = await cluster.api.raw(
        "POST",
        "/api/v1/namespaces",
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **metadata}},
    )
    assert answer.status == 201, answer.body


@pytest.mark.both
@on_both_beds
async def test_labelling_a_namespace_enables_and_disables_its_workloads_immediately(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=2)
    await namespace(cluster, "shop", annotations={"spotalis.io/spot-percentage": "50"})
    await cluster.create_deployment("web", 4, namespace="shop")

    async def on_demand_is(count: int) -> bool:
        types = await cluster.node_types()
        pods = await cluster.pods("web", "shop")
        ready = [pod for pod in pods if pod.ready and not pod.deleting_at]
        found = sum(types[pod.node] == "on-demand" for pod in ready)
        return len(pods) == len(ready) == 4 and found == count

    await cluster.wait_until(lambda: on_demand_is(0), "4 spot pods are Ready")
    await cluster.add_nodes(on_demand=2)
    path = "/api/v1/namespaces/shop"
    async with cluster.operator():
        before = {pod.uid for pod in await cluster.pods("web", "shop")}
        await cluster.assert_unchanged("web")
        assert {pod.uid for pod in await cluster.pods("web", "shop")} == before
        for word, wanted, share in (("true", 2, "50"), ("false", 2, "0"), ("true", 4, "0")):
            body = {
                "metadata": {
                    "labels": {"spotalis.io/enabled": word},
                    "annotations": {"spotalis.io/spot-percentage": share},
                }
            }
            answer = await cluster.api.raw("PATCH", path, body, content_type=PatchType.MERGE.value)
            assert answer.status == 200
            await cluster.wait_until(
                lambda wanted=wanted: on_demand_is(wanted),  # type: ignore[misc]
                f"{wanted} on-demand pods",
            )
            if word == "false":
                held = {pod.uid for pod in await cluster.pods("web", "shop")}
                await cluster.assert_unchanged("web")
                assert {pod.uid for pod in await cluster.pods("web", "shop")} == held


@on_both_beds
async def test_workloads_in_the_namespace_of_the_operator_are_left_unchanged(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=2)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(0), namespace="spotalis-system")

        async def ready() -> bool:
            pods = await cluster.pods("web", "spotalis-system")
            return sum(pod.ready for pod in pods) == 4

        await cluster.wait_until(ready, "4 pods are Ready, on spot although the policy says 0%")
        await cluster.add_nodes(on_demand=2)
        before = await cluster.pods("web", "spotalis-system")
        assert all(not spotalis_labels(pod) and pod.slot is None for pod in before)
        await cluster.assert_unchanged("web", seconds=35)  # longer than the resync
        after = await cluster.pods("web", "spotalis-system")
        assert {pod.uid for pod in after} == {pod.uid for pod in before}


@on_both_beds
async def test_a_minimum_without_a_percentage_moves_and_places_nothing_and_is_warned_of(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=2)
    await cluster.create_deployment("web", 4)
    await cluster.wait_for_split("web", 0, 4)
    await cluster.add_nodes(on_demand=2)
    async with cluster.operator():
        await cluster.annotate("Deployment", "web", {"enabled": "true", "min-on-demand": "2"})
        await incidents.told(cluster, "web", "SplitPolicyWarning")
        await cluster.wait_for_status("web", "NoPolicy")
        await cluster.scale("Deployment", "web", 6)

        async def scaled() -> bool:
            return sum(pod.ready for pod in await cluster.pods("web")) == 6

        await cluster.wait_until(scaled, "6 pods are Ready")
        assert [spotalis_labels(pod) for pod in await cluster.pods("web")] == [[]] * 6
        await cluster.assert_unchanged("web")
        assert cluster.evictions() == []
        (note,) = await incidents.notes(cluster, "web", "SplitPolicyWarning")
        assert note == (
            "'spotalis.io/min-on-demand' 2 has no effect without spotalis.io/spot-percentage: no "
            'replica is placed or moved; add it to enable Spotalis, or "0" to keep every replica '
            "on on-demand (annotation on deploy/web)"
        )
        on_spot = (await cluster.split("web"))[1]
        await cluster.annotate("Deployment", "web", {"spot-percentage": "0"})
        await cluster.wait_for_split("web", 6, 0)
    assert len(cluster.evictions()) == on_spot


UNCHANGED = "Spotalis leaves the workload unchanged"


@on_both_beds
async def test_keys_that_are_only_in_the_pod_template_are_reported_and_change_nothing(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=2)
    await cluster.create_deployment("web", 4)
    await cluster.wait_for_split("web", 0, 4)
    await cluster.add_nodes(on_demand=2)

    async def has_pods(count: int) -> bool:
        return len(await cluster.pods("web")) == count

    async with cluster.operator():
        keys = {"spotalis.io/enabled": "true", "spotalis.io/spot-percentage": "50"}
        template = {"spec": {"template": {"metadata": {"annotations": keys}}}}
        await cluster.patch_workload("Deployment", "web", template)
        await incidents.told(cluster, "web", "InvalidSplitPolicy")
        await incidents.rolled_out(cluster, "Deployment", "web")
        await cluster.wait_until(lambda: has_pods(4), "the old pods are gone")
        assert not any(spotalis_labels(pod) for pod in await cluster.pods("web"))
        await cluster.annotate("Deployment", "web", {"enabled": "true"})
        await cluster.wait_for_status("web", "NoPolicy")
        await cluster.assert_unchanged("web")
        assert cluster.evictions() == []
        moved = "has no effect in a pod template; write it in the metadata of the workload"
        assert await incidents.notes(cluster, "web", "InvalidSplitPolicy") == [
            f"spotalis.io/enabled {moved} (template of deploy/web). {UNCHANGED}"
        ]
        warnings = await incidents.notes(cluster, "web", "SplitPolicyWarning")
        assert sorted(note for note in warnings if "template" in note) == [
            f"'spotalis.io/enabled' {moved} (template of deploy/web)",
            f"'spotalis.io/spot-percentage' {moved} (template of deploy/web)",
        ]


@on_both_beds
async def test_paused_until_on_the_namespace_of_the_operator_stops_all_evictions(
    cluster: TestCluster,
) -> None:
    async def pause(text: str | None) -> None:
        body = {"metadata": {"annotations": {"spotalis.io/paused-until": text}}}
        path = "/api/v1/namespaces/spotalis-system"
        answer = await cluster.api.raw("PATCH", path, body, content_type=PatchType.MERGE.value)
        assert answer.status == 200

    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(0))
        await cluster.create_stateful_set("db", 4, policy(0, paused_until="2020-01-01T00:00:00Z"))
        await cluster.wait_for_split("web", 4, 0)
        await cluster.wait_for_split("db", 4, 0)
        await pause("forever")
        await cluster.wait_for_status("web", "Paused")
        await cluster.wait_for_status("db", "Paused")
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await cluster.annotate("StatefulSet", "db", {"spot-percentage": "50"})
        await cluster.assert_unchanged("web")
        await cluster.scale("Deployment", "web", 6)
        await cluster.wait_for_split("web", 4, 2)
        assert cluster.evictions() == []
        await pause(None)
        await cluster.wait_for_split("web", 3, 3)
        await cluster.wait_for_split("db", 2, 2)
    assert len(cluster.evictions()) == 3


SELECTOR = (
    "{matchLabels: {}, matchExpressions: [{key: team, operator: In, values: [a, b]}, "
    "{key: frozen, operator: DoesNotExist}]}"
)


@on_both_beds
async def test_a_namespace_outside_the_selector_is_ignored_until_its_labels_match(
    cluster: TestCluster,
) -> None:
    resyncs = 12.0  # two of the shortest intervals
    path = "/api/v1/namespaces/default"

    async def label(**labels: str | None) -> None:
        body = {"metadata": {"labels": labels}}
        answer = await cluster.api.raw("PATCH", path, body, content_type=PatchType.MERGE.value)
        assert answer.status == 200

    await label(team="c")
    await cluster.add_nodes(spot=2)
    async with cluster.operator(f"--namespace-selector={SELECTOR}", "--resync=5s"):
        await cluster.create_deployment("web", 4, policy(50))
        await cluster.wait_for_split("web", 0, 4)
        await cluster.add_nodes(on_demand=2)
        assert all(not spotalis_labels(pod) for pod in await cluster.pods("web"))
        await cluster.assert_unchanged("web", seconds=resyncs)
        relabelled = await cluster.now()
        await label(team="a")
        await cluster.wait_for_split("web", 2, 2)
        if isinstance(cluster, EmbeddedTestCluster):  # no other delays on the embedded cluster
            assert cluster.eviction_times()[0] - relabelled < timedelta(seconds=1)
        assert len(cluster.evictions()) == 2
        await label(team="b", frozen="yes")
        await cluster.annotate("Deployment", "web", {"spot-percentage": "0"})
        await cluster.assert_unchanged("web", seconds=resyncs)
        await cluster.scale("Deployment", "web", 6)

        async def scaled() -> bool:
            return sum(pod.ready for pod in await cluster.pods("web")) == 6

        await cluster.wait_until(scaled, "6 pods are Ready")
        assert sum(not spotalis_labels(pod) for pod in await cluster.pods("web")) == 4
        assert len(cluster.evictions()) == 2
        await label(frozen=None)
        await cluster.wait_for_split("web", 6, 0)
