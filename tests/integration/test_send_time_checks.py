"""What the operator checks at the moment when it sends an eviction.

The first of several evictions is held in the network. Something happens meanwhile that forbids the
others, although they were planned. On the embedded cluster, where a test can hold a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from spotalis.controller.ledgers import LEDGER_PREFIX
from spotalis.embedded.transport import DELIVER, NetworkFault
from spotalis.kube.client import PatchType
from spotalis.kube.resources import STATEFULSETS
from spotalis.model.nodes import NodeType
from spotalis.model.transport import Request
from tests.support import incidents
from tests.support.cluster import TestCluster, policy
from tests.support.embedded_cluster import EmbeddedTestCluster
from tests.support.eventually import until
from tests.support.recorded_requests import RecordedRequests, is_eviction, is_pod_deletion
from tests.support.scenarios import only_embedded

HELD_SECONDS = 3.0

Step = Callable[[TestCluster], Awaitable[None]]


def hold_the_first_eviction(recorded: RecordedRequests) -> None:
    """Deliver the first eviction from now on ``HELD_SECONDS`` late."""
    before = len(recorded.evictions())

    def hold(request: Request) -> NetworkFault:
        is_first = is_eviction(request) and len(recorded.evictions()) == before + 1
        return NetworkFault(delay_seconds=HELD_SECONDS) if is_first else DELIVER

    recorded.inject = hold


def destructive_requests(recorded: RecordedRequests) -> list[str]:
    """The evictions and deletions of pods so far."""
    return [
        f"{request.method} {request.path}"
        for request in recorded.requests
        if is_eviction(request) or is_pod_deletion(request)
    ]


async def plan_moves(cluster: TestCluster) -> None:
    """Three replicas are to move at once."""
    await cluster.create_deployment("web", 6, policy(0, 0, max_moves_in_flight="3"))
    await cluster.wait_for_split("web", 6, 0)
    await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})


async def plan_fallbacks(cluster: TestCluster) -> None:
    """Two replicas lose their spot nodes and are to fall back at once."""
    await cluster.create_deployment("web", 4, policy(50, 1, spot_fallback="6s"))
    await cluster.wait_for_split("web", 2, 2)
    types = await cluster.node_types()
    await cluster.reclaim(*[node for node, found in types.items() if found is NodeType.SPOT])


async def plan_early_evictions(cluster: TestCluster) -> None:
    """The node of three spot replicas is to be reclaimed."""
    await cluster.create_deployment("web", 6, policy(50, 1))
    await cluster.wait_for_split("web", 3, 3)
    types = await cluster.node_types()
    (spot,) = [node for node, found in types.items() if found is NodeType.SPOT]
    await incidents.warn(cluster, spot, incidents.SPOT_ITN)


async def plan_deletion(cluster: TestCluster) -> None:
    """A replica is to move whose eviction a budget blocks, and which may be deleted instead."""
    await cluster.create_deployment("web", 6, policy(0, 0, pdb_override="true"))
    await cluster.create_budget("web", "web", maxUnavailable=0)
    await cluster.wait_for_split("web", 6, 0)
    await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})


async def pause(cluster: TestCluster) -> None:
    """The owner pauses the workload."""
    await cluster.annotate("Deployment", "web", {"paused-until": "forever"})


@only_embedded
@pytest.mark.parametrize("interrupt", [pause, incidents.take_the_lease])
@pytest.mark.parametrize("plan", [plan_moves, plan_fallbacks, plan_early_evictions, plan_deletion])
async def test_after_a_pause_or_a_lost_lease_no_planned_eviction_or_deletion_is_sent(
    cluster: TestCluster, recorded: RecordedRequests, plan: Step, interrupt: Step
) -> None:
    assert isinstance(cluster, EmbeddedTestCluster)
    cluster.settings |= {"evict_early": True, "pdb_override": True}
    await cluster.add_nodes(spot=1, on_demand=2)
    async with cluster.operator():
        hold_the_first_eviction(recorded)
        await plan(cluster)
        await until(recorded.evictions)
        await interrupt(cluster)
        await asyncio.sleep(HELD_SECONDS + 5)
        assert len(destructive_requests(recorded)) == 1


@only_embedded
async def test_a_workload_that_was_recreated_with_the_same_pods_has_its_own_ledger_before_evictions(
    cluster: TestCluster, recorded: RecordedRequests
) -> None:
    assert isinstance(cluster, EmbeddedTestCluster)
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator():
        await cluster.create_stateful_set("db", 6, policy(0, 0, max_moves_in_flight="3"))
        await cluster.wait_for_split("db", 6, 0)
        pods = {pod.uid for pod in await cluster.pods("db")}
        hold_the_first_eviction(recorded)
        await cluster.annotate("StatefulSet", "db", {"spot-percentage": "50"})
        await until(recorded.evictions)
        document = await cluster.get_object("StatefulSet", "db")
        # What a deletion with --cascade=orphan does.
        await cluster.embedded.stop_controller("statefulset")
        for pod in await cluster.pods("db"):
            path = f"/api/v1/namespaces/{cluster.namespace}/pods/{pod.name}"
            change = {"metadata": {"ownerReferences": None}}
            merge = PatchType.MERGE.value
            await cluster.api.raw("PATCH", path, change, content_type=merge)
        await cluster.api.raw("DELETE", STATEFULSETS.path(cluster.namespace, "db"))
        metadata = {key: document["metadata"][key] for key in ("name", "annotations")}
        body = {**document, "metadata": metadata, "status": {}}
        await cluster.api.create(STATEFULSETS, cluster.namespace, body)
        await cluster.embedded.start_controller("statefulset")
        assert {pod.uid for pod in await cluster.pods("db")} == pods
        await cluster.wait_for_split("db", 3, 3)
        new = LEDGER_PREFIX + (await cluster.get_workload("StatefulSet", "db")).uid
        later = recorded.evictions()[1:]
        assert later
        assert {recorded.intent(asked["uid"], place)[1] for place, asked in later} == {new}
