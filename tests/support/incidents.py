"""What others do to a cluster while a scenario runs: providers, autoscalers, drains, owners.

Everything goes through the API server, so it is the same on both beds.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from spotalis.kube.client import PatchType
from spotalis.kube.resources import DEPLOYMENTS, STATEFULSETS
from spotalis.model.objects import Pod
from tests.support.bed import PATIENCE_SECONDS, Answer, Bed, workload_body

READY_NEVER: Mapping[str, str] = {
    "testbed.spotalis.io/health": "never-ready",
    "embedded.spotalis.io/ready": "never",
}
"""Annotations of a pod that runs and never becomes Ready, for kwok and for the embedded kubelet."""

KARPENTER = {"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}
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


async def warn(bed: Bed, node: str, notice: Mapping[str, str]) -> None:
    """A provider announces that it takes a node, by a taint (``key``) or a condition (``type``)."""
    if "key" in notice:
        await _change_node(bed, node, "", "taints", "key", [notice])
    else:
        await _change_node(bed, node, "/status", "conditions", "type", [notice])


async def withdraw(bed: Bed, node: str, notice: Mapping[str, str]) -> None:
    """The announcement is taken back."""
    if "key" in notice:
        await _change_node(bed, node, "", "taints", "key", [], without=notice["key"])
    else:
        calm = {**notice, "status": "False", "reason": "NoVMEventScheduled", "message": ""}
        await _change_node(bed, node, "/status", "conditions", "type", [calm])


async def end_provisioning(bed: Bed) -> None:
    """No node says any more that Karpenter adds nodes for pods that wait."""
    for node in await bed.node_types():
        body = {"metadata": {"labels": {"karpenter.sh/nodepool": None}}}
        await _merge(bed, f"/api/v1/nodes/{node}", body)


async def label(bed: Bed, node: str, labels: Mapping[str, str | None]) -> None:
    """Somebody labels a node (None removes)."""
    await _merge(bed, f"/api/v1/nodes/{node}", {"metadata": {"labels": dict(labels)}})


async def cordon(bed: Bed, *nodes: str, cordoned: bool = True) -> None:
    """Nothing more is scheduled there (or is again)."""
    for node in nodes:
        body = {"spec": {"unschedulable": True if cordoned else None}}
        await _merge(bed, f"/api/v1/nodes/{node}", body)


async def _change_node(
    bed: Bed,
    node: str,
    subresource: str,
    field: str,
    name: str,
    entries: Sequence[Mapping[str, str]],
    *,
    without: str = "",
) -> None:
    """Replace entries of a list of a node by their name, whoever else writes it meanwhile."""
    section = "status" if subresource else "spec"
    path = f"/api/v1/nodes/{node}"
    while True:
        found = json.loads((await bed.api.raw("GET", path)).body)
        dropped = {entry[name] for entry in entries} | {without}
        kept = [e for e in found[section].get(field) or [] if e[name] not in dropped]
        body = {
            "metadata": {"resourceVersion": found["metadata"]["resourceVersion"]},
            section: {field: [*kept, *entries]},
        }
        answer = await bed.api.raw(
            "PATCH", path + subresource, body, content_type=PatchType.MERGE.value
        )
        if answer.status != 409:
            assert answer.status == 200, answer.body
            return


async def change(bed: Bed, kind: str, name: str, spec: Mapping[str, Any]) -> None:
    """The owner changes ``spec`` of a workload (a merge patch)."""
    await _merge(bed, _RESOURCES[kind].path(bed.namespace, name), {"spec": spec})


async def roll_out(
    bed: Bed, kind: str, name: str, image: str, annotations: Mapping[str, str | None] | None = None
) -> None:
    """The owner sets a new image, and annotations on the pods of it (None removes)."""
    container = {
        "name": "main",
        "image": image,
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
    }
    template: dict[str, Any] = {"spec": {"containers": [container]}}
    if annotations is not None:
        template["metadata"] = {"annotations": dict(annotations)}
    await change(bed, kind, name, {"template": template})


async def scale_as_an_autoscaler(bed: Bed, kind: str, name: str, replicas: int) -> None:
    """Through the scale subresource, as the HorizontalPodAutoscaler's controller does."""
    path = _RESOURCES[kind].path(bed.namespace, name) + "/scale"
    while True:
        scale = json.loads((await bed.api.raw("GET", path)).body)
        scale["spec"]["replicas"] = replicas
        answer = await bed.api.raw("PUT", path, scale)
        if answer.status != 409:  # whoever wrote it meanwhile: an autoscaler tries again too
            break
    assert answer.status == 200, answer.body


