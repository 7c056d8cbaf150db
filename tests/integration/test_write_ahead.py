"""Requests of the operator around each eviction: ledger, list, eviction.

On the embedded cluster, where a test can record, delay and lose every request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from spotalis.controller.ledgers import LEDGER_PREFIX
from spotalis.embedded.transport import DELIVER, DROP, NetworkFault
from spotalis.kube.client import PatchType
from spotalis.kube.resources import LEDGER_LABEL
from spotalis.model.nodes import NodeType
from spotalis.model.transport import Request
from tests.support.cluster import TestCluster, policy
from tests.support.embedded_cluster import EmbeddedTestCluster
from tests.support.recorded_requests import (
    BLOCKED_BY_BUDGET,
    LEDGERS,
    RecordedRequests,
    is_eviction,
    is_quorum_list,
)
from tests.support.scenarios import only_embedded


@only_embedded
async def test_each_eviction_is_written_to_the_ledger_before_the_pods_are_listed_and_it_is_sent(
    cluster: TestCluster, recorded: RecordedRequests
) -> None:
    await cluster.add_nodes(spot=4, on_demand=4)
    async with cluster.operator():
        await cluster.create_deployment("web", 6, policy(0, 1, max_moves_in_flight="2"))
        await cluster.wait_for_split("web", 6, 0)
        ledger = LEDGER_PREFIX + (await cluster.get_workload("Deployment", "web")).uid
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await cluster.wait_for_split("web", 3, 3)
    assert len(recorded.evictions()) == 3
    for place, preconditions in recorded.evictions():
        written, name, _ = recorded.intent(preconditions["uid"], place)
        assert name == ledger
        assert any(is_quorum_list(request) for request in recorded.requests[written:place])


@only_embedded
async def test_an_eviction_without_an_answer_stays_in_the_ledger_until_it_is_answered(
    cluster: TestCluster, recorded: RecordedRequests
) -> None:
    def lose_the_first(request: Request) -> NetworkFault:
        return DROP if is_eviction(request) and len(recorded.evictions()) == 1 else DELIVER

    await cluster.add_nodes(spot=4, on_demand=4)
    async with cluster.operator():
        await cluster.create_deployment("web", 6, policy(0, 1))
        await cluster.wait_for_split("web", 6, 0)
        recorded.inject = lose_the_first
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await cluster.wait_for_split("web", 3, 3, within=120)
    (_, first), (again, second), *_ = recorded.evictions()
    assert first == second
    assert recorded.intent(second["uid"], again)[2]["attempts"] == 2


@only_embedded
async def test_no_eviction_is_sent_if_the_list_of_pods_took_six_seconds(
    cluster: TestCluster, recorded: RecordedRequests
) -> None:
    def delay_lists(request: Request) -> NetworkFault:
        return NetworkFault(delay_seconds=6) if is_quorum_list(request) else DELIVER

    await cluster.add_nodes(spot=4, on_demand=4)
    async with cluster.operator():
        await cluster.create_deployment("web", 6, policy(0, 1))
        await cluster.wait_for_split("web", 6, 0)
        recorded.inject = delay_lists
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await asyncio.sleep(60)
        assert any(is_quorum_list(request) for request in recorded.requests)
        assert recorded.evictions() == []
        recorded.inject = lambda request: DELIVER
        await cluster.wait_for_split("web", 3, 3, within=120)


@only_embedded
async def test_no_eviction_is_sent_while_the_ledger_has_an_unknown_schema(
    cluster: TestCluster, recorded: RecordedRequests
) -> None:
    await cluster.add_nodes(spot=4, on_demand=4)
    async with cluster.operator():
        await cluster.create_deployment("web", 6, policy(0, 1))
        await cluster.wait_for_split("web", 6, 0)
        name = LEDGER_PREFIX + (await cluster.get_workload("Deployment", "web")).uid
        ledger = {
            "metadata": {"name": name, "labels": {LEDGER_LABEL: "true"}},
            "data": {"ledger": '{"schema":99}'},
        }
        assert (await cluster.api.raw("POST", LEDGERS, ledger)).status == 201
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await asyncio.sleep(60)
        assert recorded.evictions() == []
        await cluster.api.raw("DELETE", f"{LEDGERS}/{name}")
        await cluster.wait_for_split("web", 3, 3, within=120)


async def _becomes_unready(cluster: TestCluster, name: str) -> None:
    """The embedded kubelet reacts at once."""
    body = {"metadata": {"annotations": {"embedded.spotalis.io/ready": "never"}}}
    path = f"/api/v1/namespaces/default/pods/{name}"
    answer = await cluster.api.raw("PATCH", path, body, content_type=PatchType.MERGE.value)
    assert answer.status == 200


async def _terminates(cluster: TestCluster, name: str) -> None:
    await cluster.api.raw("DELETE", f"/api/v1/namespaces/default/pods/{name}")


@only_embedded
@pytest.mark.parametrize("lose", [_becomes_unready, _terminates], ids=["unready", "terminating"])
async def test_replicas_lost_between_plan_and_list_count_against_the_floor(
    cluster: TestCluster, recorded: RecordedRequests, lose: Callable[[TestCluster, str], Any]
) -> None:
    lost: list[asyncio.Task[None]] = []

    async def lose_two() -> None:
        for pod in await cluster.pods("web"):
            try:
                recorded.intent(pod.uid, len(recorded.requests))
            except AssertionError:
                await lose(cluster, pod.name)

    def meanwhile(request: Request) -> NetworkFault:
        if not is_quorum_list(request) or lost:
            return DELIVER
        lost.append(asyncio.create_task(lose_two()))
        return NetworkFault(delay_seconds=0.5)

    await cluster.add_nodes(spot=4, on_demand=4)
    async with cluster.operator():
        # Enough moves in flight that only the floor holds the last replica.
        await cluster.create_deployment("web", 3, policy(0, 2, max_moves_in_flight="3"))
        await cluster.wait_for_split("web", 3, 0)
        recorded.inject = meanwhile
        await cluster.annotate("Deployment", "web", {"spot-percentage": "34"})
        while not lost:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.7)
        assert lost[0].done()
        assert recorded.evictions() == []


@only_embedded
async def test_a_pod_that_falls_back_is_evicted_only_at_the_resource_version_that_was_seen(
    cluster: TestCluster, recorded: RecordedRequests
) -> None:
    await cluster.add_nodes(spot=4, on_demand=4)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(50, 1, spot_fallback="6s"))
        await cluster.wait_for_split("web", 2, 2)
        for node, found in (await cluster.node_types()).items():
            if found is NodeType.SPOT:
                await cluster.reclaim(node)
        await cluster.wait_for_split("web", 4, 0, within=60)
    # Later evictions are probes of Ready pods. They name the UID only.
    falling = recorded.evictions()[:2]
    assert ["resourceVersion" in asked for _, asked in falling] == [True, True]


@only_embedded
@pytest.mark.parametrize(
    ("operator", "owner"),
    [
        pytest.param(True, "false", id="only the operator allows it"),
        pytest.param(False, "true", id="only the owner allows it"),
    ],
)
async def test_no_pod_is_deleted_unless_operator_and_owner_both_allow_it(
    cluster: TestCluster, recorded: RecordedRequests, operator: bool, owner: str
) -> None:
    assert isinstance(cluster, EmbeddedTestCluster)
    cluster.settings["pdb_override"] = operator
    await cluster.add_nodes(spot=4, on_demand=4)
    async with cluster.operator():
        await cluster.create_deployment("web", 6, policy(0, 1, pdb_override=owner))
        await cluster.wait_for_split("web", 6, 0)
        recorded.inject = lambda request: (
            NetworkFault(response=BLOCKED_BY_BUDGET) if is_eviction(request) else DELIVER
        )
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await asyncio.sleep(30)
    assert len(recorded.evictions()) > 1
    assert ("delete", "pods") not in cluster.writes()
