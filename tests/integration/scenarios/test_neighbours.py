"""Beside others: owners' pins, spreads, other webhooks, drains, deschedulers, autoscalers."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from spotalis.model.nodes import NodeType
from tests.support import incidents
from tests.support.bed import CLASS_LABEL, Bed, Wishes
from tests.support.embedded_stage import OnEmbeddedCluster
from tests.support.stage import Play, on_both_beds

TO_50 = {"spot-percentage": "50"}

SELECTOR = {"nodeSelector": {CLASS_LABEL: "on-demand"}}
AFFINITY = {
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {
                        "matchExpressions": [
                            {"key": CLASS_LABEL, "operator": "NotIn", "values": ["spot"]}
                        ]
                    }
                ]
            }
        }
    }
}


def template(name: str, replicas: int, **spec: Any) -> dict[str, Any]:
    """A workload's spec whose pods have these fields as well."""
    container = {
        "name": "main",
        "image": "registry.example/main:1",
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
    }
    pod = {"terminationGracePeriodSeconds": 1, "containers": [container], **spec}
    return {
        "replicas": replicas,
        "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
    }


@on_both_beds
@pytest.mark.parametrize("pin", [SELECTOR, AFFINITY], ids=["selector", "affinity"])
def test_pods_that_their_owner_pins_are_kept_and_that_is_said_once(
    play: Play, pin: Mapping[str, Any]
) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=2, on_demand=2)
        async with bed.operator():
            await bed.deployment("web", 4, Wishes(50), spec=template("web", 4, **pin))
            await bed.settled("web", 4, 0)
            await incidents.told(bed, "web", "SplitUnreachable")
            await bed.stands_still("web")
            pods = await bed.pods("web")
            assert {pod.rule for pod in pods} == {"user-pinned"}
            assert len({pod.slot for pod in pods} - {None}) == 4
            assert {pod.labels["spotalis.io/capacity-type"] for pod in pods} == {"on-demand"}
            spec = (await bed.raw_object("Deployment", "web"))["spec"]["template"]["spec"]
            assert all(spec[key] == value for key, value in pin.items())
            assert (await incidents.events(bed, "web")).count("SplitUnreachable") == 1
        assert bed.evictions() == []

    play(scenario)


SPREAD = {
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}},
        }
    ]
}
APART = {
    "affinity": {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {"matchLabels": {"app": "web"}},
                }
            ]
        }
    }
}


@on_both_beds
@pytest.mark.parametrize(
    ("wish", "most"),
    [pytest.param(SPREAD, 2, id="spread"), pytest.param(APART, 1, id="anti-affinity")],
)
def test_replicas_that_must_stand_apart_are_split_and_moved_all_the_same(
    play: Play, wish: Mapping[str, Any], most: int
) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=4, on_demand=4)
        async with bed.operator():
            await bed.deployment("web", 4, Wishes(50), spec=template("web", 4, **wish))
            await bed.settled("web", 2, 2)
            assert bed.evictions() == []
            await bed.annotate("Deployment", "web", {"spot-percentage": "100"})
            await bed.settled("web", 0, 4)
            assert len(bed.evictions()) == 2
            await bed.annotate("Deployment", "web", {"spot-percentage": "25"})
            await bed.settled("web", 3, 1)
            await bed.stands_still("web")
            crowd = Counter(pod.node for pod in await bed.pods("web"))
            assert max(crowd.values()) <= most
        assert len(bed.evictions()) == 5

    play(scenario)


@on_both_beds
def test_replicas_that_must_stand_apart_are_not_sent_where_their_like_stands(play: Play) -> None:
    """Two spot nodes hold one each: of three that should go there only two can."""

    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=2, on_demand=4)
        await incidents.end_provisioning(bed)
        never = {"spot-fallback": "never", "max-moves-in-flight": "4"}
        async with bed.operator():
            spec = template("web", 4, **APART)
            await bed.deployment("web", 4, Wishes(0, other=never), spec=spec)
            await bed.settled("web", 4, 0)
            await bed.annotate("Deployment", "web", {"spot-percentage": "75"})
            await bed.settled("web", 2, 2)
            await incidents.told(bed, "web", "SpotCapacityMissing")
            await bed.stands_still("web")
            assert len(bed.evictions()) == 2
            await bed.add_nodes(spot=1)
            await bed.settled("web", 1, 3)
        assert len(bed.evictions()) == 3

    play(scenario)


