"""Workloads as the earlier operator of the same name, written in Go, leaves them: it is replaced
without an eviction (docs/install/from-the-go-original.md).

The earlier operator is represented by a webhook that places pods by the same rule.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from spotalis.kube.client import PatchType
from spotalis.model.objects import PREFIX
from tests.integration.scenarios.test_neighbours import respond
from tests.support import incidents
from tests.support.cluster import CAPACITY_TYPE_LABEL, Policy, TestCluster
from tests.support.scenarios import on_both_beds

ENABLED = {f"{PREFIX}enabled": "true"}
POLICY = {f"{PREFIX}spot-percentage": "70", f"{PREFIX}min-on-demand": "1"}
LEFT_ON_TEMPLATES: dict[str, dict[str, Any]] = {
    "metadata": {
        "annotations": {
            f"{PREFIX}desired-spot-replicas": "7",
            f"{PREFIX}desired-ondemand-replicas": "3",
            f"{PREFIX}rebalance-timestamp": "2026-11-30T12:00:00Z",
        }
    },
    "spec": {
        "tolerations": [
            {"key": key, "operator": "Exists", "effect": "NoSchedule"}
            for key in ("spot", "aws.amazon.com/spot")
        ]
    },
}
"""What the earlier operator writes into the pod template of a StatefulSet when it moves a pod."""


class EarlierWebhook:
    """Places pods as the earlier operator: on-demand first, then up to the rounded-down share."""

    def __init__(self, percentage: int, minimum: int) -> None:
        self._percentage = percentage
        self._minimum = minimum
        self._placed: dict[str, dict[str, int]] = defaultdict(lambda: {"spot": 0, "on-demand": 0})

    def __call__(self, review: Mapping[str, Any]) -> dict[str, Any]:
        pod = review["request"]["object"]
        owners = pod["metadata"].get("ownerReferences")
        if not owners:
            return respond(review, [])
        placed = self._placed[owners[0]["uid"]]
        total = placed["spot"] + placed["on-demand"] + 1
        spot = total * self._percentage // 100
        on_demand = max(self._minimum, total - spot)
        chosen = "on-demand" if placed["on-demand"] < on_demand else "spot"
        placed[chosen] += 1
        selector = pod["spec"].get("nodeSelector", {}) | {CAPACITY_TYPE_LABEL: chosen}
        return respond(review, [{"op": "add", "path": "/spec/nodeSelector", "value": selector}])


async def create_as_before(cluster: TestCluster, kind: str, name: str, annotations: Policy) -> None:
    """Create a workload of 10 that the earlier operator has split into 3 + 7."""
    async with incidents.injecting(cluster, "earlier", EarlierWebhook(70, 1)):
        create = cluster.create_deployment if kind == "Deployment" else cluster.create_stateful_set
        await create(name, 10, annotations)
        await cluster.wait_for_split(name, 3, 7)
    await cluster.patch_workload(kind, name, {"metadata": {"labels": ENABLED}})


async def label_namespace(cluster: TestCluster) -> None:
    """Label the namespace: the earlier operator asks for it, and for a label on the workload."""
    path = f"/api/v1/namespaces/{cluster.namespace}"
    body = {"metadata": {"labels": ENABLED}}
    answer = await cluster.api.raw("PATCH", path, body, content_type=PatchType.MERGE.value)
    assert answer.status == 200


@pytest.mark.both
@on_both_beds
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
async def test_a_split_of_the_earlier_operator_is_taken_over_without_an_eviction(
    cluster: TestCluster, kind: str
) -> None:
    await cluster.add_nodes(spot=3, on_demand=3)
    await label_namespace(cluster)
    await create_as_before(cluster, kind, "web", POLICY)
    async with cluster.operator("--read-only"):
        await cluster.wait_for_status("web", "Balanced")
    async with cluster.operator():
        await cluster.wait_for_status("web", "Balanced")
        await cluster.assert_unchanged("web")
        await incidents.roll_out(cluster, kind, "web", "registry.example/main:2")
        await cluster.wait_until(_all_placed(cluster, "web"), "all pods have a slot")
        await cluster.wait_for_split("web", 3, 7)
        await cluster.wait_for_status("web", "Balanced")
    assert cluster.evictions() == []


@on_both_beds
async def test_what_the_earlier_operator_wrote_into_a_pod_template_is_reported_and_left(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=3, on_demand=3)
    await create_as_before(cluster, "StatefulSet", "db", POLICY)
    async with cluster.operator():
        await incidents.change(cluster, "StatefulSet", "db", {"template": LEFT_ON_TEMPLATES})
        await cluster.wait_until(_all_placed(cluster, "db"), "all pods have a slot")
        await cluster.wait_for_split("db", 3, 7)
        await cluster.wait_for_status("db", "Balanced")
        found = (await cluster.get_object("StatefulSet", "db"))["spec"]["template"]
        annotations = LEFT_ON_TEMPLATES["metadata"]["annotations"]
        assert found["metadata"]["annotations"] == annotations
        await incidents.told(cluster, "db", "UnknownPolicyKey")
        assert sorted(await incidents.notes(cluster, "db", "UnknownPolicyKey")) == sorted(
            f"'{key}' is not read by Spotalis (template of sts/db)" for key in annotations
        )
    assert cluster.evictions() == []


@on_both_beds
async def test_replicas_that_the_earlier_operator_placed_move_only_by_a_rollout(
    cluster: TestCluster,
) -> None:
    """They carry its node selector, so that they can run on one capacity type only."""
    await cluster.add_nodes(spot=3, on_demand=3)
    changed = POLICY | {f"{PREFIX}spot-percentage": "50"}
    await create_as_before(cluster, "Deployment", "web", changed)
    async with cluster.operator():
        await cluster.wait_for_status("web", "Pinned")
        await cluster.assert_unchanged("web")
        await incidents.roll_out(cluster, "Deployment", "web", "registry.example/main:2")
        await cluster.wait_until(_all_placed(cluster, "web"), "all pods have a slot")
        await cluster.wait_for_split("web", 5, 5)
        await cluster.wait_for_status("web", "Balanced")
    assert cluster.evictions() == []


@on_both_beds
async def test_the_label_of_a_namespace_opts_in_workloads_that_the_earlier_operator_ignored(
    cluster: TestCluster,
) -> None:
    """The earlier operator manages a workload only if the workload has the label, too."""
    await cluster.add_nodes(on_demand=3)
    await label_namespace(cluster)
    for name in ("kept", "taken", "bare"):
        await cluster.create_deployment(name, 4)
        await cluster.wait_for_split(name, 4, 0)
    await cluster.add_nodes(spot=3)
    await cluster.annotate("Deployment", "kept", {"spot-percentage": "50", "enabled": "false"})
    await cluster.annotate("Deployment", "taken", {"spot-percentage": "50"})
    async with cluster.operator():
        await cluster.wait_for_split("taken", 2, 2)
        await cluster.wait_for_status("bare", "NoPolicy")
        assert await cluster.split("bare") == await cluster.split("kept") == (4, 0)
    assert len(cluster.evictions()) == 2


def _all_placed(cluster: TestCluster, name: str) -> Callable[[], Awaitable[bool]]:
    async def is_reached() -> bool:
        pods = await cluster.pods(name)
        return len(pods) == 10 and all(pod.slot is not None for pod in pods)

    return is_reached
