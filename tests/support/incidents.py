"""Changes that providers, autoscalers, drains and owners make to a cluster during a scenario.

All of them use the API server, so that they work on both test beds.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from spotalis.kube.client import PatchType
from spotalis.kube.resources import DEPLOYMENTS, LEASES, STATEFULSETS
from spotalis.model.objects import Pod
from tests.support.cluster import PATIENCE_SECONDS, Answer, TestCluster, workload_body
from tests.support.operator_replicas import HOME

READY_NEVER: Mapping[str, str] = {
    "testbed.spotalis.io/health": "never-ready",
    "embedded.spotalis.io/ready": "never",
}
"""Annotations of a pod that never becomes Ready, for kwok and for the embedded kubelet."""

KARPENTER = {"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}
"""On a node that is not being deleted: Karpenter removes it by its own decision."""
SPOT_ITN = {
    "key": "aws-node-termination-handler/spot-itn",
    "value": "spot-itn-1",
    "effect": "NoSchedule",
}
REBALANCE = {
    "key": "aws-node-termination-handler/rebalance-recommendation",
    "value": "rebalance-1",
    "effect": "NoSchedule",
}
AKS_PREEMPT = {
    "type": "VMEventScheduled",
    "status": "True",
    "reason": "VMEventScheduled",
    "message": "Preempt Scheduled: Thu, 01 Jan 2026 00:10:00 GMT",
}
TOLERATES_ALL: Mapping[str, Any] = {"tolerations": [{"operator": "Exists"}]}

_RESOURCES = {"Deployment": DEPLOYMENTS, "StatefulSet": STATEFULSETS}


async def warn(cluster: TestCluster, node: str, notice: Mapping[str, str]) -> None:
    """Announce that a node is reclaimed, by a taint (``key``) or a condition (``type``)."""
    if "key" in notice:
        await _change_node(cluster, node, "", "taints", "key", [notice])
    else:
        await _change_node(cluster, node, "/status", "conditions", "type", [notice])


async def interrupt(cluster: TestCluster, node: str) -> None:
    """Let Karpenter learn that the provider reclaims a node: it deletes the node, then taints it.

    A finalizer holds the node until :func:`end_interruption`.
    """
    path = f"/api/v1/nodes/{node}"
    await _merge(cluster, path, {"metadata": {"finalizers": ["karpenter.sh/termination"]}})
    await cluster.api.raw("DELETE", path)
    await warn(cluster, node, KARPENTER)


async def end_interruption(cluster: TestCluster, node: str) -> None:
    """Remove the finalizer of a node, and thereby the node."""
    await _merge(cluster, f"/api/v1/nodes/{node}", {"metadata": {"finalizers": None}})


async def withdraw(cluster: TestCluster, node: str, notice: Mapping[str, str]) -> None:
    """Withdraw an interruption notice."""
    if "key" in notice:
        await _change_node(cluster, node, "", "taints", "key", [], without=notice["key"])
    else:
        calm = {**notice, "status": "False", "reason": "NoVMEventScheduled", "message": ""}
        await _change_node(cluster, node, "/status", "conditions", "type", [calm])


async def end_provisioning(cluster: TestCluster) -> None:
    """Remove the label by which nodes show that Karpenter provisions nodes for pending pods."""
    for node in await cluster.node_types():
        body = {"metadata": {"labels": {"karpenter.sh/nodepool": None}}}
        await _merge(cluster, f"/api/v1/nodes/{node}", body)


async def label(cluster: TestCluster, node: str, labels: Mapping[str, str | None]) -> None:
    """Set labels of a node. None removes a label."""
    await _merge(cluster, f"/api/v1/nodes/{node}", {"metadata": {"labels": dict(labels)}})


async def offer_devices(cluster: TestCluster, node: str, **devices: str) -> None:
    """Let a device plugin of a node register: ``offer_devices(cluster, node, gpu="4")``."""
    resources = {f"nvidia.com/{name}": count for name, count in devices.items()}
    status = {"status": {"allocatable": resources, "capacity": resources}}
    await _merge(cluster, f"/api/v1/nodes/{node}/status", status)


async def cordon(cluster: TestCluster, *nodes: str, cordoned: bool = True) -> None:
    """Cordon nodes, or uncordon them."""
    for node in nodes:
        body = {"spec": {"unschedulable": True if cordoned else None}}
        await _merge(cluster, f"/api/v1/nodes/{node}", body)


async def _change_node(
    cluster: TestCluster,
    node: str,
    subresource: str,
    field: str,
    name: str,
    entries: Sequence[Mapping[str, str]],
    *,
    without: str = "",
) -> None:
    """Replace entries of a list in a node, by name. Retries on conflicts."""
    section = "status" if subresource else "spec"
    path = f"/api/v1/nodes/{node}"
    while True:
        found = json.loads((await cluster.api.raw("GET", path)).body)
        dropped = {entry[name] for entry in entries} | {without}
        kept = [e for e in found[section].get(field) or [] if e[name] not in dropped]
        body = {
            "metadata": {"resourceVersion": found["metadata"]["resourceVersion"]},
            section: {field: [*kept, *entries]},
        }
        answer = await cluster.api.raw(
            "PATCH", path + subresource, body, content_type=PatchType.MERGE.value
        )
        if answer.status != 409:
            assert answer.status == 200, answer.body
            return


async def change(cluster: TestCluster, kind: str, name: str, spec: Mapping[str, Any]) -> None:
    """Change ``spec`` of a workload with a merge patch."""
    await _merge(cluster, _RESOURCES[kind].path(cluster.namespace, name), {"spec": spec})


async def roll_out(
    cluster: TestCluster,
    kind: str,
    name: str,
    image: str,
    annotations: Mapping[str, str | None] | None = None,
) -> None:
    """Set a new image, and annotations of the pod template. None removes an annotation."""
    container = {
        "name": "main",
        "image": image,
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
    }
    template: dict[str, Any] = {"spec": {"containers": [container]}}
    if annotations is not None:
        template["metadata"] = {"annotations": dict(annotations)}
    await change(cluster, kind, name, {"template": template})


async def scale_as_an_autoscaler(cluster: TestCluster, kind: str, name: str, replicas: int) -> None:
    """Scale by the scale subresource, as the controller of the HorizontalPodAutoscaler does."""
    path = _RESOURCES[kind].path(cluster.namespace, name) + "/scale"
    while True:
        scale = json.loads((await cluster.api.raw("GET", path)).body)
        scale["spec"]["replicas"] = replicas
        answer = await cluster.api.raw("PUT", path, scale)
        if answer.status != 409:  # an autoscaler retries on conflicts, too
            break
    assert answer.status == 200, answer.body


async def evict(cluster: TestCluster, pod: Pod) -> int:
    """Evict a pod as a drain does. Return the HTTP status: 429 if a budget blocks it."""
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"namespace": pod.namespace, "name": pod.name},
        "deleteOptions": {"preconditions": {"uid": pod.uid}},
    }
    path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/eviction"
    return (await cluster.api.raw("POST", path, body)).status


@asynccontextmanager
async def injecting(cluster: TestCluster, name: str, answer: Answer) -> AsyncIterator[None]:
    """Register another mutating webhook for pods during the block.

    Waits until the API server calls it, and at the end until it does no longer.
    """
    asked = 0

    def counted(review: Mapping[str, Any]) -> Mapping[str, Any]:
        nonlocal asked
        asked += 1
        return answer(review)

    async with cluster.mutating_webhook(counted) as client_config:
        hook = {
            "name": "inject.example.com",
            "admissionReviewVersions": ["v1"],
            "clientConfig": client_config,
            "failurePolicy": "Fail",
            "reinvocationPolicy": "IfNeeded",
            "sideEffects": "None",
            "namespaceSelector": {
                "matchLabels": {"kubernetes.io/metadata.name": cluster.namespace}
            },
            "rules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE"],
                    "resources": ["pods"],
                }
            ],
        }
        configuration = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [hook],
        }
        path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
        answered = await cluster.api.raw("POST", path, configuration)
        assert answered.status == 201, answered.body
        probe = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "probe"},
            "spec": workload_body("Deployment", "probe", 1)["spec"]["template"]["spec"],
        }

        async def heeded() -> bool:
            before = asked
            pods = f"/api/v1/namespaces/{cluster.namespace}/pods"
            answered = await cluster.api.raw("POST", pods, probe, query=[("dryRun", "All")])
            assert answered.status == 201, answered.body
            return asked > before

        async def ignored() -> bool:
            return not await heeded()

        await cluster.wait_until(heeded, f"the API server calls {name}")
        yield
        answered = await cluster.api.raw("DELETE", f"{path}/{name}")
        assert answered.status == 200, answered.body
        await cluster.wait_until(ignored, f"the API server calls {name} no longer")


async def take_the_lease(cluster: TestCluster) -> None:
    """Another process holds the Lease from now on."""
    lease = await cluster.api.get(LEASES, HOME, "spotalis")
    assert lease is not None
    body = {
        "metadata": {"name": "spotalis", "resourceVersion": lease.resource_version},
        "spec": {"holderIdentity": "another", "leaseDurationSeconds": 15},
    }
    await cluster.api.replace(LEASES, HOME, "spotalis", body)


async def annotate_pod(
    cluster: TestCluster, pod: Pod, annotations: Mapping[str, str | None]
) -> None:
    """Set annotations of a running pod. None removes an annotation."""
    path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
    await _merge(cluster, path, {"metadata": {"annotations": dict(annotations)}})


async def rolled_out(
    cluster: TestCluster, kind: str, name: str, *, within: float = 2 * PATIENCE_SECONDS
) -> None:
    """Wait until the workload's status reports a complete rollout, by the rule of kubectl."""

    async def done() -> bool:
        seen = await cluster.get_object(kind, name)
        status, wanted = seen["status"], seen["spec"]["replicas"]
        if status.get("observedGeneration", 0) < seen["metadata"]["generation"]:
            return False
        counts = {status.get(key, 0) for key in ("updatedReplicas", "availableReplicas")}
        return counts == {wanted} and status.get("replicas", 0) == wanted

    await cluster.wait_until(done, f"{name} is rolled out", within=within)


