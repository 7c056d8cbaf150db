"""Decode the part of a pod spec that the scheduler looks at."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import msgspec

from spotalis.kube.decode.metadata import (
    NULL,
    Expression,
    Labels,
    Selector,
    Wire,
    requirement,
    selector,
)
from spotalis.model.objects import LabelSelector, NodeTerms, PodShape, Requirement, Toleration
from spotalis.model.pod_requests import InitContainer, effective_requests, pod_requests
from spotalis.model.quantity import Quantity, ResourceList, parse_resource_list

Quantities: TypeAlias = dict[str, Quantity] | None

MATCHES_NOTHING = Requirement("", "In")
"""An empty node selector term matches no node (API reference, NodeSelectorTerm)."""


class Container(Wire):
    """A container; its resources stay JSON until the shape is computed."""

    resources: msgspec.Raw = NULL
    restart_policy: str | None = None


class PodSpec(Wire):
    """``spec`` of a pod or of a pod template.

    Fields that are equal in all pods of a template stay JSON: they are the key under which the
    shape is cached.
    """

    node_name: str = ""
    containers: list[Container] | None = None
    init_containers: list[Container] | None = None
    resources: msgspec.Raw = NULL
    overhead: msgspec.Raw = NULL
    node_selector: msgspec.Raw = NULL
    affinity: msgspec.Raw = NULL
    tolerations: msgspec.Raw = NULL
    volumes: msgspec.Raw = NULL


class NodeSelectorTerm(Wire):
    """A term of a node selector."""

    match_expressions: list[Expression] | None = None
    match_fields: list[Expression] | None = None


class NodeSelector(Wire):
    """Required node affinity of a pod or of a volume."""

    node_selector_terms: list[NodeSelectorTerm] | None = None


class NodeAffinity(Wire):
    """``affinity.nodeAffinity``."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None


class PodAffinityTerm(Wire):
    """A term of pod anti-affinity."""

    topology_key: str = ""
    label_selector: Selector | None = None


class PodAntiAffinity(Wire):
    """``affinity.podAntiAffinity``."""

    required_during_scheduling_ignored_during_execution: list[PodAffinityTerm] | None = None


class Affinity(Wire):
    """``spec.affinity``; preferences are not read."""

    node_affinity: NodeAffinity | None = None
    pod_anti_affinity: PodAntiAffinity | None = None


class _Resources(Wire):
    requests: Quantities = None
    limits: Quantities = None


class _Toleration(Wire):
    key: str | None = None
    operator: str | None = None
    value: str | None = None
    effect: str | None = None


def shape_of(spec: PodSpec) -> PodShape:
    """The shape of a pod with this spec; equal JSON returns the same object."""
    parts: list[bytes | msgspec.Raw] = [
        spec.node_selector,
        spec.affinity,
        spec.tolerations,
        spec.overhead,
        spec.resources,
    ]
    for container in spec.containers or ():
        parts += (_CONTAINER, container.resources)
    for container in spec.init_containers or ():
        parts += (_SIDECAR if container.restart_policy == "Always" else _INIT, container.resources)
    return _shape(b"\0".join(parts))  # JSON has no NUL


def node_terms(required: NodeSelector | None) -> NodeTerms:
    """A node selector as records."""
    return tuple(_term(term) for term in (required and required.node_selector_terms) or ())


def required_node_terms(affinity: Affinity) -> NodeTerms:
    """The required node affinity of a pod."""
    node = affinity.node_affinity
    return node_terms(node.required_during_scheduling_ignored_during_execution if node else None)


def extended_resources(
    amounts: ResourceList, *, besides: tuple[str, ...] = ("cpu", "memory")
) -> tuple[tuple[str, int], ...]:
    """The resources that have no field of their own, sorted by name, without zeros."""
    return tuple(sorted((k, v) for k, v in amounts.items() if v and k not in besides))


@lru_cache(maxsize=4096)
def _shape(parts: bytes) -> PodShape:
    node_selector, affinity, tolerations, overhead, resources, *containers = parts.split(b"\0")
    kinds, requests_of = containers[::2], list(map(_requests, containers[1::2]))
    pod_level = _RESOURCES.decode(resources) or _Resources()
    requests = pod_requests(
        [one for kind, one in zip(kinds, requests_of, strict=True) if kind == _CONTAINER],
        [
            InitContainer(one, is_sidecar=kind == _SIDECAR)
            for kind, one in zip(kinds, requests_of, strict=True)
            if kind != _CONTAINER
        ],
        pod_level=parse_resource_list(pod_level.requests),
        pod_level_limits=parse_resource_list(pod_level.limits),
        overhead=parse_resource_list(_QUANTITIES.decode(overhead)),
    )
    constraints = _AFFINITY.decode(affinity) or Affinity()
    return PodShape(
        cpu_millis=requests.get("cpu", 0),
        memory_bytes=requests.get("memory", 0),
        other=extended_resources(requests),
        node_selector=tuple(sorted((_LABELS.decode(node_selector) or {}).items())),
        node_terms=required_node_terms(constraints),
        tolerations=tuple(map(_toleration, _TOLERATIONS.decode(tolerations) or ())),
        anti_affinity=_anti_affinity(constraints),
    )


def _requests(raw: bytes) -> ResourceList:
    resources = _RESOURCES.decode(raw) or _Resources()
    return effective_requests(resources.requests, resources.limits)


def _toleration(written: _Toleration) -> Toleration:
    return Toleration(
        written.key or "",
        written.operator or "Equal",
        written.value or "",
        written.effect or "",
    )


def _anti_affinity(affinity: Affinity) -> tuple[tuple[str, LabelSelector], ...]:
    """Required pod anti-affinity; terms that name other namespaces count for the pod's own."""
    pods = affinity.pod_anti_affinity
    terms = (pods and pods.required_during_scheduling_ignored_during_execution) or ()
    return tuple(
        (term.topology_key, selector(term.label_selector))
        for term in terms
        if term.label_selector is not None
    )


def _term(term: NodeSelectorTerm) -> tuple[Requirement, ...]:
    """The requirements of a term. Those on fields match no label, and so no provider's rule."""
    expressions = [*(term.match_expressions or ()), *(term.match_fields or ())]
    return tuple(map(requirement, expressions)) or (MATCHES_NOTHING,)


_CONTAINER, _INIT, _SIDECAR = b"container", b"init", b"sidecar"

_RESOURCES = msgspec.json.Decoder(_Resources | None)
_QUANTITIES = msgspec.json.Decoder(Quantities)
_LABELS = msgspec.json.Decoder(Labels)
_AFFINITY = msgspec.json.Decoder(Affinity | None)
_TOLERATIONS = msgspec.json.Decoder(list[_Toleration] | None)
