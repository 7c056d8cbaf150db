"""ReplicaSets in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from spotalis.embedded.controllers.replicaset import slow_start
from spotalis.embedded.objects.conditions import condition
from spotalis.embedded.objects.resources import Object
from spotalis.embedded.server.errors import ApiError
from tests.support.eventually import until
from tests.support.virtual_time import in_virtual_time
from tests.unit.embedded.controllers.builders import a_workload
from tests.unit.embedded.controllers.helpers import (
    a_cluster,
    change,
    living,
    names,
    pods,
    ready,
    status,
)


@pytest.mark.parametrize(
    ("count", "fails_from", "calls"),
    [(7, 99, 7), (10, 99, 10), (10, 0, 1), (10, 1, 3), (10, 5, 7), (0, 0, 0)],
)
@in_virtual_time
async def test_slow_start_doubles_its_batches_and_stops_after_a_failed_one(
    count: int, fails_from: int, calls: int
) -> None:
    created: list[int] = []

    async def create() -> ApiError | None:
        created.append(len(created))
        return REFUSED if created[-1] >= fails_from else None

    assert await slow_start(count, create) is (REFUSED if fails_from < count else None)
    assert len(created) == calls


REFUSED = ApiError(403, "Forbidden", "exceeded quota")


@in_virtual_time
async def test_frequent_scaling_never_creates_more_pods_than_desired() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=3, cpu="64")
        await cluster.api.create("deployments", a_workload("Deployment", "web", 1))
        highest = 0

        def observe(change: str, new: Object, old: Object | None) -> None:
            nonlocal highest
            highest = max(highest, len(living(cluster)))

        cluster.store.subscribe("pods", observe)
        for replicas in (20, 3, 17, 20, 0, 8):
            await change(cluster, "deployments", "web", replicas=replicas)
            await asyncio.sleep(0.3)
        await until(lambda: len(ready(cluster)) == 8)
        assert highest == 20
        assert len(living(cluster)) == 8


@in_virtual_time
async def test_scaling_down_deletes_pods_with_the_lowest_deletion_cost() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=2, cpu="64")
        await cluster.api.create("deployments", a_workload("Deployment", "web", 6))
        await until(lambda: len(ready(cluster)) == 6)
        keep = pods(cluster)[2:4]
        for pod in keep:
            metadata = {
                **pod["metadata"],
                "annotations": {"controller.kubernetes.io/pod-deletion-cost": "100"},
            }
            await cluster.api.update("pods", {**pod, "metadata": metadata})
        await change(cluster, "deployments", "web", replicas=2)
        await until(lambda: len(pods(cluster)) == 2)
        assert names(pods(cluster)) == names(keep)


@in_virtual_time
async def test_a_failed_pod_is_replaced_but_not_deleted() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=1)
        await cluster.api.create("deployments", a_workload("Deployment", "web", 2))
        await until(lambda: len(ready(cluster)) == 2)
        name = names(pods(cluster))[0]
        cluster.api.set_status(
            "pods", "default", name, lambda pod: pod["status"].update(phase="Failed")
        )
        await until(lambda: len(pods(cluster)) == 3)
        (replicaset,) = cluster.store.list("replicasets")
        assert status(cluster, "replicasets", replicaset["metadata"]["name"])["replicas"] == 2


@in_virtual_time
async def test_a_failed_pod_creation_is_reported_in_the_status_and_retried() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=1)
        refusing = True
        create = cluster.api.create

        async def sometimes(plural: str, obj: Object, **rest: object) -> Object:
            if plural == "pods" and refusing:
                raise REFUSED
            return await create(plural, obj, **rest)  # type: ignore[arg-type]

        cluster.api.create = sometimes  # type: ignore[method-assign]
        await cluster.api.create("deployments", a_workload("Deployment", "web", 2))
        await asyncio.sleep(1)
        (replicaset,) = cluster.store.list("replicasets")
        failure = condition(replicaset, "ReplicaFailure")
        assert failure is not None
        assert (failure["reason"], failure["message"]) == ("FailedCreate", "exceeded quota")
        deployment = cluster.store.get("deployments", "default", "web")
        assert deployment is not None
        assert condition(deployment, "ReplicaFailure") is not None
        refusing = False
        await until(lambda: len(ready(cluster)) == 2)
        deployment = cluster.store.get("deployments", "default", "web")
        assert deployment is not None
        assert condition(deployment, "ReplicaFailure") is None
