"""`watchNamespaces`: an operator that reads only some namespaces.

tests/delivery/test_install.py shows on a real API server that such an operator sends no request
that its permissions forbid.
"""

from __future__ import annotations

import asyncio
import json

import pytest

from spotalis.controller.ledgers import LEDGER_PREFIX
from spotalis.embedded.transport import DELIVER, NetworkFault
from spotalis.kube.client import PatchType
from spotalis.kube.resources import DEPLOYMENTS, LEDGER_LABEL
from spotalis.model.controller_configuration import NamespaceFilter
from spotalis.model.nodes import NodeType
from spotalis.model.objects import PREFIX
from spotalis.model.transport import Request
from tests.support import incidents
from tests.support.cluster import TestCluster, policy
from tests.support.embedded_cluster import EmbeddedTestCluster
from tests.support.limited_permissions import DENIED, limit_permissions
from tests.support.recorded_requests import RecordedRequests
from tests.support.scenarios import on_both_beds, only_embedded

HOME = "/api/v1/namespaces/spotalis-system/configmaps"


async def _watch_default_namespace(cluster: TestCluster) -> EmbeddedTestCluster:
    """There is a namespace ``data``; a watched namespace does not exist yet."""
    assert isinstance(cluster, EmbeddedTestCluster)
    cluster.settings["namespaces"] = NamespaceFilter(watched=frozenset({"default", "to-come"}))
    answer = await cluster.api.raw("POST", "/api/v1/namespaces", {"metadata": {"name": "data"}})
    assert answer.status == 201
    return cluster


def _requested_namespaces(cluster: EmbeddedTestCluster) -> set[str]:
    return {entry.namespace for entry in cluster.embedded.audit.find(user="spotalis")}


async def condition_message(cluster: TestCluster, name: str) -> str:
    document = await cluster.get_object("Deployment", name)
    conditions = document["status"].get("conditions", ())
    return next((str(c["message"]) for c in conditions if c["type"] == "spotalis.io/Balanced"), "")


@pytest.mark.check
@only_embedded
async def test_an_operator_limited_to_namespaces_reads_and_changes_no_other_namespace(
    cluster: TestCluster,
) -> None:
    cluster = await _watch_default_namespace(cluster)
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(50))
        await cluster.create_deployment("web", 4, policy(100), namespace="data")
        await cluster.wait_for_split("web", 2, 2)
        before = {pod.uid for pod in await cluster.pods("web", "data")}
        types = await cluster.node_types()
        assert "on-demand" in {types[pod.node] for pod in await cluster.pods("web", "data")}
        await cluster.assert_unchanged("web", seconds=95)  # three resyncs
        elsewhere = await cluster.pods("web", "data")
        assert {pod.uid for pod in elsewhere} == before
        assert [key for pod in elsewhere for key in pod.labels if "spotalis" in key] == []
    assert _requested_namespaces(cluster) == {"", "default", "to-come", "spotalis-system"}


@only_embedded
async def test_one_replica_probes_spot_if_only_empty_spot_nodes_are_visible(
    cluster: TestCluster,
) -> None:
    await _watch_default_namespace(cluster)
    await cluster.add_nodes(on_demand=2)
    async with cluster.operator():
        await cluster.create_deployment("web", 6, policy(0, 0, max_moves_in_flight="4"))
        await cluster.wait_for_split("web", 6, 0)
        await cluster.add_nodes(spot=2)
        await incidents.end_provisioning(cluster)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "100"})

        async def moves() -> bool:
            return bool(cluster.evictions())

        await cluster.wait_until(moves, "a replica is evicted")
        await asyncio.sleep(0.5)  # less than a replacement takes to become Ready
        assert len(cluster.evictions()) == 1
        await cluster.wait_for_split("web", 0, 6)
        assert len(cluster.evictions()) == 6


@only_embedded
async def test_no_replica_probes_spot_if_it_could_not_return(cluster: TestCluster) -> None:
    await _watch_default_namespace(cluster)
    await cluster.add_nodes(on_demand=2)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(0, 0, spot_fallback="never"))
        await cluster.wait_for_split("web", 4, 0)
        await cluster.add_nodes(spot=2)
        await incidents.end_provisioning(cluster)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await cluster.assert_unchanged("web", seconds=95)
        assert "not known with watchNamespaces" in await condition_message(cluster, "web")


@only_embedded
async def test_open_moves_in_a_namespace_that_is_no_longer_watched_do_not_block_others(
    cluster: TestCluster,
) -> None:
    cluster = await _watch_default_namespace(cluster)
    cluster.settings["max_moves_in_flight"] = 1
    await cluster.add_nodes(spot=2, on_demand=2)
    await cluster.create_deployment("web", 2, policy(50), namespace="data")
    left = await cluster.api.get(DEPLOYMENTS, "data", "web")
    assert left is not None
    name = LEDGER_PREFIX + left.uid
    intent = {"pod": "gone", "name": "web-1", "target": "spot", "instance": "earlier"}
    record = {"schema": 1, "workload": "Deployment/data/web", "intents": [intent]}
    async with cluster.operator():
        ledger = {
            "metadata": {"name": name, "labels": {LEDGER_LABEL: "true"}},
            "data": {"ledger": json.dumps(record)},
        }
        assert (await cluster.api.raw("POST", HOME, ledger)).status == 201
        await cluster.create_deployment("web", 4, policy(50))
        await cluster.wait_for_split("web", 2, 2)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "0"})
        await cluster.wait_for_split("web", 4, 0, within=45)  # resync, then two moves
        assert (await cluster.api.raw("GET", f"{HOME}/{name}")).status == 404
    assert "data" not in _requested_namespaces(cluster)


