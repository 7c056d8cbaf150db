"""Decode the part of a pod spec that the scheduler looks at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
from spotalis.kube.decode.shared import SharedValues
from spotalis.model.anti_affinity import AntiAffinityTerm
from spotalis.model.constraints import (
    ACROSS_NAMESPACES,
    MAX_CONSTRAINTS_BYTES,
    NOT_KEPT,
    POD_AFFINITY,
    RESOURCE_CLAIMS,
    SPREAD_CONSTRAINTS,
    TOO_LONG,
)
from spotalis.model.objects import (
    HostPort,
    NodeTerms,
    PodShape,
    Requirement,
    Toleration,
)
from spotalis.model.pod_requests import InitContainer, effective_requests, pod_requests
from spotalis.model.quantity import Quantity, ResourceList, parse_resource_list

Quantities: TypeAlias = dict[str, Quantity] | None

MATCHES_NOTHING = Requirement("", "In")
"""An empty node selector term matches no node (API reference, NodeSelectorTerm)."""


MAX_EXTENDED_RESOURCES = 64
"""Extended resources of a pod or node that are counted."""


class Container(Wire):
    """A container; its resources and ports stay JSON until the shape is computed."""

    resources: msgspec.Raw = NULL
    restart_policy: str | None = None
    ports: msgspec.Raw = NULL


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
    topology_spread_constraints: msgspec.Raw = NULL
    resource_claims: msgspec.Raw = NULL
    host_network: bool | None = None
    scheduling_gates: msgspec.Raw = NULL
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
    """A term of pod affinity or anti-affinity."""

    topology_key: str = ""
    label_selector: Selector | None = None
    namespaces: list[str] | None = None
    namespace_selector: Selector | None = None


class PodAffinity(Wire):
    """``affinity.podAffinity`` or ``affinity.podAntiAffinity``."""

    required_during_scheduling_ignored_during_execution: list[PodAffinityTerm] | None = None


class Affinity(Wire):
    """``spec.affinity``; preferences are not read."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class _Resources(Wire):
    requests: Quantities = None
    limits: Quantities = None


class _Toleration(Wire):
    key: str | None = None
    operator: str | None = None
    value: str | None = None
    effect: str | None = None


class _Port(Wire):
    container_port: int = 0
    host_port: int | None = None
    protocol: str | None = None
    host_ip: str | None = msgspec.field(name="hostIP", default=None)


class _SpreadConstraint(Wire):
    when_unsatisfiable: str = ""


class _Key(msgspec.Struct, array_like=True):
    """The parts of a spec that decide its shape, as the JSON under which the shape is shared."""

    constraints: list[msgspec.Raw]
    """Node selector, affinity, tolerations, spread constraints."""
    overhead: msgspec.Raw
    resources: msgspec.Raw
    has_claims: bool
    host_network: bool
    containers: list[tuple[str, msgspec.Raw]]
    """Kind and resources of each."""
    ports: list[msgspec.Raw]


def shape_of(spec: PodSpec, namespace: str) -> PodShape:
    """The shape of a pod with this spec; equal JSON in a namespace returns the same object.

    If the namespace has used up its share, only the requests of CPU and memory are kept.
    """
    host_network = bool(spec.host_network)
    containers, ports = [], []
    for container in spec.containers or ():
        containers.append((_CONTAINER, container.resources))
        ports.append(container.ports)
    for container in spec.init_containers or ():
        is_sidecar = container.restart_policy == "Always"
        containers.append((_SIDECAR if is_sidecar else _INIT, container.resources))
        if is_sidecar:
            ports.append(container.ports)
    key = _Key(
        constraints=[
            spec.node_selector,
            spec.affinity,
            spec.tolerations,
            spec.topology_spread_constraints,
        ],
        overhead=spec.overhead,
        resources=spec.resources,
        has_claims=bytes(spec.resource_claims) not in (b"null", b"[]"),
        host_network=host_network,
        containers=containers,
        # The host network has a hostPort for each port of a container (API reference, PodSpec).
        ports=[raw for raw in ports if host_network or b'"hostPort"' in bytes(raw)],
    )
    found = _SHARED_SHAPES.find(msgspec.json.encode(key), namespace)
    if found is not None:
        return found
    requests = _requests_of(key)
    return reduced(requests.get("cpu", 0), requests.get("memory", 0))


def reduced(cpu_millis: int, memory_bytes: int) -> PodShape:
    """The shape of a pod that exceeds the share of its namespace."""
    return PodShape(cpu_millis=cpu_millis, memory_bytes=memory_bytes, unjudged=NOT_KEPT)


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
    found = sorted((k, v) for k, v in amounts.items() if v and k not in besides)
    return tuple(found[:MAX_EXTENDED_RESOURCES])


