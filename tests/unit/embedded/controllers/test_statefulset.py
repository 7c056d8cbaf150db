"""StatefulSets in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from spotalis.embedded.cluster import EmbeddedCluster
from spotalis.embedded.objects.resources import Object
from tests.support.eventually import until
from tests.support.virtual_time import in_virtual_time
from tests.unit.embedded.controllers.builders import a_workload
from tests.unit.embedded.controllers.helpers import (
    a_cluster,
    change,
    names,
    new_image,
    now,
    pods,
    ready,
    status,
)

WEB = [f"web-{ordinal}" for ordinal in range(9)]


async def up(cluster: EmbeddedCluster, replicas: int, **spec: Any) -> None:
    await cluster.fleet.add(spot=2, cpu="64")
    await cluster.api.create("statefulsets", a_workload("StatefulSet", "web", replicas, **spec))
    await until(lambda: len(ready(cluster)) == replicas)
    await asyncio.sleep(0.1)


def record_pods(cluster: EmbeddedCluster) -> list[tuple[str, str]]:
    """Record the creation (``+``) and the removal (``-``) of pods from now on."""
    seen: list[tuple[str, str]] = []

    def observe(change: str, new: Object, old: Object | None) -> None:
        name = new["metadata"]["name"]
        if change == "ADDED":
            seen.append(("+", name))
        elif change == "DELETED":
            seen.append(("-", name))

    cluster.store.subscribe("pods", observe)
    return seen


def revisions(cluster: EmbeddedCluster) -> dict[str, str]:
    """The revision of each pod, by name."""
    key = "controller-revision-hash"
    return {pod["metadata"]["name"]: pod["metadata"]["labels"][key] for pod in pods(cluster)}


@in_virtual_time
async def test_ordered_pods_are_created_one_after_the_other() -> None:
    async with a_cluster() as cluster:
        await up(cluster, 3)
        assert now() == pytest.approx(3.1, abs=0.2)
        assert names(pods(cluster)) == WEB[:3]
        found = status(cluster, "statefulsets")
        counts = ("replicas", "readyReplicas", "availableReplicas", "currentReplicas")
        assert [found[count] for count in counts] == [3, 3, 3, 3]
        assert found["updatedReplicas"] == 3
        assert found["currentRevision"] == found["updateRevision"] == revisions(cluster)["web-0"]


@in_virtual_time
async def test_parallel_pods_are_created_at_once() -> None:
    async with a_cluster() as cluster:
        await up(cluster, 5, podManagementPolicy="Parallel")
        assert now() == pytest.approx(1.1, abs=0.2)


@in_virtual_time
async def test_pods_have_identity_labels_hostname_and_subdomain() -> None:
    async with a_cluster() as cluster:
        await up(cluster, 2, ordinals={"start": 5}, serviceName="web")
        assert names(pods(cluster)) == ["web-5", "web-6"]
        labels = pods(cluster)[0]["metadata"]["labels"]
        assert labels["apps.kubernetes.io/pod-index"] == "5"
        assert labels["statefulset.kubernetes.io/pod-name"] == "web-5"
        assert pods(cluster)[0]["spec"]["hostname"] == "web-5"
        assert pods(cluster)[0]["spec"]["subdomain"] == "web"


@in_virtual_time
async def test_ordered_pods_are_removed_one_after_the_other_from_the_top() -> None:
    async with a_cluster() as cluster:
        await up(cluster, 4)
        seen, start = record_pods(cluster), now()
        await change(cluster, "statefulsets", "web", replicas=1)
        await until(lambda: len(pods(cluster)) == 1)
        assert seen == [("-", "web-3"), ("-", "web-2"), ("-", "web-1")]
        assert now() - start == pytest.approx(3, abs=0.3)


@in_virtual_time
async def test_an_update_replaces_pods_one_after_the_other_from_the_top() -> None:
    async with a_cluster() as cluster:
        await up(cluster, 3)
        seen, start = record_pods(cluster), now()
        await new_image(cluster, "statefulsets", "web", "app:2")
        await asyncio.sleep(0.1)
        await until(
            lambda: (
                status(cluster, "statefulsets").get("updatedReplicas") == 3
                and len(ready(cluster)) == 3
            )
        )
        await asyncio.sleep(0.1)
        assert seen == [
            ("-", "web-2"),
            ("+", "web-2"),
            ("-", "web-1"),
            ("+", "web-1"),
            ("-", "web-0"),
            ("+", "web-0"),
        ]
        assert now() - start == pytest.approx(6, abs=0.4)
        found = status(cluster, "statefulsets")
        assert found["currentRevision"] == found["updateRevision"]
        assert set(revisions(cluster).values()) == {found["updateRevision"]}


@in_virtual_time
async def test_pods_below_the_partition_keep_the_old_revision_when_recreated() -> None:
    async with a_cluster() as cluster:
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
        await up(cluster, 4, updateStrategy=rolling)
        old = revisions(cluster)["web-0"]
        await new_image(cluster, "statefulsets", "web", "app:2")
        await asyncio.sleep(10)
        update = status(cluster, "statefulsets")["updateRevision"]
        assert revisions(cluster) == {"web-0": old, "web-1": old, "web-2": update, "web-3": update}
        await cluster.api.delete("pods", "default", "web-1")
        await asyncio.sleep(5)
        assert revisions(cluster)["web-1"] == old
        found = status(cluster, "statefulsets")
        assert (found["currentReplicas"], found["updatedReplicas"]) == (2, 2)
        assert found["currentRevision"] == old


@in_virtual_time
async def test_on_delete_updates_only_pods_that_are_deleted() -> None:
    async with a_cluster() as cluster:
        await up(cluster, 3, updateStrategy={"type": "OnDelete"})
        await new_image(cluster, "statefulsets", "web", "app:2")
        await asyncio.sleep(10)
        assert len(set(revisions(cluster).values())) == 1
        await cluster.api.delete("pods", "default", "web-1")
        await asyncio.sleep(5)
        found = revisions(cluster)
        assert found["web-1"] == status(cluster, "statefulsets")["updateRevision"]
        assert found["web-0"] == found["web-2"] != found["web-1"]


@in_virtual_time
async def test_a_rollback_reuses_the_old_revision() -> None:
    async with a_cluster() as cluster:
        await up(cluster, 1)
        first = revisions(cluster)["web-0"]
        for image in ("app:2", "app:1"):
            await new_image(cluster, "statefulsets", "web", image)
            await asyncio.sleep(5)
        assert revisions(cluster)["web-0"] == first
        found = cluster.store.list("controllerrevisions")
        numbers = {one["metadata"]["name"]: one["revision"] for one in found}
        assert sorted(numbers.values()) == [2, 3]
        assert numbers[first] == 3


@in_virtual_time
async def test_a_terminating_pod_still_counts_as_a_replica() -> None:
    async with a_cluster() as cluster:
        await up(cluster, 2)
        await cluster.api.delete("pods", "default", "web-1")
        await asyncio.sleep(0.5)
        found = status(cluster, "statefulsets")
        assert (found["replicas"], found["currentReplicas"]) == (2, 1)


@in_virtual_time
async def test_an_unready_pod_blocks_its_successors() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=1)
        never = {"embedded.spotalis.io/ready": "never"}
        await cluster.api.create(
            "statefulsets", a_workload("StatefulSet", "web", 3, template=never)
        )
        await asyncio.sleep(60)
        assert names(pods(cluster)) == ["web-0"]