async def _are_on(node_type: NodeType, cluster: TestCluster, name: str, namespace: str) -> bool:
    types = await cluster.node_types()
    pods = await cluster.pods(name, namespace)
    ready = [types[pod.node] for pod in pods if pod.ready and pod.deleting_at is None]
    return len(pods) == 4 and ready == [node_type] * 4


@pytest.mark.both
@on_both_beds
async def test_a_namespace_that_the_operator_may_not_read_stops_only_its_own_workloads(
    cluster: TestCluster, recorded: RecordedRequests
) -> None:
    await cluster.api.raw("POST", "/api/v1/namespaces", {"metadata": {"name": "data"}})
    await limit_permissions(cluster, recorded, "default")
    await cluster.add_nodes(spot=2, on_demand=2)
    flags = ("--watch-namespaces=data,default", "--resync=1h")
    async with asyncio.timeout(600), cluster.operator(*flags):  # It becomes ready.
        await cluster.create_deployment("web", 4, policy(50))
        await cluster.wait_for_split("web", 2, 2)
        assert cluster.evictions() == []
        await cluster.annotate("Deployment", "web", {"spot-percentage": "0"})
        await cluster.wait_for_split("web", 4, 0)
        assert len(cluster.evictions()) == 2
        await cluster.create_deployment("db", 4, policy(100, 0), namespace="data")

        async def have_nodes() -> bool:
            pods = await cluster.pods("db", "data")
            return len(pods) == 4 and all(pod.ready for pod in pods)

        await cluster.wait_until(have_nodes, "the pods in the other namespace are ready")
        labels = [key for pod in await cluster.pods("db", "data") for key in pod.labels]
        assert not any("spotalis" in key for key in labels)
        await limit_permissions(cluster, recorded, "default", "data")
        await cluster.wait_until(
            lambda: _are_on(NodeType.SPOT, cluster, "db", "data"), "the replicas in data have moved"
        )


@only_embedded
async def test_a_namespace_whose_permissions_are_withdrawn_stops_only_its_own_workloads(
    cluster: TestCluster, recorded: RecordedRequests
) -> None:
    assert isinstance(cluster, EmbeddedTestCluster)
    await cluster.api.raw("POST", "/api/v1/namespaces", {"metadata": {"name": "data"}})
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator("--watch-namespaces=data,default"):
        await cluster.create_deployment("web", 4, policy(50))
        await cluster.create_deployment("db", 4, policy(0, 0), namespace="data")
        await cluster.wait_for_split("web", 2, 2)
        await limit_permissions(cluster, recorded, "default")
        for stream in tuple(cluster.transport.streams):
            if "/namespaces/data/" in stream.request.path:
                stream.cut()
        await asyncio.sleep(75)
        db = {pod.uid for pod in await cluster.pods("db", "data")}
        change = {"metadata": {"annotations": {f"{PREFIX}spot-percentage": "100"}}}
        await cluster.api.patch(DEPLOYMENTS, "data", "db", change, patch_type=PatchType.MERGE)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "0"})
        await cluster.wait_for_split("web", 4, 0)
        await asyncio.sleep(60)
        assert {pod.uid for pod in await cluster.pods("db", "data")} == db


@only_embedded
async def test_without_the_list_of_budgets_pods_are_placed_and_moved_only_when_it_arrives(
    cluster: TestCluster, recorded: RecordedRequests
) -> None:
    def deny(request: Request) -> NetworkFault:
        is_denied = request.path.endswith("/namespaces/data/poddisruptionbudgets")
        return NetworkFault(response=DENIED) if is_denied else DELIVER

    recorded.inject = deny
    await cluster.api.raw("POST", "/api/v1/namespaces", {"metadata": {"name": "data"}})
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator("--watch-namespaces=data,default", "--resync=1h"):
        await cluster.create_deployment("db", 4, policy(100, 0), namespace="data")
        await cluster.wait_until(
            lambda: _are_on(NodeType.SPOT, cluster, "db", "data"), "the replicas are placed on spot"
        )
        db = {pod.uid for pod in await cluster.pods("db", "data")}
        change = {"metadata": {"annotations": {f"{PREFIX}spot-percentage": "0"}}}
        await cluster.api.patch(DEPLOYMENTS, "data", "db", change, patch_type=PatchType.MERGE)
        await asyncio.sleep(60)
        assert {pod.uid for pod in await cluster.pods("db", "data")} == db
        recorded.inject = lambda request: DELIVER
        await cluster.wait_until(
            lambda: _are_on(NodeType.ON_DEMAND, cluster, "db", "data"), "the replicas have moved"
        )
