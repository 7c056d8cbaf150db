"""The kinds of objects that Spotalis reads or writes, and their addresses in the API."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

import msgspec

from spotalis.kube import decode
from spotalis.model.names import MAX_NAME_LENGTH, is_path_segment


class InvalidName(ValueError):
    """No object can have this name, so no request is sent for it."""


T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Resource(Generic[T_co]):
    """One kind: its address in the API, and how its JSON becomes a record."""

    group: str
    """``""`` for the core group."""
    version: str
    plural: str
    kind: str
    namespaced: bool
    decode: Callable[[bytes | msgspec.Raw], T_co]
    """Raises one of ``decode.DECODE_ERRORS`` for anything but an object of this kind."""
    label_selector: str = ""
    """Limits lists and watches."""
    field_selector: str = ""
    """Limits lists and watches."""

    @property
    def api_version(self) -> str:
        """``apiVersion`` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The request path of the collection, of one namespace of it, or of one object.

        Raises:
            InvalidName: no namespace or object can have this name.
        """
        for segment in (namespace, name):
            if segment and not is_path_segment(segment):
                raise InvalidName(f"{segment[:MAX_NAME_LENGTH]!r} cannot be the name of an object")
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        within = f"namespaces/{namespace}" if self.namespaced and namespace else ""
        parts = (root, within, self.plural, name, subresource)
        return "/".join(part for part in parts if part)

    def object_path(self, namespace: str, name: str, subresource: str = "") -> str:
        """The request path of one object, never that of a collection.

        Raises:
            InvalidName: no object can have this name, or the namespace is missing.
        """
        if not name or (self.namespaced and not namespace):
            raise InvalidName(f"the name or the namespace of a {self.kind} is empty")
        return self.path(namespace, name, subresource)

    def with_labels(self, selector: str) -> Self:
        """The objects of this kind whose labels match."""
        return dataclasses.replace(self, label_selector=selector)

    def with_version(self, version: str) -> Self:
        """The same kind in another version of its API group."""
        return dataclasses.replace(self, version=version)

    def with_fields(self, selector: str) -> Self:
        """The objects of this kind whose fields match."""
        return dataclasses.replace(self, field_selector=selector)

    @property
    def selectors(self) -> list[tuple[str, str]]:
        """The query parameters that limit a list or a watch."""
        selectors = {"labelSelector": self.label_selector, "fieldSelector": self.field_selector}
        return [(name, selector) for name, selector in selectors.items() if selector]


PODS = Resource("", "v1", "pods", "Pod", True, decode.pod)
NODES = Resource("", "v1", "nodes", "Node", False, decode.node)
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", False, decode.namespace)
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment", True, decode.deployment)
STATEFULSETS = Resource("apps", "v1", "statefulsets", "StatefulSet", True, decode.stateful_set)
REPLICASETS = Resource("apps", "v1", "replicasets", "ReplicaSet", True, decode.replica_set)
ROLLOUTS = Resource("argoproj.io", "v1alpha1", "rollouts", "Rollout", True, decode.rollout)
"""Of Argo Rollouts: watched only where the API is served and may be read."""
WORKLOADS = {resource.kind: resource for resource in (DEPLOYMENTS, STATEFULSETS, ROLLOUTS)}
"""The kinds that can be managed, by name."""
DISRUPTION_BUDGETS = Resource(
    "policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", True, decode.disruption_budget
)
LEDGER_LABEL = "spotalis.io/ledger"
LEDGERS = Resource(
    "", "v1", "configmaps", "ConfigMap", True, decode.ledger, label_selector=f"{LEDGER_LABEL}=true"
)
"""The ConfigMaps that hold a ledger, and the one with the memory of provider groups."""
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", True, decode.lease)
SECRETS = Resource("", "v1", "secrets", "Secret", True, decode.secret)
WEBHOOK_CONFIGURATIONS = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "mutatingwebhookconfigurations",
    "MutatingWebhookConfiguration",
    False,
    decode.webhook_configuration,
)
CORE_EVENTS = Resource("", "v1", "events", "Event", True, decode.event)
VOLUME_CLAIMS = Resource(
    "", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", True, decode.volume_claim
)
"""Fetched one by one when they matter, never watched."""
NODE_POOLS = Resource("karpenter.sh", "v1", "nodepools", "NodePool", False, decode.node_pool)
"""Of Karpenter; listed at each resync, never watched."""
VOLUMES = Resource("", "v1", "persistentvolumes", "PersistentVolume", False, decode.volume)
"""Fetched one by one when they matter, never watched."""

PLURALS = frozenset(
    resource.plural
    for resource in (
        *(PODS, NODES, NAMESPACES, DEPLOYMENTS, STATEFULSETS, REPLICASETS, DISRUPTION_BUDGETS),
        *(LEDGERS, LEASES, SECRETS, WEBHOOK_CONFIGURATIONS, CORE_EVENTS),
        *(VOLUME_CLAIMS, VOLUMES, NODE_POOLS, ROLLOUTS),
    )
)
"""The kinds that metrics name."""
