"""The kinds that the embedded API server serves, and the rules that differ by kind.

The rules are those of the registry strategies of kube-apiserver v1.36.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
"""A JSON object of the API; it must not be changed once it is stored."""

EVENTS_GROUP = "events.k8s.io"


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
    in_all: bool = False
    """Whether ``kubectl get all`` includes it."""

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


_SCALED = ("status", "scale")

RESOURCES = (
    Resource(
        plural="pods",
        kind="Pod",
        short_names=("po",),
        subresources=("status", "eviction", "binding", "log"),
        counts_generations=True,
        returns_deleted=True,
        in_all=True,
    ),
    Resource(
        plural="nodes",
        kind="Node",
        namespaced=False,
        short_names=("no",),
        subresources=("status",),
    ),
    Resource(
        plural="namespaces",
        kind="Namespace",
        namespaced=False,
        short_names=("ns",),
        subresources=("status", "finalize"),
        returns_deleted=True,
    ),
    Resource(
        plural="services",
        kind="Service",
        short_names=("svc",),
        subresources=("status",),
        create_on_update=True,
        returns_deleted=True,
        in_all=True,
    ),
    Resource(
        plural="persistentvolumes",
        kind="PersistentVolume",
        namespaced=False,
        short_names=("pv",),
        subresources=("status",),
        returns_deleted=True,
    ),
    Resource(
        plural="persistentvolumeclaims",
        kind="PersistentVolumeClaim",
        short_names=("pvc",),
        subresources=("status",),
        returns_deleted=True,
    ),
    Resource(plural="configmaps", kind="ConfigMap", short_names=("cm",)),
    Resource(plural="secrets", kind="Secret"),
    Resource(
        plural="serviceaccounts", kind="ServiceAccount", short_names=("sa",), returns_deleted=True
    ),
    Resource(
        group=EVENTS_GROUP,
        plural="events",
        kind="Event",
        short_names=("ev",),
        create_on_update=True,
    ),
    Resource(
        group="apps",
        plural="deployments",
        kind="Deployment",
        short_names=("deploy",),
        subresources=_SCALED,
        counts_generations=True,
        in_all=True,
    ),
    Resource(
        group="apps",
        plural="statefulsets",
        kind="StatefulSet",
        short_names=("sts",),
        subresources=_SCALED,
        counts_generations=True,
        in_all=True,
    ),
    Resource(
        group="apps",
        plural="replicasets",
        kind="ReplicaSet",
        short_names=("rs",),
        subresources=_SCALED,
        counts_generations=True,
        in_all=True,
    ),
    Resource(
        group="apps",
        plural="daemonsets",
        kind="DaemonSet",
        short_names=("ds",),
        subresources=("status",),
        counts_generations=True,
        in_all=True,
    ),
    Resource(group="apps", plural="controllerrevisions", kind="ControllerRevision"),
    Resource(
        group="batch",
        plural="jobs",
        kind="Job",
        subresources=("status",),
        counts_generations=True,
        in_all=True,
    ),
    Resource(
        group="policy",
        plural="poddisruptionbudgets",
        kind="PodDisruptionBudget",
        short_names=("pdb",),
        subresources=("status",),
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
CORE_EVENTS = Resource(plural="events", kind="Event", short_names=("ev",), create_on_update=True)
"""Events in the core group; they are stored in the form of ``events.k8s.io``."""