def _shape(raw: bytes) -> PodShape:
    key = _KEY.decode(raw)
    requests = _requests_of(key)
    found = PodShape(
        cpu_millis=requests.get("cpu", 0),
        memory_bytes=requests.get("memory", 0),
        other=extended_resources(requests),
    )
    if sum(len(bytes(part)) for part in (*key.constraints, *key.ports)) > MAX_CONSTRAINTS_BYTES:
        return msgspec.structs.replace(found, unjudged=TOO_LONG)
    node_selector, written, tolerations, spread = key.constraints
    affinity = _AFFINITY.decode(written) or Affinity()
    return msgspec.structs.replace(
        found,
        node_selector=tuple(sorted((_LABELS.decode(node_selector) or {}).items())),
        node_terms=required_node_terms(affinity),
        tolerations=tuple(map(_toleration, _TOLERATIONS.decode(tolerations) or ())),
        anti_affinity=_anti_affinity(affinity),
        host_ports=_host_ports(key),
        unjudged=_unjudged(key, affinity, _SPREAD.decode(spread) or ()),
    )


def _requests_of(key: _Key) -> ResourceList:
    requests = [(kind, _requests(resources)) for kind, resources in key.containers]
    pod_level = _RESOURCES.decode(key.resources) or _Resources()
    return pod_requests(
        [one for kind, one in requests if kind == _CONTAINER],
        [
            InitContainer(one, is_sidecar=kind == _SIDECAR)
            for kind, one in requests
            if kind != _CONTAINER
        ],
        pod_level=parse_resource_list(pod_level.requests),
        pod_level_limits=parse_resource_list(pod_level.limits),
        overhead=parse_resource_list(_QUANTITIES.decode(key.overhead)),
    )


def _unjudged(key: _Key, affinity: Affinity, spread: Iterable[_SpreadConstraint]) -> str:
    """What the scheduler considers and the other fields of a shape do not say; may be empty."""
    if key.has_claims:
        return RESOURCE_CLAIMS
    if any(one.when_unsatisfiable == "DoNotSchedule" for one in spread):
        return SPREAD_CONSTRAINTS
    if _required(affinity.pod_affinity):
        return POD_AFFINITY
    if any(term.names_namespaces for term in _anti_affinity(affinity)):
        return ACROSS_NAMESPACES
    return ""


def _host_ports(key: _Key) -> tuple[HostPort, ...]:
    ports = [port for raw in key.ports for port in _PORTS.decode(raw) or ()]
    found = {
        HostPort(
            port.host_port or port.container_port,
            port.protocol or "TCP",
            "" if port.host_ip in (None, "0.0.0.0") else str(port.host_ip),  # noqa: S104
        )
        for port in ports
        if port.host_port or key.host_network
    }
    return tuple(sorted(found, key=lambda one: (one.port, one.protocol, one.address)))


def _requests(raw: msgspec.Raw) -> ResourceList:
    resources = _RESOURCES.decode(raw) or _Resources()
    return effective_requests(resources.requests, resources.limits)


def _toleration(written: _Toleration) -> Toleration:
    return Toleration(
        written.key or "",
        written.operator or "Equal",
        written.value or "",
        written.effect or "",
    )


def _required(pods: PodAffinity | None) -> Sequence[PodAffinityTerm]:
    return (pods and pods.required_during_scheduling_ignored_during_execution) or ()


def _anti_affinity(affinity: Affinity) -> tuple[AntiAffinityTerm, ...]:
    """Required pod anti-affinity; a term without a selector concerns no pod."""
    return tuple(
        AntiAffinityTerm(
            term.topology_key,
            selector(term.label_selector),
            tuple(term.namespaces or ()),
            None if term.namespace_selector is None else selector(term.namespace_selector),
        )
        for term in _required(affinity.pod_anti_affinity)
        if term.label_selector is not None
    )


def _term(term: NodeSelectorTerm) -> tuple[Requirement, ...]:
    """The requirements of a term. Those on fields match no label, and so no provider's rule."""
    expressions = [*(term.match_expressions or ()), *(term.match_fields or ())]
    return tuple(map(requirement, expressions)) or (MATCHES_NOTHING,)


_CONTAINER, _INIT, _SIDECAR = "container", "init", "sidecar"

_KEY = msgspec.json.Decoder(_Key)
SHARE_OF_SHAPES = 4 * 2**20
"""Of each namespace: about 2,000 different pod templates."""
_SHARED_SHAPES = SharedValues(_shape, SHARE_OF_SHAPES)
_PORTS = msgspec.json.Decoder(list[_Port] | None)
_SPREAD = msgspec.json.Decoder(list[_SpreadConstraint] | None)
_RESOURCES = msgspec.json.Decoder(_Resources | None)
_QUANTITIES = msgspec.json.Decoder(Quantities)
_LABELS = msgspec.json.Decoder(Labels)
_AFFINITY = msgspec.json.Decoder(Affinity | None)
_TOLERATIONS = msgspec.json.Decoder(list[_Toleration] | None)
