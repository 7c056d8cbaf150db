"""The status of PodDisruptionBudgets, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from spotalis.embedded.cluster import EmbeddedCluster
from spotalis.embedded.objects.conditions import condition
from spotalis.embedded.objects.resources import Object
from tests.support import manifests
from tests.support.eventually import until
from tests.support.virtual_time import in_virtual_time
from tests.unit.embedded.controllers.builders import a_budget, a_workload
from tests.unit.embedded.controllers.helpers import (
    a_cluster,
    change,
    names,
    pods,
    ready,
    status,
)


async def up(cluster: EmbeddedCluster, replicas: int, **rule: Any) -> None:
    """Create a Deployment with a budget."""
    await cluster.fleet.add(spot=2, cpu="64")
    await cluster.api.create("poddisruptionbudgets", a_budget("b", "web", **rule))
    await cluster.api.create("deployments", a_workload("Deployment", "web", replicas))
    await until(lambda: len(ready(cluster)) == replicas)
    await asyncio.sleep(0.1)


def numbers(cluster: EmbeddedCluster) -> tuple[int, int, int, int]:
    """Allowed, healthy, desired, expected."""
    found = status(cluster, "poddisruptionbudgets", "b")
    return (
        found["disruptionsAllowed"],
        found["currentHealthy"],
        found["desiredHealthy"],
        found["expectedPods"],
    )


def disruption_allowed(cluster: EmbeddedCluster) -> tuple[str, str]:
    budget = cluster.store.get("poddisruptionbudgets", "default", "b")
    assert budget is not None
    found = condition(budget, "DisruptionAllowed")
    assert found is not None
    return found["status"], found["reason"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"minAvailable": 5}, (2, 7, 5, 7)),
        ({"minAvailable": "50%"}, (3, 7, 4, 7)),
        ({"maxUnavailable": 1}, (1, 7, 6, 7)),
        ({"maxUnavailable": "20%"}, (2, 7, 5, 7)),
        ({"minAvailable": 7}, (0, 7, 7, 7)),
    ],
    ids=str,
)
@in_virtual_time
async def test_a_budget_over_seven_pods(
    rule: dict[str, int | str], expected: tuple[int, int, int, int]
) -> None:
    async with a_cluster() as cluster:
        await up(cluster, 7, **rule)
        assert numbers(cluster) == expected
        allowed = ("True", "SufficientPods") if expected[0] else ("False", "InsufficientPods")
        assert disruption_allowed(cluster) == allowed


@in_virtual_time
async def test_percentages_are_of_the_deployment_size_not_of_the_existing_pods() -> None:
    async with a_cluster() as cluster:
        await up(cluster, 4, maxUnavailable="50%")
        await cluster.fleet.cordon("spot-1")
        await cluster.fleet.cordon("spot-2")
        await change(cluster, "deployments", "web", replicas=8)
        await asyncio.sleep(1)
        assert numbers(cluster) == (0, 4, 4, 8)


@in_virtual_time
async def test_a_terminating_pod_is_not_healthy_and_its_replacement_is_once_ready() -> None:
    async with a_cluster() as cluster:
        await up(cluster, 3, minAvailable=2)
        await cluster.api.delete("pods", "default", names(pods(cluster))[0])
        await asyncio.sleep(0.5)
        assert numbers(cluster)[:2] == (0, 2)
        await asyncio.sleep(1)
        assert numbers(cluster)[:2] == (1, 3)


@in_virtual_time
async def test_an_evicted_pod_that_does_not_terminate_counts_again_after_two_minutes() -> None:
    async with a_cluster() as cluster:
        await up(cluster, 3, minAvailable=2)
        name = names(pods(cluster))[0]

        def decrement(budget: Object) -> None:
            budget["status"]["disruptionsAllowed"] = 0
            budget["status"]["disruptedPods"] = {name: f"{cluster.now():%Y-%m-%dT%H:%M:%SZ}"}

        cluster.api.set_status("poddisruptionbudgets", "default", "b", decrement)
        await asyncio.sleep(118)
        assert numbers(cluster)[:2] == (0, 2)
        assert status(cluster, "poddisruptionbudgets", "b")["disruptedPods"].keys() == {name}
        await asyncio.sleep(4)
        assert numbers(cluster)[:2] == (1, 3)
        assert "disruptedPods" not in status(cluster, "poddisruptionbudgets", "b")


@in_virtual_time
async def test_pods_with_an_unknown_controller_fail_the_sync() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=1)
        await cluster.api.create("poddisruptionbudgets", a_budget("b", "job", maxUnavailable=1))
        owner = {"apiVersion": "x/v1", "kind": "Thing", "name": "t", "uid": "t", "controller": True}
        metadata = {"namespace": "default", "labels": {"app": "job"}, "ownerReferences": [owner]}
        await cluster.api.create("pods", manifests.pod("job", metadata=metadata))
        await asyncio.sleep(2)
        assert status(cluster, "poddisruptionbudgets", "b")["disruptionsAllowed"] == 0
        assert disruption_allowed(cluster) == ("False", "SyncFailed")


@in_virtual_time
async def test_a_new_selector_counts_other_pods() -> None:
    async with a_cluster() as cluster:
        await up(cluster, 3, minAvailable=1)
        await cluster.api.create("deployments", a_workload("Deployment", "other", 5))
        await until(lambda: len(ready(cluster, "other")) == 5)
        await change(
            cluster, "poddisruptionbudgets", "b", selector={"matchLabels": {"app": "other"}}
        )
        await asyncio.sleep(0.1)
        assert numbers(cluster) == (4, 5, 1, 5)
