"""Adoption and release of pods by their controllers."""

from __future__ import annotations

from typing import Any

import pytest

from spotalis.embedded.cluster import EmbeddedCluster
from spotalis.embedded.objects.resources import Object
from tests.support.eventually import until
from tests.support.virtual_time import in_virtual_time
from tests.unit.embedded.controllers.builders import a_pod, a_workload
from tests.unit.embedded.controllers.helpers import (
    a_cluster,
    names,
    pods,
    ready,
)


def owners(cluster: EmbeddedCluster, pod: str) -> list[str]:
    found = cluster.store.get("pods", "default", pod)
    assert found is not None
    return [one["uid"] for one in found["metadata"].get("ownerReferences") or ()]


async def relabel(cluster: EmbeddedCluster, pod: str, **labels: str) -> None:
    body = {"metadata": {"labels": labels}}
    patch_type = "application/merge-patch+json"
    await cluster.api.patch("pods", "default", pod, body, patch_type=patch_type)


@in_virtual_time
async def test_an_orphan_that_the_selector_matches_is_adopted_and_counted() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=1)
        await cluster.api.create("pods", a_pod("orphan", labels={"app": "web"}))
        made = await cluster.api.create("replicasets", a_workload("ReplicaSet", "web", 2))
        await until(lambda: len(ready(cluster)) == 2)
        assert "orphan" in names(pods(cluster))
        assert owners(cluster, "orphan") == [made["metadata"]["uid"]]


@in_virtual_time
async def test_a_later_orphan_is_adopted_and_deleted_as_excess() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=1)
        await cluster.api.create("replicasets", a_workload("ReplicaSet", "web", 1))
        await until(lambda: len(ready(cluster)) == 1)
        before = names(pods(cluster))
        await cluster.api.create("pods", a_pod("orphan", labels={"app": "web"}))
        await until(lambda: names(pods(cluster)) == before)


@pytest.mark.parametrize("kind", ["ReplicaSet", "StatefulSet"])
@in_virtual_time
async def test_a_relabelled_pod_is_released_and_replaced(kind: str) -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=1)
        spec: dict[str, Any] = {"serviceName": "web"} if kind == "StatefulSet" else {}
        await cluster.api.create(f"{kind.lower()}s", a_workload(kind, "web", 2, **spec))
        await until(lambda: len(ready(cluster)) == 2)
        gone = names(pods(cluster))[-1]
        await relabel(cluster, gone, app="debug")
        await until(lambda: not owners(cluster, gone))
        assert names(pods(cluster, "debug")) == [gone]
        if kind == "ReplicaSet":  # a StatefulSet waits until the name is free
            await until(lambda: len(ready(cluster)) == 2)


@in_virtual_time
async def test_a_statefulset_adopts_only_pods_with_its_ordinal_names() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=1)
        for name in ("web-0", "web-x", "other-0"):
            await cluster.api.create("pods", a_pod(name, labels={"app": "web"}))
        made = await cluster.api.create(
            "statefulsets", a_workload("StatefulSet", "web", 1, serviceName="web")
        )
        await until(lambda: owners(cluster, "web-0") == [made["metadata"]["uid"]])
        assert owners(cluster, "web-x") == owners(cluster, "other-0") == []


@in_virtual_time
async def test_a_pod_of_another_controller_is_not_adopted() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=1)
        first = await cluster.api.create("replicasets", a_workload("ReplicaSet", "web", 1))
        await until(lambda: len(ready(cluster)) == 1)
        second: Object = a_workload("ReplicaSet", "web", 1)
        second["metadata"]["name"] = "web-too"
        await cluster.api.create("replicasets", second)
        await until(lambda: len(ready(cluster)) == 2)
        assert sum(owners(cluster, name) == [first["metadata"]["uid"]] for name in
                   names(pods(cluster))) == 1  # fmt: skip
