"""Other software in the cluster: pins, spreads, webhooks, drains, deschedulers, autoscalers."""

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
from tests.support.cluster import CAPACITY_TYPE_LABEL, TestCluster, policy
from tests.support.embedded_cluster import EmbeddedTestCluster
from tests.support.scenarios import on_both_beds

TO_50 = {"spot-percentage": "50"}

SELECTOR = {"nodeSelector": {CAPACITY_TYPE_LABEL: "on-demand"}}
AFFINITY = {
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {
                        "matchExpressions": [
                            {"key": CAPACITY_TYPE_LABEL, "operator": "NotIn", "values": ["spot"]}
                        ]
                    }
                ]
            }
        }
    }
}


def template(name: str, replicas: int, **spec: Any) -> dict[str, Any]:
    """Return the spec of a workload whose pods have these additional fields."""
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
async def test_pods_pinned_by_their_owner_stay_and_one_event_reports_it(
    cluster: TestCluster, pin: Mapping[str, Any]
) -> None:
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(50), spec=template("web", 4, **pin))
        await cluster.wait_for_split("web", 4, 0)
        await incidents.told(cluster, "web", "SplitUnreachable")
        await cluster.assert_unchanged("web")
        pods = await cluster.pods("web")
        assert {pod.rule for pod in pods} == {"user-pinned"}
        assert len({pod.slot for pod in pods} - {None}) == 4
        assert {pod.labels["spotalis.io/capacity-type"] for pod in pods} == {"on-demand"}
        spec = (await cluster.get_object("Deployment", "web"))["spec"]["template"]["spec"]
        assert all(spec[key] == value for key, value in pin.items())
        assert (await incidents.events(cluster, "web")).count("SplitUnreachable") == 1
    assert cluster.evictions() == []


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
ANTI_AFFINITY = {
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
    ("constraint", "maximum"),
    [pytest.param(SPREAD, 2, id="spread"), pytest.param(ANTI_AFFINITY, 1, id="anti-affinity")],
)
async def test_spread_and_anti_affinity_do_not_prevent_split_and_moves(
    cluster: TestCluster, constraint: Mapping[str, Any], maximum: int
) -> None:
    await cluster.add_nodes(spot=4, on_demand=4)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(50), spec=template("web", 4, **constraint))
        await cluster.wait_for_split("web", 2, 2)
        assert cluster.evictions() == []
        await cluster.annotate("Deployment", "web", {"spot-percentage": "100"})
        await cluster.wait_for_split("web", 0, 4)
        assert len(cluster.evictions()) == 2
        await cluster.annotate("Deployment", "web", {"spot-percentage": "25"})
        await cluster.wait_for_split("web", 3, 1)
        await cluster.assert_unchanged("web")
        per_node = Counter(pod.node for pod in await cluster.pods("web"))
        assert max(per_node.values()) <= maximum
    assert len(cluster.evictions()) == 5


@on_both_beds
async def test_replicas_do_not_move_to_nodes_that_their_anti_affinity_excludes(
    cluster: TestCluster,
) -> None:
    """Of two spot nodes each holds one replica: of three replicas that should move only two can."""

    await cluster.add_nodes(spot=2, on_demand=4)
    await incidents.end_provisioning(cluster)
    never = {"spot-fallback": "never", "max-moves-in-flight": "4"}
    async with cluster.operator():
        spec = template("web", 4, **ANTI_AFFINITY)
        await cluster.create_deployment("web", 4, policy(0, **never), spec=spec)
        await cluster.wait_for_split("web", 4, 0)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "75"})
        await cluster.wait_for_split("web", 2, 2)
        await incidents.told(cluster, "web", "SpotCapacityMissing")
        await cluster.assert_unchanged("web")
        assert len(cluster.evictions()) == 2
        await cluster.add_nodes(spot=1)
        await cluster.wait_for_split("web", 1, 3)
    assert len(cluster.evictions()) == 3


