"""The status that the API server gives to new objects."""

from __future__ import annotations

from datetime import datetime

from spotalis.embedded.objects.resources import Object, Resource
from spotalis.embedded.objects.timestamps import stamp


def set_initial_status(resource: Resource, obj: Object, now: datetime) -> None:
    """Set the status of a new object, in place; only nodes are created with a status."""
    match resource.plural:
        case "pods":
            obj["status"] = {"phase": "Pending", "qosClass": _qos_class(obj.get("spec") or {})}
            if (obj.get("spec") or {}).get("schedulingGates"):
                gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
                gated["message"] = "Scheduling is blocked due to non-empty scheduling gates"
                dated = {"lastProbeTime": None, "lastTransitionTime": stamp(now)}
                obj["status"]["conditions"] = [{**gated, **dated}]
        case "namespaces":
            obj["status"] = {"phase": "Active"}
            obj["spec"] = {"finalizers": ["kubernetes"]}
        case "poddisruptionbudgets":
            counts = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
            obj["status"] = dict.fromkeys(counts, 0)
        case "statefulsets":
            obj["status"] = {"replicas": 0, "availableReplicas": 0}
        case "replicasets":
            obj["status"] = {"replicas": 0}
        case "nodes":
            obj.setdefault("status", {})
        case _ if "status" in resource.subresources:
            obj["status"] = {}


def _qos_class(spec: Object) -> str:
    """The quality of service class (upstream: ComputePodQOS); pod-level resources decide alone."""
    if any((spec.get("resources") or {}).get(kind) for kind in ("limits", "requests")):
        return _qos_of([spec])
    return _qos_of([*(spec.get("containers") or ()), *(spec.get("initContainers") or ())])


def _qos_of(holders: list[Object]) -> str:
    guaranteed, any_resources = True, False
    for holder in holders:
        resources = holder.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        any_resources = any_resources or bool(limits or requests)
        for kind in ("cpu", "memory"):
            if kind not in limits or requests.get(kind, limits[kind]) != limits[kind]:
                guaranteed = False
    if not any_resources:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"
