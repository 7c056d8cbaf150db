"""The cluster as a whole, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from spotalis.embedded.objects.pods import node_of
from tests.unit.embedded.controllers.builders import a_budget, a_workload
from tests.unit.embedded.controllers.helpers import (
    a_cluster,
    in_virtual_time,
    living,
    names,
    nodes_of,
    now,
    pods,
    ready,
    status,
    until,
)


@in_virtual_time
async def test_a_deployment_comes_up_a_second_after_it_is_made() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=2, on_demand=1)
        await cluster.api.create("deployments", a_workload("Deployment", "web", 6))
        await asyncio.sleep(0.9)
        assert len(pods(cluster)) == 6
        assert ready(cluster) == []
        await asyncio.sleep(0.2)
        assert len(ready(cluster)) == 6
        assert nodes_of(cluster) == ["on-demand-1"] * 2 + ["spot-1"] * 2 + ["spot-2"] * 2
        found = status(cluster, "deployments")
        assert (found["replicas"], found["readyReplicas"], found["availableReplicas"]) == (6, 6, 6)


@in_virtual_time
async def test_a_node_that_is_taken_takes_its_pods_and_they_come_back_elsewhere() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=3)
        await cluster.api.create("deployments", a_workload("Deployment", "web", 9))
        await until(lambda: len(ready(cluster)) == 9)
        before = set(names(pods(cluster)))
        await cluster.fleet.reclaim("spot-2")
        await asyncio.sleep(0.1)
        assert len(set(names(pods(cluster))) & before) == 6
        assert await until(lambda: len(ready(cluster)) == 9) < 1.2
        assert set(nodes_of(cluster)) == {"spot-1", "spot-3"}


@in_virtual_time
async def test_a_warned_node_takes_no_new_pods_and_keeps_the_ones_it_has() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=2)
        await cluster.api.create("deployments", a_workload("Deployment", "web", 4))
        await until(lambda: len(ready(cluster)) == 4)
        await cluster.fleet.announce_reclaim("spot-1")
        await cluster.api.create("deployments", a_workload("Deployment", "late", 4))
        await until(lambda: len(ready(cluster, "late")) == 4)
        assert nodes_of(cluster) == ["spot-1"] * 2 + ["spot-2"] * 2
        assert nodes_of(cluster, "late") == ["spot-2"] * 4
        await cluster.fleet.withdraw_notice("spot-1")
        await cluster.api.create("deployments", a_workload("Deployment", "later", 4))
        await until(lambda: len(ready(cluster, "later")) == 4)
        assert nodes_of(cluster, "later") == ["spot-1"] * 2 + ["spot-2"] * 2


@in_virtual_time
async def test_pods_of_a_silent_node_are_not_ready_and_leave_after_five_minutes() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=2)
        await cluster.api.create("deployments", a_workload("Deployment", "web", 4))
        await until(lambda: len(ready(cluster)) == 4)
        cluster.fleet.mark_not_ready("spot-1")
        await asyncio.sleep(1)
        assert len(ready(cluster)) == 2
        await asyncio.sleep(298)
        assert len(living(cluster)) == 4
        await asyncio.sleep(3)
        assert nodes_of(cluster) == ["spot-2"] * 4
        assert len(pods(cluster)) == 6, "nobody confirms the end of the two on the silent node"
        cluster.fleet.mark_ready("spot-1")
        await asyncio.sleep(2)
        assert len(pods(cluster)) == 4


@in_virtual_time
async def test_a_node_that_falls_silent_and_speaks_again_keeps_its_pods() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=1)
        await cluster.api.create("deployments", a_workload("Deployment", "web", 2))
        await until(lambda: len(ready(cluster)) == 2)
        before = names(pods(cluster))
        cluster.fleet.mark_not_ready("spot-1")
        await asyncio.sleep(100)
        cluster.fleet.mark_ready("spot-1")
        await asyncio.sleep(400)
        assert names(ready(cluster)) == before
        node = cluster.store.get("nodes", "", "spot-1")
        assert node is not None
        assert node["spec"].get("taints", []) == []


@in_virtual_time
async def test_deleting_a_deployment_takes_everything_of_it() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=1)
        await cluster.api.create("deployments", a_workload("Deployment", "web", 3))
        await until(lambda: len(ready(cluster)) == 3)
        await cluster.api.delete("deployments", "default", "web")
        await asyncio.sleep(0.5)
        assert cluster.store.list("replicasets") == []
        assert living(cluster) == []
        await asyncio.sleep(1)
        assert pods(cluster) == []


@in_virtual_time
async def test_the_same_seed_tells_the_same_story() -> None:
    async def run(seed: int) -> list[str]:
        async with a_cluster(seed) as cluster:
            await cluster.fleet.add(spot=3, on_demand=3)
            await cluster.api.create("deployments", a_workload("Deployment", "web", 7))
            await asyncio.sleep(5)
            await cluster.fleet.reclaim("spot-1")
            await asyncio.sleep(5)
            return [node_of(pod) for pod in cluster.store.list("pods")]

    assert await run(3) == await run(3)


@in_virtual_time
async def test_a_stopped_controller_does_nothing_and_a_started_one_catches_up() -> None:
    async with a_cluster() as cluster:
        await cluster.fleet.add(spot=1)
        await cluster.stop_controller("disruption")
        await cluster.api.create("deployments", a_workload("Deployment", "web", 3))
        await cluster.api.create("poddisruptionbudgets", a_budget("b", "web", minAvailable=2))
        await until(lambda: len(ready(cluster)) == 3)
        assert status(cluster, "poddisruptionbudgets", "b").get("disruptionsAllowed", 0) == 0
        await cluster.start_controller("disruption")
        await asyncio.sleep(0.1)
        assert status(cluster, "poddisruptionbudgets", "b")["disruptionsAllowed"] == 1


@in_virtual_time
async def test_a_bug_in_a_controller_ends_the_block_and_is_raised_from_it() -> None:
    pod = a_workload("Deployment", "web", 1, template={"embedded.spotalis.io/ready": "soon"})

    async def endless() -> None:
        async with a_cluster() as cluster:
            await cluster.fleet.add(spot=1)
            await cluster.api.create("deployments", pod)
            await asyncio.sleep(1000)

    with pytest.raises(ExceptionGroup) as raised:
        await endless()
    assert raised.group_contains(ValueError)
    assert now() < 2


@in_virtual_time
async def test_stop_raises_what_a_controller_failed_with() -> None:
    pod = a_workload("Deployment", "web", 1, template={"embedded.spotalis.io/ready": "soon"})
    cluster = a_cluster()
    await cluster.start()
    await cluster.fleet.add(spot=1)
    await cluster.api.create("deployments", pod)
    await asyncio.sleep(5)
    with pytest.raises(ExceptionGroup):
        await cluster.stop()
