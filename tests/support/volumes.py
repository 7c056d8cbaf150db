"""Volumes in a zone, and claims that are bound to them.

No test bed runs the volume binder. The objects carry what the scheduler reads (annotation
``pv.kubernetes.io/bind-completed``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.cluster import TestCluster

ZONE = "topology.kubernetes.io/zone"
_SIZE = {"storage": "1Gi"}
_BOUND = {"pv.kubernetes.io/bind-completed": "yes"}


def a_volume(name: str, zone: str, *, key: str = ZONE) -> dict[str, Any]:
    """A PersistentVolume that can be attached to nodes with this label, or to all if ``zone`` is
    "".
    """
    expression = {"key": key, "operator": "In", "values": [zone]}
    required = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": _SIZE,
        "csi": {"driver": "disk.example", "volumeHandle": name},
    }
    if zone:
        spec["nodeAffinity"] = {"required": required}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": spec,
    }


def a_claim(name: str, volume: str) -> dict[str, Any]:
    """A PersistentVolumeClaim that is bound to this volume."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "annotations": _BOUND},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": _SIZE},
            "storageClassName": "",
            "volumeName": volume,
        },
    }


def claiming() -> dict[str, Any]:
    """The fields of a StatefulSet's spec by which each pod claims ``data-<pod name>``."""
    template = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": _SIZE}},
    }
    return {"volumeClaimTemplates": [template]}


async def bound(cluster: TestCluster, zones: Mapping[str, str], *, key: str = ZONE) -> None:
    """Create a volume in a zone, and the claim bound to it, for each of these future pods."""
    for pod, zone in zones.items():
        volume = a_volume(f"disk-of-{pod}", zone, key=key)
        claim = a_claim(f"data-{pod}", f"disk-of-{pod}")
        of_namespace = f"/api/v1/namespaces/{cluster.namespace}/persistentvolumeclaims"
        for path, body in (("/api/v1/persistentvolumes", volume), (of_namespace, claim)):
            answer = await cluster.api.raw("POST", path, body)
            assert answer.status == 201, answer.body
