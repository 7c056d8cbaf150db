"""Manifests: objects as clients create them. Each builder takes what a test is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]
IMAGE = "app:1"


def pod(
    name: str,
    *,
    metadata: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] | None = None,
    requests: Mapping[str, str] | None = None,
) -> Json:
    """A pod with one container; ``metadata`` and ``spec`` add to it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **(metadata or {})},
        "spec": pod_spec(spec, requests),
    }


def pod_spec(
    spec: Mapping[str, Any] | None = None, requests: Mapping[str, str] | None = None
) -> Json:
    """The spec of a pod with one container."""
    container: Json = {"name": "main", "image": IMAGE}
    if requests:
        container["resources"] = {"requests": dict(requests)}
    return {"containers": [container], **(spec or {})}


def workload(
    kind: str,
    name: str,
    replicas: int,
    *,
    metadata: Mapping[str, Any] | None = None,
    annotations: Mapping[str, str] | None = None,
    pod: Mapping[str, Any] | None = None,
    requests: Mapping[str, str] | None = None,
    **spec: Any,
) -> Json:
    """A workload whose pods have the label ``app``.

    ``annotations`` are those of its pods, ``pod`` adds to their spec, ``spec`` to its own.
    """
    template: Json = {"metadata": {"labels": {"app": name}}, "spec": pod_spec(pod, requests)}
    if annotations:
        template["metadata"]["annotations"] = dict(annotations)
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, **(metadata or {})},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": template,
            **spec,
        },
    }


def budget(name: str, labels: Mapping[str, str], namespace: str = "", **spec: Any) -> Json:
    """A PodDisruptionBudget: ``budget("b", {"app": "web"}, minAvailable=3)``."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata,
        "spec": {"selector": {"matchLabels": dict(labels)}, **spec},
    }
