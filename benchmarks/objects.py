"""Objects of realistic size: sidecars, probes and managed fields bring a pod to 6 kB."""

from __future__ import annotations

from typing import Any

NODES = 200


def node_name(number: int) -> str:
    """Name of the node that a pod with this number runs on; pods spread evenly."""
    return f"node-{number % NODES}"


def node(number: int) -> dict[str, Any]:
    """A node; odd numbers are spot, even numbers on-demand."""
    labels = {
        "kubernetes.io/hostname": node_name(number),
        "kubernetes.io/os": "linux",
        "karpenter.sh/capacity-type": "spot" if number % 2 else "on-demand",
    }
    resources = {"cpu": "64", "memory": "256Gi", "pods": "250"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node_name(number), "labels": labels},
        "status": {"allocatable": resources, "capacity": resources},
    }


def deployment(name: str, replicas: int) -> dict[str, Any]:
    """An enabled Deployment whose pods look like :func:`pod`."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "annotations": {
                "spotalis.io/enabled": "true",
                "spotalis.io/spot-percentage": "70",
                "spotalis.io/min-on-demand": "1",
            },
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod_spec()},
        },
    }


def pod_spec() -> dict[str, Any]:
    """Pod spec of two containers with probes and environment variables."""
    container: dict[str, Any] = {
        "image": "registry.example/team/service:1.42.0",
        "env": [{"name": f"SETTING_{i}", "value": f"value-of-setting-{i}"} for i in range(20)],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 5},
        "ports": [{"containerPort": 8080, "name": "http"}],
    }
    sidecar = {key: value for key, value in container.items() if key != "ports"}
    return {"containers": [{**container, "name": "main"}, {**sidecar, "name": "proxy"}]}


def pod(number: int, owner: str, owner_uid: str) -> dict[str, Any]:
    """A running pod with metadata as a real cluster writes it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{owner}-{number:05d}",
            "namespace": "default",
            "uid": f"00000000-0000-4000-8000-{number:012d}",
            "resourceVersion": str(1000 + number),
            "creationTimestamp": "2026-11-01T10:00:00Z",
            "labels": {"app": owner, "pod-template-hash": "6c9f7d", "team": "shop"},
            "annotations": {
                "prometheus.io/scrape": "true",
                "checksum/config": "b1946ac92492d2347c6235b4d2611184" * 2,
            },
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": owner,
                    "uid": owner_uid,
                    "controller": True,
                }
            ],
            "managedFields": [
                {"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:status": _FIELDS}}
            ],
        },
        "spec": {**pod_spec(), "nodeName": node_name(number)},
        "status": {
            "phase": "Running",
            "podIP": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
            "conditions": [
                {
                    "type": kind,
                    "status": "True",
                    "lastTransitionTime": "2026-11-01T10:00:05Z",
                }
                for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
            ],
        },
    }


_FIELDS: dict[str, Any] = {
    f"f:field{i}": {".": {}, f'k:{{"type":"Condition{i}"}}': {}} for i in range(30)
}
