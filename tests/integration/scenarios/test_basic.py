"""New workloads are split at creation without evictions; everything else is left unchanged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from spotalis.kube.client import PatchType
from tests.support.cluster import Policy, TestCluster, policy
from tests.support.embedded_cluster import EmbeddedTestCluster
from tests.support.scenarios import on_both_beds

POLICIES = [
    pytest.param(3, policy(70, 1), (1, 2), id="3 replicas at 70% with floor 1 split into 1 + 2"),
    pytest.param(10, policy(70), (3, 7), id="10 replicas at 70% split into 3 + 7"),
    pytest.param(
        20, policy(80, 2), (4, 16), id="20 replicas at 80% with floor 2 split into 4 + 16"
    ),
    pytest.param(5, policy(0, 2), (5, 0), id="5 replicas at 0% split into 5 + 0"),
]


@pytest.mark.both
@on_both_beds
@pytest.mark.parametrize(("replicas", "annotations", "split"), POLICIES)
async def test_a_new_deployment_is_split_at_creation_without_evictions(
    cluster: TestCluster, replicas: int, annotations: Policy, split: tuple[int, int]
) -> None:
    await cluster.add_nodes(spot=4, on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("web", replicas, annotations)
        await cluster.wait_for_split("web", *split)
        created = {pod.uid for pod in await cluster.pods("web")}
        await cluster.assert_unchanged("web")
        assert {pod.uid for pod in await cluster.pods("web")} == created
    assert cluster.evictions() == []


@pytest.mark.check
@on_both_beds
async def test_a_new_stateful_set_is_split_at_creation_without_evictions(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=4, on_demand=3)
    async with cluster.operator():
        await cluster.create_stateful_set("db", 20, policy(80, 2))
        await cluster.wait_for_split("db", 4, 16)
        await cluster.assert_unchanged("db")
    assert cluster.evictions() == []


@on_both_beds
async def test_scaling_twice_within_five_seconds_keeps_the_split_without_evictions(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=4, on_demand=3)
    async with cluster.operator():
        await cluster.create_deployment("one", 1, policy(70))
        await cluster.create_deployment("two", 5, policy(70))
        await cluster.wait_for_split("one", 1, 0)
        await cluster.wait_for_split("two", 2, 3)
        await cluster.scale("Deployment", "one", 10)
        await cluster.scale("Deployment", "two", 15)
        await asyncio.sleep(5)
        await cluster.wait_for_split("two", 5, 10)  # unready pods would go first
        await cluster.scale("Deployment", "two", 8)
        await cluster.wait_for_split("one", 3, 7)
        await cluster.wait_for_split("two", 3, 5)
        await cluster.assert_unchanged("two")
    assert cluster.evictions() == []


@on_both_beds
async def test_workloads_and_pods_that_are_not_enabled_are_left_unchanged(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator():
        await cluster.create_deployment("plain", 4)
        await cluster.create_deployment("idle", 4, policy(enabled="false"))
        metadata = {"name": "bare", "labels": {"app": "bare"}}
        await create_pod(cluster, {"metadata": metadata, "spec": {"containers": CONTAINERS}})

        async def all_ready() -> bool:
            return all(
                [
                    len([p for p in await cluster.pods(name) if p.ready]) == count
                    for name, count in (("plain", 4), ("idle", 4), ("bare", 1))
                ]
            )

        await cluster.wait_until(all_ready, "all pods are Ready")
        for name in ("plain", "idle", "bare"):
            for pod in await cluster.pods(name):
                assert (pod.rule, pod.slot) == ("", None)
                assert not [key for key in pod.labels if key.startswith("spotalis.io/")]
    assert cluster.evictions() == []


CONTAINERS = [{"name": "main", "image": "registry.example/main:1"}]


async def create_with_pod(cluster: TestCluster, kind: str, name: str) -> None:
    """Create a Job or a DaemonSet, and its pod, which no controller of the embedded cluster
    creates.
    """
    group = "batch" if kind == "Job" else "apps"
    labels = {"app": name}
    spec: dict[str, Any] = {"containers": CONTAINERS}
    if kind == "Job":
        spec["restartPolicy"] = "Never"
    wanted: dict[str, Any] = {"template": {"metadata": {"labels": labels}, "spec": spec}}
    if kind == "DaemonSet":
        wanted["selector"] = {"matchLabels": labels}
    owner = {"apiVersion": f"{group}/v1", "kind": kind}
    path = f"/apis/{group}/v1/namespaces/{cluster.namespace}/{kind.lower()}s"
    answer = await cluster.api.raw(
        "POST", path, {**owner, "metadata": {"name": name}, "spec": wanted}
    )
    assert answer.status == 201, answer.body
    if isinstance(cluster, EmbeddedTestCluster):
        uid = json.loads(answer.body)["metadata"]["uid"]
        reference = {**owner, "name": name, "uid": uid, "controller": True}
        metadata = {"name": f"{name}-1", "labels": labels, "ownerReferences": [reference]}
        await create_pod(cluster, {"metadata": metadata, "spec": spec})


async def create_pod(cluster: TestCluster, pod: Mapping[str, Any]) -> None:
    answer = await cluster.api.raw("POST", f"/api/v1/namespaces/{cluster.namespace}/pods", pod)
    assert answer.status == 201, answer.body


@on_both_beds
async def test_bare_pods_jobs_and_daemon_sets_in_an_enabled_namespace_are_left_unchanged(
    cluster: TestCluster,
) -> None:
    """The pods run on spot, although the policy of the namespace allows no replica there."""

    opted_in = {
        "labels": {"spotalis.io/enabled": "true"},
        "annotations": {"spotalis.io/spot-percentage": "0"},
    }
    answer = await cluster.api.raw(
        "PATCH",
        f"/api/v1/namespaces/{cluster.namespace}",
        {"metadata": opted_in},
        content_type=PatchType.MERGE.value,
    )
    assert answer.status == 200, answer.body
    await cluster.add_nodes(spot=1)
    async with cluster.operator():
        metadata = {"name": "bare", "labels": {"app": "bare"}}
        await create_pod(cluster, {"metadata": metadata, "spec": {"containers": CONTAINERS}})
        await create_with_pod(cluster, "Job", "once")
        await create_with_pod(cluster, "DaemonSet", "each")
        names = ("bare", "once", "each")
        for name in names:
            await cluster.wait_for_split(name, 0, 1)
        before = {pod.uid for name in names for pod in await cluster.pods(name)}
        # A workload to which the policy applies shows that the operator has read the policy.
        await cluster.create_deployment("web", 2)
        await cluster.add_nodes(on_demand=1)
        await cluster.wait_for_split("web", 2, 0)
        await cluster.assert_unchanged("once")
        now = [pod for name in names for pod in await cluster.pods(name)]
        assert {pod.uid for pod in now} >= before  # the DaemonSet has one more pod on the new node
        assert [key for pod in now for key in pod.labels if "spotalis" in key] == []
    assert cluster.evictions() == []


ROLLOUT = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Rollout",
    "name": "web",
    "uid": "00000000-0000-0000-0000-000000000001",
    "controller": True,
}


@on_both_beds
async def test_a_pod_whose_replica_set_belongs_to_no_deployment_is_admitted_at_once(
    cluster: TestCluster,
) -> None:
    await cluster.add_nodes(spot=1, on_demand=1)
    async with cluster.operator():
        for name, owners in (("bare", []), ("rollout", [ROLLOUT])):
            labels = {"app": name}
            body = {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "metadata": {"name": name, "ownerReferences": owners},
                "spec": {
                    "replicas": 0,
                    "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {"containers": CONTAINERS},
                    },
                },
            }
            path = f"/apis/apps/v1/namespaces/{cluster.namespace}/replicasets"
            created = json.loads((await cluster.api.raw("POST", path, body)).body)
            owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name}
            reference = {**owner, "uid": created["metadata"]["uid"], "controller": True}
            pod = {
                "metadata": {"name": f"{name}-1", "ownerReferences": [reference]},
                "spec": {"containers": CONTAINERS},
            }
            seconds = []
            for _ in range(5):
                began = await cluster.now()
                path = f"/api/v1/namespaces/{cluster.namespace}/pods"
                answer = await cluster.api.raw("POST", path, pod, query=[("dryRun", "All")])
                seconds.append((await cluster.now() - began).total_seconds())
                assert answer.status == 201, answer.body
                assert "spotalis.io" not in answer.body.decode()
            # The wait for an unknown owner takes 0.2 s. The first request may precede the watch.
            assert min(seconds[1:]) < 0.1, seconds


@on_both_beds
async def test_the_webhook_keeps_other_keys_of_the_node_selector(cluster: TestCluster) -> None:
    await cluster.add_nodes(spot=2, on_demand=2)
    async with cluster.operator():
        selector = {"kubernetes.io/os": "linux"}
        await cluster.create_deployment("web", 4, policy(50), node_selector=selector)
        await cluster.wait_for_split("web", 2, 2)
        for pod in await cluster.pods("web"):
            assert ("kubernetes.io/os", "linux") in pod.shape.node_selector
            assert pod.slot is not None
