"""What an instance knows and keeps before it leads, and after it has led.

On the embedded cluster, where a test can cut single watches of one instance.
"""

from __future__ import annotations

import asyncio
import gc

from spotalis.controller.ledgers import LEDGER_PREFIX
from spotalis.controller.result import ReconcileResult
from spotalis.embedded.transport import DELIVER, DROP, NetworkFault
from spotalis.kube.resources import DEPLOYMENTS, PODS
from spotalis.model.configuration import POD_CAPACITY_TYPE
from spotalis.model.nodes import NodeType
from spotalis.model.transport import Request
from tests.support import incidents
from tests.support.cluster import TestCluster, policy
from tests.support.embedded_cluster import EmbeddedOperatorInstance, EmbeddedTestCluster
from tests.support.eventually import until
from tests.support.recorded_requests import LEDGERS, is_eviction
from tests.support.scenarios import only_embedded

ALL_DEPLOYMENTS = DEPLOYMENTS.path("")
HELD_SECONDS = 300.0


def hide_deployments(instance: EmbeddedOperatorInstance) -> None:
    """Keep all later changes of Deployments from the cache of an instance."""
    for stream in instance.transport.streams:
        if stream.request.path == ALL_DEPLOYMENTS:
            stream.silence()
    instance.transport.on_request = lambda request: (
        DROP if request.path == ALL_DEPLOYMENTS else DELIVER
    )


@only_embedded
async def test_a_new_leader_that_does_not_know_a_workload_yet_keeps_its_ledger(
    cluster: TestCluster,
) -> None:
    held: list[str] = []

    def hold_evictions(request: Request) -> NetworkFault:
        if not is_eviction(request):
            return DELIVER
        held.append(request.path.split("/")[-2])
        return NetworkFault(delay_seconds=HELD_SECONDS)

    assert isinstance(cluster, EmbeddedTestCluster)
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operators(2) as operators:
        leader = await operators.leader()
        [other] = operators.standbys(leader)
        assert isinstance(leader, EmbeddedOperatorInstance)
        assert isinstance(other, EmbeddedOperatorInstance)
        hide_deployments(other)
        await cluster.create_deployment("web", 3, policy(0, 2, max_moves_in_flight="3"))
        await cluster.wait_for_split("web", 3, 0)
        ledger = LEDGER_PREFIX + (await cluster.get_workload("Deployment", "web")).uid
        leader.transport.on_request = hold_evictions
        await cluster.annotate("Deployment", "web", {"spot-percentage": "34"})
        await until(lambda: held)
        await leader.kill()
        # Without the ledger, another replica would move.
        (pod,) = [pod for pod in await cluster.pods("web") if pod.name == held[0]]
        await incidents.annotate_pod(cluster, pod, {"karpenter.sh/do-not-disrupt": "true"})
        async with cluster.track_minimum_ready("web", NodeType.ON_DEMAND) as minimum:
            await operators.leader(other_than=leader)
            await asyncio.sleep(65)  # two resyncs
            assert (await cluster.api.raw("GET", f"{LEDGERS}/{ledger}")).status == 200
            other.transport.on_request = lambda request: DELIVER
            await cluster.wait_for_split("web", 2, 1)
            await asyncio.sleep(HELD_SECONDS)  # the held eviction arrives
            assert minimum() == 2
        assert cluster.evictions() == held


@only_embedded
async def test_a_leader_without_a_list_of_pods_leaves_the_decision_to_the_instance_that_asks(
    cluster: TestCluster,
) -> None:
    assert isinstance(cluster, EmbeddedTestCluster)
    await cluster.add_nodes(spot=2, on_demand=2)
    blind = await cluster.start_instance(
        "blind_0", lambda request: DROP if request.path == PODS.path("") else DELIVER
    )
    try:
        await until(lambda: blind.operator.elector.leads)
        async with cluster.operators(1) as operators:
            await cluster.create_deployment("web", 4, policy(50))
            await cluster.wait_for_split("web", 2, 2)
            placed = [pod.labels.get(POD_CAPACITY_TYPE) for pod in await cluster.pods("web")]
            assert sorted(map(str, placed)) == ["on-demand", "on-demand", "spot", "spot"]
            assert (await operators.forward_results())["rejected"] == 1
            assert blind.operator.elector.leads
    finally:
        await blind.kill()


@only_embedded
async def test_an_instance_that_lost_the_lead_keeps_nothing_of_workloads_deleted_since(
    cluster: TestCluster,
) -> None:
    assert isinstance(cluster, EmbeddedTestCluster)
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operators(2) as operators:
        leader = await operators.leader()
        assert isinstance(leader, EmbeddedOperatorInstance)
        for number in range(3):
            await cluster.create_deployment(f"gone-{number}", 2, policy(50))
            await cluster.wait_for_split(f"gone-{number}", 1, 1)
            await cluster.wait_for_status(f"gone-{number}", "Balanced")
        leader.transport.on_request = lambda request: DROP
        await operators.leader(other_than=leader)
        leader.transport.on_request = lambda request: DELIVER
        for number in range(3):
            path = DEPLOYMENTS.path(cluster.namespace, f"gone-{number}")
            await cluster.api.raw("DELETE", path)
        await asyncio.sleep(60)
        gc.collect()
        kept = [each.key for each in gc.get_objects() if isinstance(each, ReconcileResult)]
        assert [key.name for key in kept if key.name.startswith("gone")] == []


@only_embedded
async def test_a_reconcile_that_ends_after_the_lead_was_lost_leaves_no_result(
    cluster: TestCluster,
) -> None:
    assert isinstance(cluster, EmbeddedTestCluster)
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operators(2) as operators:
        leader = await operators.leader()
        assert isinstance(leader, EmbeddedOperatorInstance)
        await cluster.create_deployment("web", 4, policy(0))
        await cluster.wait_for_split("web", 4, 0)
        held: list[Request] = []

        def hold_evictions(request: Request) -> NetworkFault:
            if not is_eviction(request):
                return DELIVER
            held.append(request)
            return NetworkFault(delay_seconds=5)

        leader.transport.on_request = hold_evictions
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await until(lambda: held)
        await incidents.take_the_lease(cluster)
        await asyncio.sleep(8)
        assert not leader.operator.elector.leads
        assert dict(leader.operator.results) == {}
