"""Rollouts of Deployments, in virtual time; the bounds are checked at every change of a pod."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from spotalis.embedded.cluster import EmbeddedCluster
from spotalis.embedded.controllers.deployment_replicasets import limits_of, new_replicaset
from spotalis.embedded.controllers.pod_template import name_prefix
from spotalis.embedded.objects.conditions import condition
from spotalis.embedded.objects.owners import deleting, replicas_of
from spotalis.embedded.objects.pods import is_ready
from spotalis.embedded.objects.resources import Object
from tests.support.eventually import until
from tests.support.virtual_time import in_virtual_time
from tests.unit.embedded.controllers.builders import a_workload
from tests.unit.embedded.controllers.helpers import (
    a_cluster,
    change,
    living,
    names,
    new_image,
    now,
    pods,
    ready,
    status,
)


def web(cluster: EmbeddedCluster) -> Object:
    deployment = cluster.store.get("deployments", "default", "web")
    assert deployment is not None
    return deployment


def sets(cluster: EmbeddedCluster) -> list[Object]:
    """The ReplicaSets, by revision."""
    key = "deployment.kubernetes.io/revision"
    return sorted(
        cluster.store.list("replicasets", "default"),
        key=lambda one: int(one["metadata"]["annotations"][key]),
    )


def complete(cluster: EmbeddedCluster) -> bool:
    """Whether ``kubectl rollout status`` would report completion."""
    found, wanted = status(cluster, "deployments"), replicas_of(web(cluster))
    counts = [found.get(f"{count}Replicas", 0) for count in ("updated", "available")]
    observed = int(found.get("observedGeneration", 0))
    return observed >= web(cluster)["metadata"]["generation"] and (
        [*counts, found.get("replicas", 0)] == [wanted] * 3
    )


async def up(cluster: EmbeddedCluster, replicas: int, **spec: Any) -> None:
    await cluster.fleet.add(spot=4, cpu="64")
    await cluster.api.create("deployments", a_workload("Deployment", "web", replicas, **spec))
    await until(lambda: complete(cluster))


@contextmanager
def watched(cluster: EmbeddedCluster) -> Iterator[list[tuple[int, int]]]:
    """The number of pods that are not terminating, and of ready ones, after every change."""
    seen: list[tuple[int, int]] = []

    def observe(change: str, new: Object, old: Object | None) -> None:
        alive = [pod for pod in cluster.store.list("pods", "default") if not deleting(pod)]
        seen.append((len(alive), sum(1 for pod in alive if is_ready(pod))))

    end = cluster.store.subscribe("pods", observe)
    yield seen
    end()


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable"),
    [
        (10, "25%", "25%"),
        (10, 0, 1),
        (10, 1, 0),
        (10, "100%", 0),
        (10, 0, "100%"),
        (7, "30%", "30%"),
        (3, "25%", "25%"),
        (1, "25%", "25%"),
        (1, 0, 1),
        (5, 3, 2),
    ],
)
@in_virtual_time
async def test_a_rolling_update_completes_within_its_bounds(
    replicas: int, surge: int | str, unavailable: int | str
) -> None:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    async with a_cluster() as cluster:
        await up(cluster, replicas, strategy={"type": "RollingUpdate", "rollingUpdate": rolling})
        before, bounds = set(names(pods(cluster))), limits_of(web(cluster))
        with watched(cluster) as seen:
            await new_image(cluster, "deployments", "web", "app:2")
            await until(lambda: complete(cluster))
        assert max(alive for alive, _ in seen) <= bounds.max_total
        assert min(available for _, available in seen) >= bounds.min_available
        assert before.isdisjoint(names(living(cluster)))
        assert [replicas_of(one) for one in sets(cluster)] == [0, replicas]


@in_virtual_time
async def test_ten_replicas_with_default_bounds_are_replaced_in_two_batches() -> None:
    async with a_cluster() as cluster:
        await up(cluster, 10)
        await new_image(cluster, "deployments", "web", "app:2")
        # Five pods at once (surge 3, unavailable 2), then five more when the first are ready; each
        # batch takes the one second that the kubelet needs to start a pod.
        assert await until(lambda: complete(cluster)) == pytest.approx(2, abs=0.15)


@in_virtual_time
async def test_recreate_creates_new_pods_after_the_last_old_pod_is_removed() -> None:
    async with a_cluster() as cluster:
        await up(cluster, 3, strategy={"type": "Recreate"})
        before = set(names(pods(cluster)))
        await new_image(cluster, "deployments", "web", "app:2")
        for _ in range(30):
            await asyncio.sleep(0.1)
            present = set(names(pods(cluster)))
            assert present <= before or present.isdisjoint(before)
        assert len(ready(cluster)) == 3
        assert before.isdisjoint(names(pods(cluster)))


@pytest.mark.parametrize("length", [240, 244, 253])
def test_a_long_name_is_cut_in_the_name_of_the_replicaset(length: int) -> None:
    deployment = a_workload("Deployment", "w" * length, 1)
    deployment["metadata"]["uid"] = "1"
    made = new_replicaset(deployment, 1, 1)
    unique = made["metadata"]["labels"]["pod-template-hash"]
    expected = min(length, 253 - 1 - len(unique))
    assert made["metadata"]["name"] == f"{'w' * expected}-{unique}"


@pytest.mark.parametrize(("length", "prefix"), [(252, "w" * 252 + "-"), (253, "w" * 253)])
def test_the_prefix_of_pod_names_is_at_most_253_characters(length: int, prefix: str) -> None:
    assert name_prefix("w" * length) == prefix


@in_virtual_time
async def test_a_new_replicaset_has_hash_revision_and_annotations_of_the_deployment() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=1)
        wanted = a_workload("Deployment", "web", 2, annotations={"team": "shop"})
        await cluster.api.create("deployments", wanted)
        await until(lambda: complete(cluster))
        (only,) = sets(cluster)
        unique = only["metadata"]["labels"]["pod-template-hash"]
        assert only["metadata"]["name"] == f"web-{unique}"
        assert only["spec"]["selector"]["matchLabels"] == {
            "app": "web",
            "pod-template-hash": unique,
        }
        assert only["metadata"]["annotations"] == {
            "team": "shop",
            "deployment.kubernetes.io/revision": "1",
            "deployment.kubernetes.io/desired-replicas": "2",
            "deployment.kubernetes.io/max-replicas": "3",
        }
        annotations = web(cluster)["metadata"]["annotations"]
        assert annotations["deployment.kubernetes.io/revision"] == "1"
        for pod in pods(cluster):
            assert pod["metadata"]["labels"]["pod-template-hash"] == unique
            assert pod["metadata"]["name"].startswith(f"web-{unique}-")


@in_virtual_time
async def test_a_rollback_reuses_the_replicaset_of_the_old_template() -> None:
    async with a_cluster() as cluster:
        await up(cluster, 2)
        for image in ("app:2", "app:1"):
            await new_image(cluster, "deployments", "web", image)
            await until(lambda: complete(cluster))
        second, first = sets(cluster)
        assert replicas_of(first) == 2
        assert first["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
        assert first["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] == "1"
        assert replicas_of(second) == 0
        revision = web(cluster)["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
        assert revision == "3"


@in_virtual_time
async def test_replicasets_beyond_the_history_limit_are_deleted() -> None:
    async with a_cluster() as cluster:
        await up(cluster, 1, revisionHistoryLimit=2)
        for number in range(2, 7):
            await new_image(cluster, "deployments", "web", f"app:{number}")
            await until(lambda: complete(cluster))
        await asyncio.sleep(5)
        images = [s["spec"]["template"]["spec"]["containers"][0]["image"] for s in sets(cluster)]
        assert images == ["app:4", "app:5", "app:6"]


@in_virtual_time
async def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    async with a_cluster() as cluster:
        await up(cluster, 2, progressDeadlineSeconds=600)
        before = names(pods(cluster))
        await change(cluster, "deployments", "web", paused=True)
        await new_image(cluster, "deployments", "web", "app:2")
        await change(cluster, "deployments", "web", replicas=4)
        await until(lambda: len(ready(cluster)) == 4)
        assert len(sets(cluster)) == 1
        assert set(before) <= set(names(pods(cluster)))
        progressing = condition(web(cluster), "Progressing")
        assert progressing is not None
        assert progressing["reason"] == "DeploymentPaused"
        await change(cluster, "deployments", "web", paused=False)
        await until(lambda: complete(cluster))
        assert len(sets(cluster)) == 2


@in_virtual_time
async def test_scaling_a_stuck_rollout_is_proportional() -> None:
    rolling = {"maxSurge": 3, "maxUnavailable": 2}
    async with a_cluster() as cluster:
        await up(cluster, 10, strategy={"type": "RollingUpdate", "rollingUpdate": rolling})
        template = web(cluster)["spec"]["template"]
        stuck = {"embedded.spotalis.io/ready": "never"}
        metadata = {**template["metadata"], "annotations": stuck}
        await change(cluster, "deployments", "web", template={**template, "metadata": metadata})
        await asyncio.sleep(20)
        assert [replicas_of(one) for one in sets(cluster)] == [8, 5]
        await change(cluster, "deployments", "web", replicas=15)
        await asyncio.sleep(20)
        assert [replicas_of(one) for one in sets(cluster)] == [11, 7]


@in_virtual_time
async def test_a_stuck_rollout_is_reported_after_its_deadline() -> None:
    async with a_cluster() as cluster:
        never = {"embedded.spotalis.io/ready": "never"}
        await cluster.fleet.add(spot=1)
        wanted = a_workload("Deployment", "web", 2, template=never, progressDeadlineSeconds=60)
        await cluster.api.create("deployments", wanted)

        def reason() -> str:
            return str((condition(web(cluster), "Progressing") or {}).get("reason", ""))

        await asyncio.sleep(59)
        assert reason() == "ReplicaSetUpdated"
        await until(lambda: reason() == "ProgressDeadlineExceeded")
        assert now() == pytest.approx(62, abs=1.2)
        available = condition(web(cluster), "Available")
        assert available is not None
        assert (available["status"], available["reason"]) == ("False", "MinimumReplicasUnavailable")


@in_virtual_time
async def test_a_completed_rollout_is_reported() -> None:
    async with a_cluster() as cluster:
        await up(cluster, 2, progressDeadlineSeconds=600)
        await asyncio.sleep(1)
        progressing = condition(web(cluster), "Progressing")
        assert progressing is not None
        assert (progressing["status"], progressing["reason"]) == ("True", "NewReplicaSetAvailable")
        assert status(cluster, "deployments").get("unavailableReplicas", 0) == 0


@in_virtual_time
async def test_availability_waits_for_min_ready_seconds() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=1)
        await cluster.api.create(
            "deployments", a_workload("Deployment", "web", 2, minReadySeconds=10)
        )
        await asyncio.sleep(5)
        found = status(cluster, "deployments")
        assert (found["readyReplicas"], found.get("availableReplicas", 0)) == (2, 0)
        await until(lambda: status(cluster, "deployments").get("availableReplicas", 0) == 2)
        assert now() == pytest.approx(11, abs=0.2)


@in_virtual_time
async def test_terminating_pods_are_counted_separately() -> None:
    async with a_cluster() as cluster:
        await up(cluster, 6)
        await change(cluster, "deployments", "web", replicas=2)
        await asyncio.sleep(0.5)
        found = status(cluster, "deployments")
        assert (found["replicas"], found["terminatingReplicas"]) == (2, 4)
        await asyncio.sleep(1)
        assert status(cluster, "deployments")["terminatingReplicas"] == 0
        assert len(pods(cluster)) == 2
