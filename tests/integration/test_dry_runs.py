"""A dry run of a pod's creation leaves nothing behind (safety.md D.2, S6)."""

from __future__ import annotations

import json
from typing import Any

from spotalis.kube.resources import REPLICASETS
from spotalis.model.configuration import POD_DECISION
from tests.support.bed import Bed, Wishes
from tests.support.embedded_stage import OnEmbeddedCluster
from tests.support.stage import Play, only_embedded


@only_embedded
def test_two_dry_runs_of_the_next_pod_get_the_same_place(play: Play) -> None:
    async def scenario(bed: Bed) -> None:
        assert isinstance(bed, OnEmbeddedCluster)
        await bed.add_nodes(spot=4, on_demand=4)
        async with bed.operator():
            await bed.deployment("web", 4, Wishes(50, 1))
            await bed.settled("web", 2, 2)
            # Two more pods are wanted, and nobody makes them.
            await bed.cluster.stop_controller("replicaset")
            await bed.scale("Deployment", "web", 6)

            async def scaled() -> bool:
                sets = await bed.api.list_all(REPLICASETS, bed.namespace)
                return [one.replicas for one in sets] == [6]

            await bed.until(scaled, "6 replicas are wanted")
            first, second = await _decision(bed), await _decision(bed)
        assert (first["slot"], first["pending"]) == (4, 0)
        assert {**first, "id": ""} == {**second, "id": ""}

    play(scenario)


async def _decision(bed: Bed) -> dict[str, Any]:
    (made_by,) = await bed.api.list_all(REPLICASETS, bed.namespace)
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": made_by.name,
        "uid": made_by.uid,
        "controller": True,
    }
    pod = {
        "metadata": {"generateName": "web-", "labels": {"app": "web"}, "ownerReferences": [owner]},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    }
    path = f"/api/v1/namespaces/{bed.namespace}/pods"
    answer = await bed.api.raw("POST", path, pod, query=(("dryRun", "All"),))
    assert answer.status == 201, answer.body
    found: dict[str, Any] = json.loads(
        json.loads(answer.body)["metadata"]["annotations"][POD_DECISION]
    )
    return found
