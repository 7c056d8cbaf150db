"""The embedded cluster as a whole, in virtual time."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.eventually import until
from tests.support.virtual_time import in_virtual_time
from tests.unit.embedded.controllers.builders import a_budget, a_workload
from tests.unit.embedded.controllers.helpers import (
    a_cluster,
    living,
    names,
    nodes_of,
    now,
    pods,
    ready,
    status,
)

ROOT = Path(__file__).parents[3]


@in_virtual_time
async def test_a_deployment_is_ready_one_second_after_its_creation() -> None:
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
async def test_pods_of_a_reclaimed_node_are_replaced_on_other_nodes() -> None:
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
async def test_a_node_with_a_notice_keeps_its_pods_and_gets_no_new_ones() -> None:
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
async def test_pods_of_a_silent_node_are_not_ready_and_are_replaced_after_five_minutes() -> None:
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
        assert len(pods(cluster)) == 6, (
            "two pods terminate on the silent node until its kubelet is back"
        )
        cluster.fleet.mark_ready("spot-1")
        await asyncio.sleep(2)
        assert len(pods(cluster)) == 4


@in_virtual_time
async def test_a_node_that_becomes_ready_in_time_keeps_its_pods() -> None:
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
async def test_deleting_a_deployment_deletes_its_replicasets_and_pods() -> None:
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


_PLACEMENT = """
import asyncio, random
from spotalis.embedded.cluster import EmbeddedCluster
from spotalis.embedded.objects.pods import node_of
from spotalis.embedded.virtual_time import run
from tests.unit.embedded.controllers.builders import a_workload

async def main(clock):
    async with EmbeddedCluster(clock=clock, rng=random.Random(3)) as cluster:
        await cluster.fleet.add(spot=3, on_demand=3)
        await cluster.api.create("deployments", a_workload("Deployment", "web", 7))
        await asyncio.sleep(5)
        await cluster.fleet.reclaim("spot-1")
        await asyncio.sleep(5)
        for pod in cluster.store.list("pods"):
            print(pod["metadata"]["name"], pod["metadata"]["resourceVersion"], node_of(pod))

run(main)
"""


def test_a_seed_determines_the_run_whatever_the_hash_seed() -> None:
    """The iteration order of sets depends on the hash seed, which must not matter."""

    def placement(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}  # noqa: TID251  # of a child
        return subprocess.run(
            [sys.executable, "-c", _PLACEMENT],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    first = placement("1")
    assert len(first.splitlines()) == 7
    assert placement("2") == first


@in_virtual_time
async def test_a_restarted_controller_catches_up() -> None:
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
async def test_an_exception_in_a_controller_cancels_the_block() -> None:
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
async def test_stop_raises_the_exception_of_a_controller() -> None:
    pod = a_workload("Deployment", "web", 1, template={"embedded.spotalis.io/ready": "soon"})
    cluster = a_cluster()
    await cluster.start()
    await cluster.fleet.add(spot=1)
    await cluster.api.create("deployments", pod)
    await asyncio.sleep(5)
    with pytest.raises(ExceptionGroup):
        await cluster.stop()
