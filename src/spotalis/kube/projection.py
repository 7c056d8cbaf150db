"""What the scheduler must find for a pod, out of its spec."""

from __future__ import annotations

import msgspec

from spotalis.kube import wire
from spotalis.kube.interner import Interner
from spotalis.model.objects import LabelSelector, NodeTerms, PodShape, Requirement, Toleration
from spotalis.model.pod_requests import InitContainer, effective_requests, pod_requests
from spotalis.model.quantity import ResourceList, parse_resource_list

NEVER = Requirement("", "In")
"""Matches no labels at all."""


def shape_of(spec: wire.PodSpec) -> PodShape:
    """The shape of a pod with this spec; the same object for specs of the same bytes."""
    key = _key(spec)
    return _SHAPES.get(key) or _SHAPES.keep(key, _shape(spec))


def other(amounts: ResourceList, *, besides: tuple[str, ...] = ("cpu", "memory")) -> _Sorted:
    """What is left besides these, sorted by name, without zeros."""
    return tuple(sorted((k, v) for k, v in amounts.items() if v and k not in besides))


def selector(seen: wire.Selector) -> LabelSelector:
    """A label selector as a record."""
    equal = (
        Requirement(key, "In", (value,)) for key, value in sorted((seen.match_labels or {}).items())
    )
    return LabelSelector((*equal, *map(requirement, seen.match_expressions or ())))


def node_terms(required: wire.NodeSelector | None) -> NodeTerms:
    """A node selector, of a pod's affinity or of a volume's, as records."""
    return tuple(_term(term) for term in (required and required.node_selector_terms) or ())


def requirement(expression: wire.Expression) -> Requirement:
    """A match expression as a record."""
    return Requirement(expression.key, expression.operator, tuple(expression.values or ()))


_Sorted = tuple[tuple[str, int], ...]
_SHAPES: Interner[bytes, PodShape] = Interner(limit=4096)
_RESOURCES = msgspec.json.Decoder(wire.Resources | None)
_QUANTITIES = msgspec.json.Decoder(wire.Quantities)
_LABELS = msgspec.json.Decoder(wire.Labels)
_AFFINITY = msgspec.json.Decoder(wire.Affinity | None)
_TOLERATIONS = msgspec.json.Decoder(list[wire.Toleration] | None)


def _key(spec: wire.PodSpec) -> bytes:
    """Everything that ``_shape`` looks at; NUL cannot stand in JSON, so nothing runs together."""
    parts = [spec.node_selector, spec.affinity, spec.tolerations, spec.overhead, spec.resources]
    parts += [container.resources for container in spec.containers or ()]
    for container in spec.init_containers or ():
        parts += (_SIDECAR if _is_sidecar(container) else _INIT, container.resources)
    return b"\0".join(parts)


_SIDECAR, _INIT = msgspec.Raw(b"sidecar"), msgspec.Raw(b"init")


def _is_sidecar(container: wire.Container) -> bool:
    return container.restart_policy == "Always"


def _shape(spec: wire.PodSpec) -> PodShape:
    requests = _pod_requests(spec)
    return PodShape(
        cpu_millis=requests.get("cpu", 0),
        memory_bytes=requests.get("memory", 0),
        other=other(requests),
        node_selector=tuple(sorted((_LABELS.decode(spec.node_selector) or {}).items())),
        node_terms=_affinity(spec.affinity),
        tolerations=tuple(
            Toleration(
                toleration.key or "",
                toleration.operator or "Equal",
                toleration.value or "",
                toleration.effect or "",
            )
            for toleration in _TOLERATIONS.decode(spec.tolerations) or ()
        ),
        anti_affinity=_anti_affinity(spec.affinity),
    )


def _pod_requests(spec: wire.PodSpec) -> ResourceList:
    return pod_requests(
        (_requests(container.resources) for container in spec.containers or ()),
        (
            InitContainer(_requests(container.resources), _is_sidecar(container))
            for container in spec.init_containers or ()
        ),
        pod_level=_requests(spec.resources),
        overhead=parse_resource_list(_QUANTITIES.decode(spec.overhead)),
    )


def _requests(raw: msgspec.Raw) -> ResourceList:
    resources = _RESOURCES.decode(raw) or wire.Resources()
    return effective_requests(resources.requests, resources.limits)


def _affinity(affinity: msgspec.Raw) -> NodeTerms:
    node = (_AFFINITY.decode(affinity) or wire.Affinity()).node_affinity
    return node_terms(node.required_during_scheduling_ignored_during_execution if node else None)


def _anti_affinity(affinity: msgspec.Raw) -> tuple[tuple[str, LabelSelector], ...]:
    """Of the own namespace's pods: terms that name namespaces are read as if they did not."""
    pods = (_AFFINITY.decode(affinity) or wire.Affinity()).pod_anti_affinity
    terms = (pods and pods.required_during_scheduling_ignored_during_execution) or ()
    return tuple(
        (term.topology_key, selector(term.label_selector))
        for term in terms
        if term.label_selector is not None
    )


def _term(term: wire.NodeSelectorTerm) -> tuple[Requirement, ...]:
    """The expressions of a term; fields of a node are no labels, and so match none of ours."""
    expressions = [*(term.match_expressions or ()), *(term.match_fields or ())]
    return tuple(map(requirement, expressions)) or (NEVER,)
