"""A tenant, which can edit one namespace, does not affect the workloads of others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from spotalis.controller.ledgers import LEDGER_PREFIX
from spotalis.embedded.transport import DELIVER, DROP, NetworkFault
from spotalis.kube.client import PatchType
from spotalis.kube.resources import DEPLOYMENTS, LEDGER_LABEL, PODS, REPLICASETS
from spotalis.model.nodes import NodeType
from spotalis.model.objects import PREFIX, Owner
from spotalis.model.transport import Request
from tests.integration.scenarios.test_neighbours import respond
from tests.support import incidents
from tests.support.cluster import CAPACITY_TYPE_LABEL, TestCluster, policy, workload_body
from tests.support.embedded_cluster import EmbeddedTestCluster
from tests.support.eventually import until
from tests.support.incidents import READY_NEVER
from tests.support.large_objects import large_spec
from tests.support.limited_permissions import limit_permissions
from tests.support.recorded_requests import LEDGERS, RecordedRequests
from tests.support.scenarios import on_both_beds, only_embedded

OTHER = "tenant-b"


async def add_tenant(cluster: TestCluster, namespace: str = OTHER) -> None:
    """Create the namespace of another tenant."""
    body = {"metadata": {"name": namespace}}
    answer = await cluster.api.raw("POST", "/api/v1/namespaces", body)
    assert answer.status == 201, answer.body


def naming(uid: str, name: str) -> dict[str, Any]:
    """An owner reference to an object in another namespace.

    The garbage collector deletes objects whose owner does not exist, unless it does not know the
    kind of the owner.
    """
    return {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "name": name,
        "uid": uid,
        "controller": True,
    }


async def owner_of(cluster: TestCluster, name: str) -> Owner:
    """The ReplicaSet of a Deployment."""
    owner = (await cluster.pods(name))[0].owner
    assert owner is not None
    return owner


async def add_pods(cluster: TestCluster) -> None:
    """The tenant creates pods that name the ReplicaSet of the workload."""
    owner = await owner_of(cluster, "web")
    body = workload_body("Deployment", "intruder", 1, {}, {CAPACITY_TYPE_LABEL: "on-demand"})
    for number in range(4):
        metadata = {
            "name": f"intruder-{number}",
            "labels": {"app": "intruder"},
            "ownerReferences": [naming(owner.uid, owner.name)],
        }
        pod = {"metadata": metadata, "spec": body["spec"]["template"]["spec"]}
        answer = await cluster.api.raw("POST", f"/api/v1/namespaces/{OTHER}/pods", pod)
        assert answer.status == 201, answer.body


async def add_replica_set(cluster: TestCluster) -> None:
    """The tenant creates a ReplicaSet that names the workload."""
    workload = await cluster.get_workload("Deployment", "web")
    body = workload_body("Deployment", "intruder", 4, {}, {CAPACITY_TYPE_LABEL: "on-demand"})
    body["kind"] = "ReplicaSet"
    body["metadata"]["ownerReferences"] = [naming(workload.uid, workload.name)]
    await cluster.api.create(REPLICASETS, OTHER, body)


@pytest.mark.both
@on_both_beds
@pytest.mark.parametrize("intrude", [add_pods, add_replica_set])
async def test_pods_of_another_namespace_that_name_the_owner_are_not_counted(
    cluster: TestCluster, intrude: Callable[[TestCluster], Awaitable[None]]
) -> None:
    await add_tenant(cluster)
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(50))
        await cluster.wait_for_split("web", 2, 2)
        await intrude(cluster)

        async def are_ready() -> bool:
            pods = await cluster.pods("intruder", OTHER)
            return len(pods) == 4 and all(pod.ready for pod in pods)

        await cluster.wait_until(are_ready, "the pods of the other tenant are ready")
        await cluster.annotate("Deployment", "web", {"max-moves-in-flight": "2"})
        await cluster.wait_for_status("web", "Balanced")
        await cluster.assert_unchanged("web")
        assert cluster.evictions() == []


@only_embedded
async def test_replicas_whose_constraints_are_not_kept_are_not_moved(cluster: TestCluster) -> None:
    """Other pods of the namespace have used up its share of the operator's memory."""
    # A namespace of its own: the shares last as long as the process, which runs other tests too.
    cluster.namespace = "full"
    await add_tenant(cluster, cluster.namespace)
    await cluster.add_nodes(spot=2, on_demand=2)
    # In the order of the list: what is small finds room that is left by what is large.
    sizes = [700] * 100 + [100] * 10 + [10] * 10 + [1] * 10 + [0] * 10
    for number, values in enumerate(sizes):
        spec = large_spec(number, values=values)
        if not values:
            del spec["affinity"]
            spec["containers"][0]["resources"] = {"requests": {"cpu": f"{number}"}}
        pod = {"metadata": {"name": f"large-{number:03}"}, "spec": spec}
        answer = await cluster.api.raw("POST", f"/api/v1/namespaces/{cluster.namespace}/pods", pod)
        assert answer.status == 201, answer.body
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(0))
        await cluster.wait_for_split("web", 4, 0)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await cluster.wait_for_status("web", "Pinned")
        await cluster.assert_unchanged("web")
    assert cluster.evictions() == []