@on_both_beds
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
async def test_evictions_by_a_descheduler_keep_the_split_and_cause_no_further_eviction(
    cluster: TestCluster, kind: str
) -> None:
    """The updater of a VerticalPodAutoscaler does the same: it evicts every pod, one at a time."""

    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator():
        create = cluster.create_deployment if kind == "Deployment" else cluster.create_stateful_set
        await create("web", 6, policy(50))
        await cluster.create_budget("web", "web", maxUnavailable=1)
        await cluster.wait_for_split("web", 3, 3)
        old = await cluster.pods("web")
        for pod in old:

            async def gone(pod: Any = pod) -> bool:
                return await incidents.evict(cluster, pod) == 201

            await cluster.wait_until(gone, f"the budget allows the eviction of {pod.name}")
        await cluster.wait_for_split("web", 3, 3)
        assert not {pod.uid for pod in old} & {pod.uid for pod in await cluster.pods("web")}
        await cluster.assert_unchanged("web")
    assert cluster.evictions() == []


@pytest.mark.check
@on_both_beds
async def test_a_drain_during_a_pause_saves_later_moves(
    cluster: TestCluster,
) -> None:
    drained, *_ = await cluster.add_nodes(on_demand=4)
    await cluster.add_nodes(spot=4)
    async with cluster.operator():
        await cluster.create_deployment("web", 8, policy(0))
        await cluster.create_budget("web", "web", minAvailable=7)
        await cluster.wait_for_split("web", 8, 0)
        await cluster.annotate("Deployment", "web", {**TO_50, "paused-until": "forever"})
        await incidents.told(cluster, "web", "RebalancingPaused")
        await incidents.cordon(cluster, drained)
        doomed = [pod for pod in await cluster.pods("web") if pod.node == drained]
        assert len(doomed) == 2
        for pod in doomed:

            async def gone(pod: Any = pod) -> bool:
                return await incidents.evict(cluster, pod) == 201

            await cluster.wait_until(gone, "the budget allows an eviction")
        await cluster.wait_for_split("web", 6, 2)
        await cluster.annotate("Deployment", "web", {"paused-until": None})
        await cluster.wait_for_split("web", 4, 4)
        await cluster.assert_unchanged("web")
    assert len(cluster.evictions()) == 2


PROTECTION = [
    pytest.param("karpenter.sh/do-not-disrupt", "true", id="do-not-disrupt"),
    pytest.param("cluster-autoscaler.kubernetes.io/safe-to-evict", "false", id="safe-to-evict"),
    pytest.param("descheduler.alpha.kubernetes.io/prefer-no-eviction", "", id="prefer-no-eviction"),
    pytest.param("descheduler.alpha.kubernetes.io/evict", "false", id="descheduler-evict"),
    pytest.param("karpenter.sh/do-not-evict", "true", id="do-not-evict"),
    pytest.param("autoscaling.cast.ai/removal-disabled", "true", id="removal-disabled"),
]


@on_both_beds
@pytest.mark.parametrize(("key", "value"), PROTECTION)
async def test_a_pod_annotated_against_disruption_is_not_moved(
    cluster: TestCluster, key: str, value: str
) -> None:
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(0))
        await cluster.wait_for_split("web", 4, 0)
        guarded = (await cluster.pods("web"))[:3]
        for pod in guarded:
            await incidents.annotate_pod(cluster, pod, {key: value})
        await asyncio.sleep(2)  # time for the operator to receive the change
        await cluster.annotate("Deployment", "web", TO_50)
        await cluster.wait_for_split("web", 3, 1)
        await cluster.assert_unchanged("web")
        assert len(cluster.evictions()) == 1
        assert {pod.uid for pod in guarded} < {pod.uid for pod in await cluster.pods("web")}
        await incidents.annotate_pod(cluster, guarded[0], {key: None})
        await cluster.wait_for_split("web", 2, 2)
    assert len(cluster.evictions()) == 2