async def events(cluster: TestCluster, name: str) -> list[str]:
    """Return the reasons of the events that Spotalis wrote about a workload, in any order."""
    return [str(event["reason"]) for event in await _events(cluster, name)]


async def notes(cluster: TestCluster, name: str, reason: str) -> list[str]:
    """Return the messages of the events of one reason."""
    return [
        str(event["message"]) for event in await _events(cluster, name) if event["reason"] == reason
    ]


async def event_names(cluster: TestCluster, name: str) -> set[str]:
    """Return the names of the Event objects about a workload."""
    return {str(event["metadata"]["name"]) for event in await _events(cluster, name)}


async def _events(cluster: TestCluster, name: str) -> list[dict[str, Any]]:
    answer = await cluster.api.raw("GET", f"/api/v1/namespaces/{cluster.namespace}/events")
    return [
        event
        for event in json.loads(answer.body)["items"]
        if event.get("reportingComponent") == "spotalis.io/controller"
        and event["involvedObject"]["name"] == name
    ]


async def told(
    cluster: TestCluster, name: str, reason: str, *, within: float = PATIENCE_SECONDS
) -> None:
    """Wait until Spotalis has written an event with this reason about a workload."""

    async def said() -> bool:
        return reason in await events(cluster, name)

    async def instead() -> str:
        return str(await events(cluster, name))

    await cluster.wait_until(said, f"Event {reason} on {name}", within=within, instead=instead)


async def _merge(cluster: TestCluster, path: str, body: Mapping[str, Any]) -> None:
    answer = await cluster.api.raw("PATCH", path, body, content_type=PatchType.MERGE.value)
    assert answer.status == 200, answer.body