@on_both_beds
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_evictions_by_a_descheduler_keep_the_split_and_cause_none_of_ours(
    play: Play, kind: str
) -> None:
    """The updater of a VerticalPodAutoscaler does the same: every pod once, one at a time."""

    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3, on_demand=3)
        async with bed.operator():
            create = bed.deployment if kind == "Deployment" else bed.stateful_set
            await create("web", 6, Wishes(50))
            await bed.budget("web", "web", maxUnavailable=1)
            await bed.settled("web", 3, 3)
            old = await bed.pods("web")
            for pod in old:

                async def gone(pod: Any = pod) -> bool:
                    return await incidents.evict(bed, pod) == 201

                await bed.until(gone, f"the budget lets {pod.name} go")
            await bed.settled("web", 3, 3)
            assert not {pod.uid for pod in old} & {pod.uid for pod in await bed.pods("web")}
            await bed.stands_still("web")
        assert bed.evictions() == []

    play(scenario)


@on_both_beds
def test_whoever_is_drained_while_moves_rest_need_not_be_moved_later(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        drained, *_ = await bed.add_nodes(on_demand=4)
        await bed.add_nodes(spot=4)
        async with bed.operator():
            await bed.deployment("web", 8, Wishes(0))
            await bed.budget("web", "web", minAvailable=7)
            await bed.settled("web", 8, 0)
            await bed.annotate("Deployment", "web", {**TO_50, "paused-until": "forever"})
            await incidents.told(bed, "web", "RebalancingPaused")
            await incidents.cordon(bed, drained)
            doomed = [pod for pod in await bed.pods("web") if pod.node == drained]
            assert len(doomed) == 2
            for pod in doomed:

                async def gone(pod: Any = pod) -> bool:
                    return await incidents.evict(bed, pod) == 201

                await bed.until(gone, "the budget lets one go")
            await bed.settled("web", 6, 2)
            await bed.annotate("Deployment", "web", {"paused-until": None})
            await bed.settled("web", 4, 4)
            await bed.stands_still("web")
        assert len(bed.evictions()) == 2

    play(scenario)


PROTECTION = [
    pytest.param("karpenter.sh/do-not-disrupt", "true", id="do-not-disrupt"),
    pytest.param("cluster-autoscaler.kubernetes.io/safe-to-evict", "false", id="safe-to-evict"),
    pytest.param("descheduler.alpha.kubernetes.io/prefer-no-eviction", "", id="prefer-no-eviction"),
]


@on_both_beds
@pytest.mark.parametrize(("key", "value"), PROTECTION)
def test_a_pod_that_asks_not_to_be_disrupted_is_not_moved(play: Play, key: str, value: str) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=2, on_demand=2)
        async with bed.operator():
            await bed.deployment("web", 4, Wishes(0))
            await bed.settled("web", 4, 0)
            guarded = (await bed.pods("web"))[:3]
            for pod in guarded:
                await incidents.annotate_pod(bed, pod, {key: value})
            await asyncio.sleep(2)  # for the operator to hear of it, which nothing shows
            await bed.annotate("Deployment", "web", TO_50)
            await bed.settled("web", 3, 1)
            await bed.stands_still("web")
            assert len(bed.evictions()) == 1
            assert {pod.uid for pod in guarded} < {pod.uid for pod in await bed.pods("web")}
            await incidents.annotate_pod(bed, guarded[0], {key: None})
            await bed.settled("web", 2, 2)
        assert len(bed.evictions()) == 2

    play(scenario)