async def evict(bed: Bed, pod: Pod) -> int:
    """Evict a pod as a drain does; the HTTP status (429: a PodDisruptionBudget forbids it)."""
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"namespace": pod.namespace, "name": pod.name},
        "deleteOptions": {"preconditions": {"uid": pod.uid}},
    }
    path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/eviction"
    return (await bed.api.raw("POST", path, body)).status


@asynccontextmanager
async def injecting(bed: Bed, name: str, answer: Answer) -> AsyncIterator[None]:
    """Somebody registers a webhook of their own for new pods; heeded when the block begins."""
    asked = 0

    def counted(review: Mapping[str, Any]) -> Mapping[str, Any]:
        nonlocal asked
        asked += 1
        return answer(review)

    async with bed.injector(counted) as client_config:
        hook = {
            "name": "inject.example.com",
            "admissionReviewVersions": ["v1"],
            "clientConfig": client_config,
            "failurePolicy": "Fail",
            "reinvocationPolicy": "IfNeeded",
            "sideEffects": "None",
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": bed.namespace}},
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
        answered = await bed.api.raw("POST", path, configuration)
        assert answered.status == 201, answered.body
        probe = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "probe"},
            "spec": workload_body("Deployment", "probe", 1)["spec"]["template"]["spec"],
        }

        async def heeded() -> bool:
            path = f"/api/v1/namespaces/{bed.namespace}/pods"
            answered = await bed.api.raw("POST", path, probe, query=[("dryRun", "All")])
            assert answered.status == 201, answered.body
            return asked > 0

        await bed.until(heeded, f"the API server calls {name}")
        yield


async def annotate_pod(bed: Bed, pod: Pod, annotations: Mapping[str, str | None]) -> None:
    """Somebody annotates a living pod."""
    path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
    await _merge(bed, path, {"metadata": {"annotations": dict(annotations)}})


async def rolled_out(
    bed: Bed, kind: str, name: str, *, within: float = 2 * PATIENCE_SECONDS
) -> None:
    """Wait until a rollout is over by the word of the workload's status (kubectl's rule)."""

    async def done() -> bool:
        seen = await bed.raw_object(kind, name)
        status, wanted = seen["status"], seen["spec"]["replicas"]
        if status.get("observedGeneration", 0) < seen["metadata"]["generation"]:
            return False
        counts = {status.get(key, 0) for key in ("updatedReplicas", "availableReplicas")}
        return counts == {wanted} and status.get("replicas", 0) == wanted

    await bed.until(done, f"{name} is rolled out", within=within)


async def events(bed: Bed, name: str) -> list[str]:
    """Reasons of the Events that Spotalis wrote about a workload, in no order."""
    return [str(event["reason"]) for event in await _events(bed, name)]


async def notes(bed: Bed, name: str, reason: str) -> list[str]:
    """What those of one reason say."""
    return [str(event["note"]) for event in await _events(bed, name) if event["reason"] == reason]


async def _events(bed: Bed, name: str) -> list[dict[str, Any]]:
    answer = await bed.api.raw("GET", f"/apis/events.k8s.io/v1/namespaces/{bed.namespace}/events")
    return [
        event
        for event in json.loads(answer.body)["items"]
        if event.get("reportingController") == "spotalis.io/controller"
        and event["regarding"]["name"] == name
    ]


async def told(bed: Bed, name: str, reason: str, *, within: float = PATIENCE_SECONDS) -> None:
    """Wait until Spotalis has said something about a workload."""

    async def said() -> bool:
        return reason in await events(bed, name)

    async def instead() -> str:
        return str(await events(bed, name))

    await bed.until(said, f"Event {reason} on {name}", within=within, instead=instead)


async def _merge(bed: Bed, path: str, body: Mapping[str, Any]) -> None:
    answer = await bed.api.raw("PATCH", path, body, content_type=PatchType.MERGE.value)
    assert answer.status == 200, answer.body
