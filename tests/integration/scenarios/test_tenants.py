"""A tenant, which can edit one namespace, does not affect the workloads of others."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from spotalis.controller.ledgers import LEDGER_PREFIX
from spotalis.embedded.transport import DELIVER, NetworkFault
from spotalis.kube.resources import LEDGER_LABEL, REPLICASETS
from spotalis.model.objects import Owner
from spotalis.model.transport import Request, Response
from tests.support.cluster import CAPACITY_TYPE_LABEL, TestCluster, policy, workload_body
from tests.support.embedded_cluster import EmbeddedTestCluster
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
async def test_a_ledger_that_cannot_be_checked_does_not_keep_the_ledgers_of_deleted_workloads(
    cluster: TestCluster, recorded: RecordedRequests
) -> None:
    def deny(request: Request) -> NetworkFault:
        """The account of the operator may not read the Deployments of one namespace."""
        if request.method == "GET" and f"/{OTHER}/deployments" in request.path:
            return NetworkFault(response=Response(status=403, body=b'{"kind":"Status"}'))
        return DELIVER

    assert isinstance(cluster, EmbeddedTestCluster)
    recorded.inject = deny
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator():
        workloads = [f"Deployment/{OTHER}/gone"]
        workloads += [f"Deployment/default/gone-{number}" for number in range(20)]
        for number, workload in enumerate(workloads):
            intent = {"pod": f"gone-{number}", "name": "x", "target": "spot", "instance": "earlier"}
            record = {"schema": 1, "workload": workload, "intents": [intent]}
            metadata = {"name": f"{LEDGER_PREFIX}{number:02}", "labels": {LEDGER_LABEL: "true"}}
            ledger = {"metadata": metadata, "data": {"ledger": json.dumps(record)}}
            assert (await cluster.api.raw("POST", LEDGERS, ledger)).status == 201
        await cluster.create_deployment("web", 4, policy(50))
        await cluster.wait_for_split("web", 2, 2)
        await cluster.annotate("Deployment", "web", {"spot-percentage": "0"})
        await cluster.wait_for_split("web", 4, 0, within=45)  # a resync, then two moves
        left = json.loads((await cluster.api.raw("GET", LEDGERS)).body)["items"]
        names = [each["metadata"]["name"] for each in left]
        assert [name for name in names if LEDGER_PREFIX in name] == [f"{LEDGER_PREFIX}00"]
