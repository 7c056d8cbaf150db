"""The kinds that the embedded API server serves, and the rules that differ by kind.

The rules are those of the registry strategies of kube-apiserver v1.36.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
"""A JSON object of the API; it must not be changed once it is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One kind."""

    group: str = ""
    """``""`` for the core group."""
    version: str = "v1"
    plural: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    counts_generations: bool = False
    """Whether ``metadata.generation`` is set and increases with the spec."""
    unconditional_update: bool = True
    """Whether a PUT without ``metadata.resourceVersion`` is allowed."""
    create_on_update: bool = False
    """Whether a PUT of an object that does not exist creates it."""
    returns_deleted: bool = False
    """Whether DELETE returns the object instead of a Status."""

    @property
    def api_version(self) -> str:
        """``apiVersion`` of the objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """The plural with the group, as in ``deployments.apps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def singular(self) -> str:
        """The kind in lower case."""
        return self.kind.lower()


_STATUS, _SCALE = ("status",), ("status", "scale")


def _apps(plural: str, kind: str, short_name: str, subresources: tuple[str, ...]) -> Resource:
    return Resource(
        group="apps",
        plural=plural,
        kind=kind,
        short_names=(short_name,),
        subresources=subresources,
        counts_generations=True,
    )


def _core(plural: str, kind: str, *short_names: str, **rules: Any) -> Resource:
    return Resource(plural=plural, kind=kind, short_names=short_names, **rules)


RESOURCES = (
    _core(
        "pods",
        "Pod",
        "po",
        subresources=("status", "eviction", "binding", "log"),
        counts_generations=True,
        returns_deleted=True,
    ),
    _core("nodes", "Node", "no", namespaced=False, subresources=_STATUS),
    _core(
        "namespaces",
        "Namespace",
        "ns",
        namespaced=False,
        subresources=("status", "finalize"),
        returns_deleted=True,
    ),
    _core("services", "Service", "svc", subresources=_STATUS, returns_deleted=True),
    _core(
        "persistentvolumes",
        "PersistentVolume",
        "pv",
        namespaced=False,
        subresources=_STATUS,
        returns_deleted=True,
    ),
    _core(
        "persistentvolumeclaims",
        "PersistentVolumeClaim",
        "pvc",
        subresources=_STATUS,
        returns_deleted=True,
    ),
    _core("configmaps", "ConfigMap", "cm"),
    _core("secrets", "Secret"),
    _core("serviceaccounts", "ServiceAccount", "sa", returns_deleted=True),
    _core("events", "Event", "ev"),
    _apps("deployments", "Deployment", "deploy", _SCALE),
    _apps("statefulsets", "StatefulSet", "sts", _SCALE),
    _apps("replicasets", "ReplicaSet", "rs", _SCALE),
    _apps("daemonsets", "DaemonSet", "ds", _STATUS),
    Resource(group="apps", plural="controllerrevisions", kind="ControllerRevision"),
    Resource(
        group="batch",
        plural="jobs",
        kind="Job",
        subresources=_STATUS,
        counts_generations=True,
    ),
    Resource(
        group="policy",
        plural="poddisruptionbudgets",
        kind="PodDisruptionBudget",
        short_names=("pdb",),
        subresources=_STATUS,
        counts_generations=True,
        unconditional_update=False,
    ),
    Resource(
        group="coordination.k8s.io",
        plural="leases",
        kind="Lease",
        unconditional_update=False,
        create_on_update=True,
    ),
    Resource(
        group="admissionregistration.k8s.io",
        plural="mutatingwebhookconfigurations",
        kind="MutatingWebhookConfiguration",
        namespaced=False,
        counts_generations=True,
        unconditional_update=False,
    ),
)

BY_PLURAL = {resource.plural: resource for resource in RESOURCES}
