"""Decode nodes and the volumes that are bound to some of them."""

from __future__ import annotations

from datetime import datetime
from sys import intern

import msgspec

from spotalis.kube.decode.metadata import Condition, Expression, Metadata, Wire, requirement
from spotalis.kube.decode.pod_shape import (
    NodeSelector,
    Quantities,
    extended_resources,
    node_terms,
)
from spotalis.model import objects, single_objects
from spotalis.model.possible_types import NodePool
from spotalis.model.quantity import parse_resource_list


class _Taint(Wire):
    key: str
    value: str | None = None
    effect: str = ""
    time_added: datetime | None = None


class _NodeSpec(Wire):
    taints: list[_Taint] | None = None
    unschedulable: bool | None = None


class _NodeStatus(Wire):
    conditions: list[Condition] | None = None
    allocatable: Quantities = None


class _NodeClaimSpec(Wire):
    requirements: list[Expression] | None = None


class _NodeClaimTemplate(Wire):
    spec: _NodeClaimSpec | None = None


class _NodePoolSpec(Wire):
    template: _NodeClaimTemplate | None = None


class _NodePool(Wire):
    metadata: Metadata
    spec: _NodePoolSpec | None = None


class _Node(Wire):
    metadata: Metadata
    spec: _NodeSpec | None = None
    status: _NodeStatus | None = None


class _VolumeNodeAffinity(Wire):
    required: NodeSelector | None = None


class _VolumeSpec(Wire):
    node_affinity: _VolumeNodeAffinity | None = None


class _Volume(Wire):
    metadata: Metadata
    spec: _VolumeSpec | None = None


def node(raw: bytes | msgspec.Raw) -> objects.Node:
    """Decode a Node."""
    written = _NODE.decode(raw)
    metadata = written.metadata
    spec, status = written.spec or _NodeSpec(), written.status or _NodeStatus()
    conditions = status.conditions or ()
    allocatable = parse_resource_list(status.allocatable)
    return objects.Node(
        name=metadata.name,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        labels=metadata.labels or {},
        taints=tuple(
            objects.Taint(taint.key, taint.value or "", taint.effect, taint.time_added)
            for taint in spec.taints or ()
        ),
        ready=any(one.type == "Ready" and one.status == "True" for one in conditions),
        cordoned=bool(spec.unschedulable),
        conditions=tuple(
            objects.NodeCondition(
                intern(condition.type),
                intern(condition.status),
                condition.reason or "",
                condition.message or "",
                condition.last_transition_time,
            )
            for condition in sorted(conditions, key=lambda condition: condition.type)
            if not _is_normal(condition)
        ),
        cpu_millis=allocatable.get("cpu", 0),
        memory_bytes=allocatable.get("memory", 0),
        pods=allocatable.get("pods", 0),
        other=extended_resources(allocatable, besides=("cpu", "memory", "pods")),
        created_at=metadata.creation_timestamp,
        deleting_at=metadata.deletion_timestamp,
    )


def node_pool(raw: bytes | msgspec.Raw) -> NodePool:
    """Decode a NodePool of Karpenter."""
    written = _NODE_POOL.decode(raw)
    template = written.spec.template if written.spec else None
    listed = template.spec.requirements if template and template.spec else None
    return written.metadata.name, tuple(map(requirement, listed or ()))


def volume(raw: bytes | msgspec.Raw) -> single_objects.Volume:
    """Decode a PersistentVolume."""
    written = _VOLUME.decode(raw)
    affinity = written.spec.node_affinity if written.spec else None
    return single_objects.Volume(
        name=written.metadata.name, node_terms=node_terms(affinity.required if affinity else None)
    )


def _is_normal(condition: Condition) -> bool:
    """Whether a condition says nothing about the end of its node.

    Problem detectors write a dozen conditions that are False on a healthy node; those, and the
    kubelet's own, are not kept.
    """
    if condition.type == "Ready":
        return condition.status == "True"
    return condition.status != "True" or condition.type in _KUBELET_CONDITIONS


_KUBELET_CONDITIONS = frozenset(
    {"MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"}
)

_NODE = msgspec.json.Decoder(_Node)
_NODE_POOL = msgspec.json.Decoder(_NodePool)
_VOLUME = msgspec.json.Decoder(_Volume)