@on_both_beds
async def test_a_ledger_that_cannot_be_checked_does_not_keep_the_ledgers_of_deleted_workloads(
    cluster: TestCluster, recorded: RecordedRequests
) -> None:
    await add_tenant(cluster)
    await limit_permissions(cluster, recorded, cluster.namespace)
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator(f"--watch-namespaces={cluster.namespace},{OTHER}"):
        workloads = [f"Deployment/{OTHER}/gone"]
        workloads += [f"Deployment/{cluster.namespace}/gone-{number}" for number in range(20)]
        for number, workload in enumerate(workloads):
            intent = {"pod": f"gone-{number}", "name": "x", "target": "spot", "instance": "earlier"}
            record = {"schema": 1, "workload": workload, "intents": [intent]}
            metadata = {"name": f"{LEDGER_PREFIX}{number:02}", "labels": {LEDGER_LABEL: "true"}}
            ledger = {"metadata": metadata, "data": {"ledger": json.dumps(record)}}
            assert (await cluster.api.raw("POST", LEDGERS, ledger)).status == 201
        await cluster.create_deployment("web", 4, policy(50))
        await cluster.wait_for_split("web", 2, 2)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "0"})
        await cluster.wait_for_split("web", 4, 0)  # after a resync

        async def one_is_left() -> bool:
            left = json.loads((await cluster.api.raw("GET", LEDGERS)).body)["items"]
            names = {each["metadata"]["name"] for each in left}
            return [n for n in range(21) if f"{LEDGER_PREFIX}{n:02}" in names] == [0]

        await cluster.wait_until(one_is_left, "the ledgers of the deleted workloads are removed")


async def start_endless_moves(
    cluster: TestCluster, name: str, replicas: int, namespace: str, *, held: int = 0
) -> None:
    """Let all replicas of a workload move at once; their replacements never become ready.

    Args:
        cluster, name, replicas, namespace: of the workload.
        held: the number of replicas that ask not to be disrupted.
    """
    annotations = policy(0, 0, max_moves_in_flight="100%")
    body = workload_body("Deployment", name, replicas, annotations)
    body["spec"]["template"]["metadata"]["annotations"] = dict(READY_NEVER)
    await cluster.api.create(DEPLOYMENTS, namespace, body)

    async def have_nodes() -> bool:
        pods = await cluster.pods(name, namespace)
        return len(pods) == replicas and all(pod.node for pod in pods)

    await cluster.wait_until(have_nodes, f"the pods of {name} have nodes")
    for pod in await cluster.pods(name, namespace):
        await incidents.annotate_pod(cluster, pod, dict.fromkeys(READY_NEVER))

    async def are_ready() -> bool:
        return all(pod.ready for pod in await cluster.pods(name, namespace))

    await cluster.wait_until(are_ready, f"the pods of {name} are ready")
    for pod in (await cluster.pods(name, namespace))[:held]:
        await incidents.annotate_pod(cluster, pod, {"karpenter.sh/do-not-disrupt": "true"})
    change = {"metadata": {"annotations": {f"{PREFIX}spot-percentage": "100"}}}
    await cluster.api.patch(DEPLOYMENTS, namespace, name, change, patch_type=PatchType.MERGE)


async def count_unready(cluster: TestCluster, name: str, namespace: str) -> int:
    """Count the pods of a workload that do not terminate and are not ready."""
    pods = await cluster.pods(name, namespace)
    return sum(not pod.ready and pod.deleting_at is None for pod in pods)


@on_both_beds
async def test_moves_that_never_finish_leave_half_of_the_places_to_other_namespaces(
    cluster: TestCluster,
) -> None:
    await add_tenant(cluster)
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator("--max-moves-in-flight=4"):
        await cluster.create_deployment("web", 4, policy(0, max_moves_in_flight="1"))
        await cluster.wait_for_split("web", 4, 0)
        await start_endless_moves(cluster, "greedy", 8, OTHER)

        async def has_moves() -> bool:
            return await count_unready(cluster, "greedy", OTHER) == 2

        await cluster.wait_until(has_moves, "two replicas of the other tenant have moved")
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await cluster.wait_for_split("web", 2, 2)
        assert await count_unready(cluster, "greedy", OTHER) == 2


@only_embedded
async def test_a_move_holds_its_place_in_the_cluster_for_five_minutes_at_most(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=2, on_demand=2)
    # Only the end of these five minutes wakes the workload up.
    async with cluster.operator("--max-moves-in-flight=2", "--resync=1h"):
        await cluster.create_deployment("web", 4, policy(0, max_moves_in_flight="1"))
        await cluster.wait_for_split("web", 4, 0)
        await start_endless_moves(cluster, "endless", 2, cluster.namespace)
        await until(lambda: len(cluster.evictions()) == 2)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "50"})
        await cluster.wait_for_split("web", 2, 2, within=400)
        times = cluster.eviction_times()
        assert len(times) == 4
        assert 300 <= (times[2] - times[0]).total_seconds() < 301


