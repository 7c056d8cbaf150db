"""The kinds of objects that Spotalis reads, and where the API serves them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from spotalis.kube import decode

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Resource(Generic[T_co]):
    """One kind: its address in the API and how its JSON becomes a record."""

    group: str
    """``""`` for the core group."""
    version: str
    plural: str
    kind: str
    namespaced: bool
    decode: Callable[[bytes | msgspec.Raw], T_co]
    """Raises one of ``decode.UNDECODABLE`` for what is not an object of this kind."""
    label_selector: str = ""
    """What lists and watches of it are limited to."""

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The request path of the collection, of one namespace of it, or of one object."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        within = f"namespaces/{namespace}" if self.namespaced and namespace else ""
        parts = (root, within, self.plural, name, subresource)
        return "/".join(part for part in parts if part)


PODS = Resource("", "v1", "pods", "Pod", True, decode.pod)
NODES = Resource("", "v1", "nodes", "Node", False, decode.node)
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", False, decode.namespace)
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment", True, decode.deployment)
STATEFULSETS = Resource("apps", "v1", "statefulsets", "StatefulSet", True, decode.stateful_set)
REPLICASETS = Resource("apps", "v1", "replicasets", "ReplicaSet", True, decode.replica_set)
DISRUPTION_BUDGETS = Resource(
    "policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", True, decode.disruption_budget
)
LEDGER_LABEL = "spotalis.io/ledger"
LEDGERS = Resource(
    "", "v1", "configmaps", "ConfigMap", True, decode.ledger, label_selector=f"{LEDGER_LABEL}=true"
)
"""The ConfigMaps that hold a ledger, and no others."""
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", True, decode.lease)
VOLUME_CLAIMS = Resource(
    "", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", True, decode.volume_claim
)
VOLUMES = Resource("", "v1", "persistentvolumes", "PersistentVolume", False, decode.volume)
"""These two are asked for one by one where they matter, and never watched."""
