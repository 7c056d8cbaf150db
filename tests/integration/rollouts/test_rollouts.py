"""Rollouts of Argo Rollouts: each ReplicaSet is split at creation, and nothing moves in a step."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.audit_log import AuditEvent
from tests.support.cluster import TestCluster, policy
from tests.support.real_cluster import RealTestCluster
from tests.support.rollouts import Rollouts, blue_green, canary, rollouts_beside
from tests.support.scenarios import only_real

NEW_IMAGE = "registry.example/main:2"


def assert_nothing_is_written_to_rollouts(cluster: TestCluster) -> None:
    """Writes of the operator to objects of Argo Rollouts, from the audit log."""
    assert isinstance(cluster, RealTestCluster)
    events = cluster.plane.audit(user=cluster.user)
    reads = {"get", "list", "watch"}
    assert [e for e in events if e.api_group == "argoproj.io" and e.verb not in reads] == []


@only_real
async def test_stable_and_canary_are_split_at_every_pause_without_evictions(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=4, on_demand=3)
    async with rollouts_beside(cluster) as rollouts, cluster.operator():
        await rollouts.create("web", 10, policy(70), canary(20, 50))
        await rollouts.wait_for_splits("web", (3, 7), phase="Healthy")
        await rollouts.set_image("web", NEW_IMAGE)
        await rollouts.wait_for_splits("web", (3, 5), (1, 1), phase="Paused")
        await rollouts.promote("web")
        await rollouts.wait_for_splits("web", (2, 3), (2, 3), phase="Paused")
        await cluster.assert_unchanged("web")
        await rollouts.promote("web")
        await rollouts.wait_for_splits("web", (3, 7), phase="Healthy")
        await cluster.assert_unchanged("web")
        assert_nothing_is_written_to_rollouts(cluster)
    assert cluster.evictions() == []


@pytest.mark.long
@only_real
async def test_an_aborted_canary_returns_to_the_stable_split_without_evictions(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=4, on_demand=3)
    async with rollouts_beside(cluster) as rollouts, cluster.operator():
        await rollouts.create("web", 10, policy(70), canary(50))
        await rollouts.wait_for_splits("web", (3, 7), phase="Healthy")
        await rollouts.set_image("web", NEW_IMAGE)
        await rollouts.wait_for_splits("web", (2, 3), (2, 3), phase="Paused")
        await rollouts.abort("web")
        await rollouts.wait_for_splits("web", (3, 7), phase="Degraded")
        await cluster.wait_for_status("web", "Balanced")
        await rollouts.set_image("web", "registry.example/main:1")  # rollback
        await rollouts.wait_for_splits("web", (3, 7), phase="Healthy")
        await cluster.assert_unchanged("web")
    assert cluster.evictions() == []


@pytest.mark.long
@only_real
async def test_a_preview_is_split_beside_the_active_replica_set(cluster: TestCluster) -> None:
    await cluster.add_nodes(spot=4, on_demand=3)
    async with rollouts_beside(cluster) as rollouts, cluster.operator():
        await rollouts.create("web", 10, policy(70), blue_green())
        await rollouts.wait_for_splits("web", (3, 7), phase="Healthy")
        await rollouts.set_image("web", NEW_IMAGE)
        await rollouts.wait_for_splits("web", (3, 7), (3, 7), phase="Paused")
        await cluster.wait_for_status("web", "Balanced")
        await rollouts.promote("web")
        await rollouts.wait_for_splits("web", (3, 7), phase="Healthy")
        await cluster.assert_unchanged("web")
    assert cluster.evictions() == []


@pytest.mark.long
@only_real
async def test_replicas_of_a_preview_and_of_the_active_replica_set_move_during_a_pause(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=4, on_demand=3)
    async with rollouts_beside(cluster) as rollouts, cluster.operator():
        await rollouts.create("web", 4, policy(0), blue_green())
        await rollouts.wait_for_splits("web", (4, 0), phase="Healthy")
        await rollouts.set_image("web", NEW_IMAGE)
        await rollouts.wait_for_splits("web", (4, 0), (4, 0), phase="Paused")
        await rollouts.annotate("web", policy(50))
        await rollouts.wait_for_splits("web", (2, 2), (2, 2), phase="Paused")
        await cluster.wait_for_status("web", "Balanced")
    assert len(cluster.evictions()) == 4


@pytest.mark.long
@only_real
async def test_a_changed_policy_moves_replicas_of_each_replica_set_during_a_pause(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=4, on_demand=3)
    async with rollouts_beside(cluster) as rollouts, cluster.operator():
        await rollouts.create("web", 10, policy(0), canary(20))
        await rollouts.wait_for_splits("web", (10, 0), phase="Healthy")
        await rollouts.set_image("web", NEW_IMAGE)
        await rollouts.wait_for_splits("web", (8, 0), (2, 0), phase="Paused")
        await rollouts.annotate("web", policy(50))
        await wait_for_unordered_splits(cluster, rollouts, {(4, 4), (1, 1)})
        await cluster.wait_for_status("web", "Balanced")
        assert len(cluster.evictions()) == 5
        assert_nothing_is_written_to_rollouts(cluster)


@pytest.mark.long
@only_real
async def test_no_replica_moves_during_a_short_pause(cluster: TestCluster) -> None:
    await cluster.add_nodes(spot=4, on_demand=3)
    async with rollouts_beside(cluster) as rollouts, cluster.operator():
        await rollouts.create("web", 10, policy(0), canary(20, pause={"duration": "20s"}))
        await rollouts.wait_for_splits("web", (10, 0), phase="Healthy")
        await rollouts.set_image("web", NEW_IMAGE)
        await rollouts.annotate("web", policy(50))
        async with asyncio.timeout(120):
            while await rollouts.phase("web") != "Healthy":
                if await rollouts.phase("web") == "Paused":
                    assert cluster.evictions() == []
                await asyncio.sleep(0.2)
        await rollouts.wait_for_splits("web", (5, 5), phase="Healthy")


@pytest.mark.long
@only_real
async def test_scaling_and_adoption_follow_the_policy(cluster: TestCluster) -> None:
    await cluster.add_nodes(spot=4, on_demand=3)
    async with rollouts_beside(cluster) as rollouts, cluster.operator():
        await rollouts.create("web", 6, policy(70), canary())
        await rollouts.wait_for_splits("web", (2, 4), phase="Healthy")
        for replicas, split in ((2, (1, 1)), (12, (4, 8))):
            await rollouts.scale("web", replicas)
            await rollouts.wait_for_splits("web", split, phase="Healthy")
        assert cluster.evictions() == []
        await rollouts.annotate("web", policy(0))
        await rollouts.wait_for_splits("web", (12, 0), phase="Healthy")
        assert len(cluster.evictions()) == 8


@pytest.mark.long
@only_real
async def test_a_rollout_can_use_the_pod_template_of_a_deployment(cluster: TestCluster) -> None:
    await cluster.add_nodes(spot=4, on_demand=3)
    async with rollouts_beside(cluster) as rollouts, cluster.operator():
        await cluster.create_deployment("web", 0)
        reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
        await rollouts.create(
            "web", 10, policy(70), canary(), workloadRef=reference, template=None, selector=None
        )
        await rollouts.wait_for_splits("web", (3, 7), phase="Healthy")
        await cluster.assert_unchanged("web")
    assert cluster.evictions() == []


@pytest.mark.parametrize(
    ("readable", "result"),
    [
        pytest.param(True, "not-managed", id="that did not opt in"),
        pytest.param(False, "no-workload", id="that Spotalis may not read"),
    ],
)
@only_real
async def test_pods_of_a_rollout_are_admitted_without_a_request_to_the_api_server(
    cluster: TestCluster, readable: bool, result: str
) -> None:
    """Requests are counted from the second pod on: then the ReplicaSet is in the cache."""
    assert isinstance(cluster, RealTestCluster)
    await cluster.add_nodes(spot=1, on_demand=1)
    cluster.expects_denials = not readable
    async with rollouts_beside(cluster, readable=readable) as rollouts, cluster.operator():
        await rollouts.create("web", 1)
        await wait_until_healthy(cluster, rollouts, 1)
        reads, decided = len(reads_of_owners(cluster)), len(decisions(cluster))
        await rollouts.scale("web", 21)
        await wait_until_healthy(cluster, rollouts, 21)
        assert decisions(cluster)[decided:] == [result] * 20
        assert len(reads_of_owners(cluster)) == reads


def decisions(cluster: RealTestCluster) -> list[str]:
    """The results of the webhook, from the audit annotations."""
    created = cluster.plane.audit(verb="create", kind="pods")
    key = "pods.spotalis.io/decision"
    return [event.annotations[key] for event in created if key in event.annotations]


def reads_of_owners(cluster: RealTestCluster) -> list[AuditEvent]:
    """The operator's requests for single ReplicaSets, Deployments and Rollouts."""
    owners = {"replicasets", "deployments", "rollouts"}
    read = cluster.plane.audit(user=cluster.user, verb="get")
    return [event for event in read if event.kind in owners and event.name]


async def wait_until_healthy(cluster: TestCluster, rollouts: Rollouts, replicas: int) -> None:
    """Wait until the Rollout has these replicas, all Ready."""

    async def is_reached() -> bool:
        ready = [pod for pod in await cluster.pods("web") if pod.ready]
        return len(ready) == replicas and await rollouts.phase("web") == "Healthy"

    await cluster.wait_until(is_reached, f"web has {replicas} Ready replicas")


async def wait_for_unordered_splits(
    cluster: TestCluster, rollouts: Rollouts, splits: set[tuple[int, int]]
) -> None:
    """Wait until the ReplicaSets are split like this; moved pods change their order."""

    async def is_reached() -> bool:
        found = await rollouts.splits("web")
        return len(found) == len(splits) and set(found) == splits

    await cluster.wait_until(is_reached, f"web is {splits}")
