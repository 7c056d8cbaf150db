"""Builders of objects for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

Object = dict[str, Any]
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def ago(**duration: float) -> str:
    """A timestamp before noon."""
    return f"{NOON - timedelta(**duration):%Y-%m-%dT%H:%M:%S}Z"


def a_pod(
    name: str = "pod",
    *,
    node: str = "",
    phase: str = "Running",
    ready: bool = True,
    ready_at: str = "",
    created_at: str = "",
    cost: str = "",
    restarts: int = 0,
    labels: dict[str, str] | None = None,
    owner: str = "",
    requests: dict[str, str] | None = None,
    **spec: Any,
) -> Object:
    """A pod with one container."""
    metadata: Object = {"name": name, "namespace": "default", "uid": name}
    metadata["creationTimestamp"] = created_at or ago(hours=1)
    if cost:
        metadata["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": cost}
    if labels:
        metadata["labels"] = labels
    if owner:
        metadata["ownerReferences"] = [
            {"kind": "ReplicaSet", "name": owner, "uid": owner, "controller": True}
        ]
    container: Object = {"name": "app", "image": "app"}
    if requests:
        container["resources"] = {"requests": requests}
    if node:
        spec["nodeName"] = node
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    condition["lastTransitionTime"] = ready_at or ago(minutes=30)
    status: Object = {"phase": phase, "conditions": [condition]}
    if restarts:
        status["containerStatuses"] = [{"name": "app", "restartCount": restarts}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [container], **spec},
        "status": status,
    }


def a_workload(
    kind: str,
    name: str,
    replicas: int,
    *,
    annotations: dict[str, str] | None = None,
    requests: dict[str, str] | None = None,
    template: dict[str, str] | None = None,
    pod: Object | None = None,
    **spec: Any,
) -> Object:
    """A workload; ``template`` are annotations of its pods, ``pod`` is their spec."""
    container: Object = {"name": "app", "image": "app:1"}
    if requests:
        container["resources"] = {"requests": requests}
    metadata: Object = {"name": name, "namespace": "default"}
    if annotations:
        metadata["annotations"] = annotations
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": template or {}},
                "spec": {"containers": [container], **(pod or {})},
            },
            **spec,
        },
    }


def a_budget(name: str, app: str, **rule: int | str) -> Object:
    """A PodDisruptionBudget for an app: ``a_budget("b", "web", minAvailable=3)``."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": app}}, **rule},
    }