@only_embedded
async def test_moves_toward_the_minimum_wait_for_no_other_workload(cluster: TestCluster) -> None:
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator("--max-moves-in-flight=2"):
        await cluster.create_deployment("web", 6, policy(100, 0, max_moves_in_flight="6"))
        await cluster.wait_for_split("web", 0, 6)
        await start_endless_moves(cluster, "endless", 2, cluster.namespace)
        await until(lambda: len(cluster.evictions()) == 2)
        # One more would be for the percentage, and that one waits.
        change = {"min-on-demand": "2", "spot-percentage": "50"}
        await cluster.annotate("Deployment", "web", change)
        await cluster.wait_for_split("web", 2, 4, within=20)
        await cluster.wait_for_status("web", "MovesInFlight")
        await cluster.assert_unchanged("web", seconds=60)


@only_embedded
async def test_a_probe_that_does_not_end_keeps_other_namespaces_waiting_5_minutes(
    cluster: TestCluster,
) -> None:
    gates = False

    def gate(review: Mapping[str, Any]) -> dict[str, Any]:
        """Hold all new pods with a scheduling gate: no scheduler says anything about them."""
        op = {"op": "add", "path": "/spec/schedulingGates", "value": [{"name": "example.com/hold"}]}
        return respond(review, [op] if gates else [])

    async def left(name: str, namespace: str, before: set[str]) -> int:
        return len(before - {pod.uid for pod in await cluster.pods(name, namespace)})

    await add_tenant(cluster)
    await cluster.add_nodes(spot=1, on_demand=2)  # Only existing nodes tell what spot is.
    async with cluster.operator(), incidents.injecting(cluster, "z-webhook", gate):
        for name in ("first", "second"):
            await cluster.create_deployment(name, 2, policy(0, 0))
            await cluster.wait_for_split(name, 2, 0)
        await cluster.create_deployment("web", 2, policy(0, 0), namespace=OTHER)

        async def has_started() -> bool:
            pods = await cluster.pods("web", OTHER)
            return len(pods) == 2 and all(pod.ready for pod in pods)

        await cluster.wait_until(has_started, "the workload of the other tenant is ready")
        await incidents.end_provisioning(cluster)
        types = await cluster.node_types()
        await incidents.cordon(cluster, *[n for n in types if types[n] is NodeType.SPOT])
        second = {pod.uid for pod in await cluster.pods("second")}
        web = {pod.uid for pod in await cluster.pods("web", OTHER)}
        gates = True
        await cluster.annotate("Deployment", "first", {"spot-percentage": "100"})
        await until(lambda: len(cluster.evictions()) == 1)
        await cluster.annotate("Deployment", "second", {"spot-percentage": "100"})
        change = {"metadata": {"annotations": {f"{PREFIX}spot-percentage": "100"}}}
        await cluster.api.patch(DEPLOYMENTS, OTHER, "web", change, patch_type=PatchType.MERGE)
        await asyncio.sleep(290)
        assert await left("web", OTHER, web) == 0
        await asyncio.sleep(45)  # a resync
        assert await left("web", OTHER, web) == 1
        await asyncio.sleep(3000)
        assert await left("second", cluster.namespace, second) == 0
        # The probe of "web" has failed, so that the next one is due within an hour.
        waited = 290 + 45 + 3000
        while not await left("second", cluster.namespace, second):
            await asyncio.sleep(60)
            waited += 60
        assert 3600 <= waited < 2 * 3600


@only_embedded
async def test_pods_that_a_tenant_deletes_during_a_relist_stop_only_its_own_moves(
    cluster: TestCluster, recorded: RecordedRequests
) -> None:
    def lose_pods(request: Request) -> NetworkFault:
        return DROP if request.path == PODS.path("") else DELIVER

    assert isinstance(cluster, EmbeddedTestCluster)
    await add_tenant(cluster)
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(50))
        await cluster.create_deployment("bulk", 8, namespace=OTHER)
        await cluster.wait_for_split("web", 2, 2)
        recorded.inject = lose_pods
        for stream in tuple(cluster.transport.streams):
            stream.cut()
        await cluster.api.raw("DELETE", DEPLOYMENTS.path(OTHER, "bulk"))

        async def are_gone() -> bool:
            return not await cluster.pods("bulk", OTHER)

        await cluster.wait_until(are_gone, "the pods of the other tenant are gone")
        cluster.embedded.store.compact()  # The deletions are never announced.
        recorded.inject = lambda request: DELIVER
        await cluster.annotate("Deployment", "web", {"spot-percentage": "0"})
        await cluster.wait_for_split("web", 4, 0)