def respond(review: Mapping[str, Any], patch: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The answer of a webhook with this JSON patch, or without one."""
    response = {"uid": review["request"]["uid"], "allowed": True}
    if patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(json.dumps(patch).encode()).decode()
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


def mesh_injector(review: Mapping[str, Any]) -> dict[str, Any]:
    """The injector of a service mesh: adds one container, once."""
    pod = review["request"]["object"]
    if any(one["name"] == "proxy" for one in pod["spec"]["containers"]):
        return respond(review, [])
    proxy = {"name": "proxy", "image": "registry.example/proxy:1"}
    return respond(review, [{"op": "add", "path": "/spec/containers/-", "value": proxy}])


def vpa_webhook(review: Mapping[str, Any]) -> dict[str, Any]:
    """The webhook of a VerticalPodAutoscaler: sets the recommended requests."""
    path = "/spec/containers/0/resources/requests"
    return respond(
        review, [{"op": "replace", "path": path, "value": {"cpu": "10", "memory": "1Gi"}}]
    )


@on_both_beds
@pytest.mark.parametrize(
    "name", ["a-mesh", "z-mesh"], ids=["called before Spotalis", "called after Spotalis"]
)
async def test_with_a_sidecar_injector_every_pod_is_placed_once(
    cluster: TestCluster, name: str
) -> None:
    await cluster.add_nodes(spot=3, on_demand=3)
    async with cluster.operator(), incidents.injecting(cluster, name, mesh_injector):
        await cluster.create_deployment("web", 10, policy(70))
        await cluster.wait_for_split("web", 3, 7)
        pods = await cluster.pods("web")
        assert sorted(pod.slot or 0 for pod in pods) == list(range(10))
        types = await cluster.node_types()
        placed = {pod.uid: NodeType(pod.labels["spotalis.io/capacity-type"]) for pod in pods}
        assert placed == {pod.uid: types[pod.node] for pod in pods}
        raw = await cluster.api.raw("GET", f"/api/v1/namespaces/{cluster.namespace}/pods")
        for pod in json.loads(raw.body)["items"]:
            assert [one["name"] for one in pod["spec"]["containers"]] == ["main", "proxy"]
        await cluster.assert_unchanged("web")
    assert cluster.evictions() == []


async def run_vpa_updater(cluster: TestCluster, name: str) -> None:
    """The updater of a VerticalPodAutoscaler: evicts pods with other requests, as budgets allow."""

    async def all_have_them() -> bool:
        old = [pod for pod in await cluster.pods(name) if pod.shape.cpu_millis != 10_000]
        for pod in old:
            await incidents.evict(cluster, pod)
        return not old

    await cluster.wait_until(all_have_them, "every pod has the recommended requests", within=120)


@pytest.mark.both
@on_both_beds
async def test_with_a_vertical_pod_autoscaler_the_split_is_exact_and_capacity_counts_real_requests(
    cluster: TestCluster,
) -> None:
    """The template requests 100m, the pods get 10 cores: a node with 32 holds three of them."""

    await cluster.add_nodes(spot=2, on_demand=4)
    await incidents.end_provisioning(cluster)
    annotations = policy(50, spot_fallback="never", max_moves_in_flight="4")
    async with cluster.operator():
        await cluster.create_deployment("web", 8, annotations)
        await cluster.wait_for_split("web", 4, 4)
        await cluster.create_budget("web", "web", maxUnavailable=1)
        async with incidents.injecting(cluster, "vpa-webhook-config", vpa_webhook):
            await cluster.annotate("Deployment", "web", {"spot-percentage": "75"})
            await run_vpa_updater(cluster, "web")
            await cluster.wait_for_split("web", 2, 6)
            pods = await cluster.pods("web")
            assert {pod.shape.cpu_millis for pod in pods} == {10_000}
            assert len({pod.slot for pod in pods} - {None}) == 8
            evicted = len(cluster.evictions())
            # Pods that the updater evicts need not be moved. On a slow machine, however, a new pod
            # may be admitted long before the pod that it replaces has ended.
            assert evicted <= (2 if isinstance(cluster, EmbeddedTestCluster) else 2 + 8)
            await cluster.annotate("Deployment", "web", {"spot-percentage": "100"})
            await incidents.told(cluster, "web", "SpotCapacityMissing")
            await cluster.assert_unchanged("web")
    assert len(cluster.evictions()) == evicted
