"""What the scheduler must find for a pod, out of its spec."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from spotalis.kube import quantity, wire
from spotalis.kube.interner import Interner
from spotalis.model.objects import LabelSelector, NodeTerms, PodShape, Requirement, Toleration

Amounts = dict[str, int]
"""Resource name to amount: millicores of ``cpu``, units (bytes) of everything else."""

NEVER = Requirement("", "In")
"""Matches no labels at all."""


def shape_of(spec: wire.PodSpec) -> PodShape:
    """The shape of a pod with this spec; the same object for specs of the same bytes."""
    key = _key(spec)
    return _SHAPES.get(key) or _SHAPES.keep(key, _shape(spec))


def amounts(quantities: wire.Quantities) -> Amounts:
    """The parsed quantities."""
    return {
        name: quantity.parse(written, parts=1000 if name == "cpu" else 1)
        for name, written in (quantities or {}).items()
    }


def other(amounts: Amounts, *, besides: tuple[str, ...] = ("cpu", "memory")) -> _Sorted:
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
    requests = _requests(spec)
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
        apart=_apart(spec.affinity),
    )


def _requests(spec: wire.PodSpec) -> Amounts:
    """The scheduler's rule: what runs at once, or the largest moment of initialisation."""
    running = _sum(_container_requests(container.resources) for container in spec.containers or ())
    sidecars: Amounts = {}
    highest: Amounts = {}
    for container in spec.init_containers or ():
        wanted = _container_requests(container.resources)
        if _is_sidecar(container):
            running = _sum((running, wanted))
            sidecars = _sum((sidecars, wanted))
            highest = _largest(highest, sidecars)
        else:
            highest = _largest(highest, _sum((sidecars, wanted)))
    total = _largest(running, highest)
    total |= _container_requests(spec.resources)  # said for the pod as a whole
    return _sum((total, amounts(_QUANTITIES.decode(spec.overhead))))


def _container_requests(raw: msgspec.Raw) -> Amounts:
    """Requests; a limit without a request is one (the API's default, absent in templates)."""
    resources = _RESOURCES.decode(raw) or wire.Resources()
    return amounts(resources.limits) | amounts(resources.requests)


def _sum(parts: Iterable[Amounts]) -> Amounts:
    total: Amounts = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0) + amount
    return total


def _largest(one: Amounts, another: Amounts) -> Amounts:
    return {k: max(one.get(k, 0), another.get(k, 0)) for k in one.keys() | another.keys()}


def _affinity(affinity: msgspec.Raw) -> NodeTerms:
    node = (_AFFINITY.decode(affinity) or wire.Affinity()).node_affinity
    return node_terms(node.required_during_scheduling_ignored_during_execution if node else None)


def _apart(affinity: msgspec.Raw) -> tuple[tuple[str, LabelSelector], ...]:
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
