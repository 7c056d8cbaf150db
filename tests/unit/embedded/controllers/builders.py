"""Builders of objects for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support import manifests

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
    if node:
        spec["nodeName"] = node
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    condition["lastTransitionTime"] = ready_at or ago(minutes=30)
    status: Object = {"phase": phase, "conditions": [condition]}
    if restarts:
        status["containerStatuses"] = [{"name": "main", "restartCount": restarts}]
    pod = manifests.pod(name, metadata=metadata, spec=spec, requests=requests)
    return {**pod, "status": status}


def a_workload(
    kind: str,
    name: str,
    replicas: int,
    *,
    annotations: dict[str, str] | None = None,
    template: dict[str, str] | None = None,
    **spec: Any,
) -> Object:
    """A workload in namespace default; ``template`` are annotations of its pods."""
    metadata: Object = {"namespace": "default"}
    if annotations:
        metadata["annotations"] = annotations
    return manifests.workload(kind, name, replicas, metadata=metadata, annotations=template, **spec)


def a_budget(name: str, app: str, **rule: int | str) -> Object:
    return manifests.budget(name, {"app": app}, "default", **rule)
