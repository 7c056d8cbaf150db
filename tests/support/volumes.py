"""Volumes in a zone, and claims bound to them as the volume binder would have bound them.

The binder itself is not needed, and runs on neither cluster: what the scheduler goes by is written
down (``pv.kubernetes.io/bind-completed``, docs of the PersistentVolume controller).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.cluster import TestCluster

ZONE = "topology.kubernetes.io/zone"
_SIZE = {"storage": "1Gi"}
_BOUND = {"pv.kubernetes.io/bind-completed": "yes"}


def a_volume(name: str, zone: str, *, key: str = ZONE) -> dict[str, Any]:
    """A PersistentVolume that only nodes with this label reach; any node if ``zone`` is empty."""
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
    """The part of a StatefulSet's spec that has each pod claim ``data-<its name>``."""
    template = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": _SIZE}},
    }
    return {"volumeClaimTemplates": [template]}


async def bound(cluster: TestCluster, zones: Mapping[str, str], *, key: str = ZONE) -> None:
    """A volume in a zone for each of these pods to be, and the claim by which it will mount it."""
    for pod, zone in zones.items():
        volume = a_volume(f"disk-of-{pod}", zone, key=key)
        claim = a_claim(f"data-{pod}", f"disk-of-{pod}")
        of_namespace = f"/api/v1/namespaces/{cluster.namespace}/persistentvolumeclaims"
        for path, body in (("/api/v1/persistentvolumes", volume), (of_namespace, claim)):
            answer = await cluster.api.raw("POST", path, body)
            assert answer.status == 201, answer.body
