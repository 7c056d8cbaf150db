"""A dry run of a pod's creation leaves no state behind."""

from __future__ import annotations

import json
from typing import Any

from spotalis.kube.resources import REPLICASETS
from spotalis.model.configuration import POD_DECISION
from tests.support.cluster import TestCluster, policy
from tests.support.embedded_cluster import EmbeddedTestCluster
from tests.support.scenarios import only_embedded


@only_embedded
async def test_two_dry_runs_of_the_next_pod_get_the_same_slot(cluster: TestCluster) -> None:
    assert isinstance(cluster, EmbeddedTestCluster)
    await cluster.add_nodes(spot=4, on_demand=4)
    async with cluster.operator():
        await cluster.create_deployment("web", 4, policy(50, 1))
        await cluster.wait_for_split("web", 2, 2)
        # Two more pods are due, and the stopped controller does not create them.
        await cluster.embedded.stop_controller("replicaset")
        await cluster.scale("Deployment", "web", 6)

        async def scaled() -> bool:
            sets = await cluster.api.list_all(REPLICASETS, cluster.namespace)
            return [one.replicas for one in sets] == [6]

        await cluster.wait_until(scaled, "the ReplicaSet wants 6 replicas")
        first, second = await _decision(cluster), await _decision(cluster)
    assert (first["slot"], first["pending"]) == (4, 0)
    assert {**first, "id": ""} == {**second, "id": ""}


async def _decision(cluster: TestCluster) -> dict[str, Any]:
    (replica_set,) = await cluster.api.list_all(REPLICASETS, cluster.namespace)
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": replica_set.name,
        "uid": replica_set.uid,
        "controller": True,
    }
    pod = {
        "metadata": {"generateName": "web-", "labels": {"app": "web"}, "ownerReferences": [owner]},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    }
    path = f"/api/v1/namespaces/{cluster.namespace}/pods"
    answer = await cluster.api.raw("POST", path, pod, query=(("dryRun", "All"),))
    assert answer.status == 201, answer.body
    found: dict[str, Any] = json.loads(
        json.loads(answer.body)["metadata"]["annotations"][POD_DECISION]
    )
    return found