def patched(review: Mapping[str, Any], patch: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The answer of a webhook that changes the pod so, or not at all."""
    response = {"uid": review["request"]["uid"], "allowed": True}
    if patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(json.dumps(patch).encode()).decode()
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


def mesh(review: Mapping[str, Any]) -> dict[str, Any]:
    """A mesh's injector: one more container, once."""
    pod = review["request"]["object"]
    if any(one["name"] == "proxy" for one in pod["spec"]["containers"]):
        return patched(review, [])
    proxy = {"name": "proxy", "image": "registry.example/proxy:1"}
    return patched(review, [{"op": "add", "path": "/spec/containers/-", "value": proxy}])


def recommendation(review: Mapping[str, Any]) -> dict[str, Any]:
    """A VerticalPodAutoscaler's admission: the requests that it recommends."""
    path = "/spec/containers/0/resources/requests"
    return patched(
        review, [{"op": "replace", "path": path, "value": {"cpu": "10", "memory": "1Gi"}}]
    )


@on_both_beds
@pytest.mark.parametrize("name", ["a-mesh", "z-mesh"], ids=["before ours", "after ours"])
def test_beside_an_injector_that_changes_the_pod_every_pod_is_placed_once(
    play: Play, name: str
) -> None:
    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=3, on_demand=3)
        async with bed.operator(), incidents.injecting(bed, name, mesh):
            await bed.deployment("web", 10, Wishes(70))
            await bed.settled("web", 3, 7)
            pods = await bed.pods("web")
            assert sorted(pod.slot or 0 for pod in pods) == list(range(10))
            types = await bed.node_types()
            placed = {pod.uid: NodeType(pod.labels["spotalis.io/capacity-type"]) for pod in pods}
            assert placed == {pod.uid: types[pod.node] for pod in pods}
            raw = await bed.api.raw("GET", f"/api/v1/namespaces/{bed.namespace}/pods")
            for pod in json.loads(raw.body)["items"]:
                assert [one["name"] for one in pod["spec"]["containers"]] == ["main", "proxy"]
            await bed.stands_still("web")
        assert bed.evictions() == []

    play(scenario)


async def update(bed: Bed, name: str) -> None:
    """The updater of a VerticalPodAutoscaler: evicts who has other requests, as budgets let it."""

    async def all_have_them() -> bool:
        old = [pod for pod in await bed.pods(name) if pod.shape.cpu_millis != 10_000]
        for pod in old:
            await incidents.evict(bed, pod)
        return not old

    await bed.until(all_have_them, "every pod has the recommended requests", within=120)


@on_both_beds
def test_beside_an_autoscaler_of_requests_the_split_is_exact_and_room_counts_what_pods_get(
    play: Play,
) -> None:
    """The template asks for 100m, the pods get 10 cores: a node of 32 holds three of them."""

    async def scenario(bed: Bed) -> None:
        await bed.add_nodes(spot=2, on_demand=4)
        await incidents.end_provisioning(bed)
        wishes = Wishes(50, other={"spot-fallback": "never", "max-moves-in-flight": "4"})
        async with bed.operator():
            await bed.deployment("web", 8, wishes)
            await bed.settled("web", 4, 4)
            await bed.budget("web", "web", maxUnavailable=1)
            async with incidents.injecting(bed, "vpa-webhook-config", recommendation):
                await bed.annotate("Deployment", "web", {"spot-percentage": "75"})
                await update(bed, "web")
                await bed.settled("web", 2, 6)
                pods = await bed.pods("web")
                assert {pod.shape.cpu_millis for pod in pods} == {10_000}
                assert len({pod.slot for pod in pods} - {None}) == 8
                ours = len(bed.evictions())
                # Whom the updater evicts need not be moved; but where the machine is slow, the
                # review of each new pod may come long before the end of the one it replaces.
                assert ours <= (2 if isinstance(bed, OnEmbeddedCluster) else 2 + 8)
                await bed.annotate("Deployment", "web", {"spot-percentage": "100"})
                await incidents.told(bed, "web", "SpotCapacityMissing")
                await bed.stands_still("web")
        assert len(bed.evictions()) == ours

    play(scenario)
