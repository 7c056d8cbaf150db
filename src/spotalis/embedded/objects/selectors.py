"""Label selectors, node selectors, taints and tolerations, evaluated as Kubernetes does.

These rules decide what the embedded cluster does, and so what Spotalis is tested against. They are
written independently of ``spotalis.model.objects`` on purpose: a wrong rule there must not be
wrong here too. The conformance scripts compare them with a real control plane.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from spotalis.embedded.objects.resources import Object


@dataclass(frozen=True, slots=True)
class Requirement:
    """One match expression of a label selector or a node selector term."""

    key: str
    operator: str
    """``In``, ``NotIn``, ``Exists``, ``DoesNotExist``, ``Gt`` or ``Lt``."""
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether ``labels`` satisfy the expression; ``NotIn`` accepts an absent key."""
        present = self.key in labels
        match self.operator:
            case "Exists":
                return present
            case "DoesNotExist":
                return not present
            case "In":
                return present and labels[self.key] in self.values
            case "NotIn":
                return not present or labels[self.key] not in self.values
            case "Gt" | "Lt" if present and len(self.values) == 1:
                return _compare(self.operator, labels[self.key], self.values[0])
        return False


def _compare(operator: str, label: str, bound: str) -> bool:
    try:
        number, limit = int(label), int(bound)
    except ValueError:
        return False
    return number > limit if operator == "Gt" else number < limit


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """A ``metav1.LabelSelector``; an empty one matches every object."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether ``labels`` satisfy every requirement."""
        return all(one.matches(labels) for one in self.requirements)


@dataclass(frozen=True, slots=True)
class NodeTerm:
    """One term of a node selector: expressions over labels and fields, all of which must match."""

    expressions: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()
    """``matchFields``; the API allows ``metadata.name`` only."""

    def matches(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether the node matches; a term without requirements matches no node."""
        if not self.expressions and not self.fields:
            return False
        return all(one.matches(labels) for one in self.expressions) and all(
            one.matches({"metadata.name": name}) for one in self.fields
        )

    @property
    def node_names(self) -> frozenset[str] | None:
        """The nodes that the fields name; None if they do not restrict the name."""
        named = [set(one.values) for one in self.fields if one.operator == "In"]
        return frozenset(set.intersection(*named)) if named else None


@dataclass(frozen=True, slots=True)
class NodeSelector:
    """A ``v1.NodeSelector``: a node matches if any term does."""

    terms: tuple[NodeTerm, ...] = ()

    def matches(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether the node matches one of the terms."""
        return any(term.matches(name, labels) for term in self.terms)

    @property
    def node_names(self) -> frozenset[str] | None:
        """The nodes that the terms name; None if a term does not restrict the name."""
        named = [term.node_names for term in self.terms]
        if not named or None in named:
            return None
        return frozenset().union(*(names for names in named if names is not None))


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint of a node."""

    key: str
    value: str = ""
    effect: str = ""


@dataclass(frozen=True, slots=True)
class Toleration:
    """A toleration of a pod."""

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""

    def tolerates(self, taint: Taint) -> bool:
        """Whether it tolerates the taint; an empty key or effect matches any."""
        if self.effect not in ("", taint.effect) or self.key not in ("", taint.key):
            return False
        return self.operator == "Exists" or (
            self.operator in ("", "Equal") and self.value == taint.value
        )


def tolerates_all(tolerations: Iterable[Toleration], taints: Iterable[Taint]) -> bool:
    """Whether each of the taints is tolerated."""
    known = tuple(tolerations)
    return all(any(one.tolerates(taint) for one in known) for taint in taints)


def label_selector(written: Mapping[str, Any] | None) -> LabelSelector | None:
    """Read a ``metav1.LabelSelector``; None, which selects nothing, if it is absent."""
    if written is None:
        return None
    equal = [
        Requirement(key, "In", (value,))
        for key, value in (written.get("matchLabels") or {}).items()
    ]
    return LabelSelector((*equal, *_requirements(written.get("matchExpressions"))))


def node_selector(written: Mapping[str, Any] | None) -> NodeSelector | None:
    """Read a ``v1.NodeSelector``; None, which every node satisfies, if it is absent."""
    if written is None:
        return None
    return NodeSelector(tuple(node_term(term) for term in written.get("nodeSelectorTerms") or ()))


def node_term(written: Object) -> NodeTerm:
    """Read a ``v1.NodeSelectorTerm``."""
    return NodeTerm(
        expressions=_requirements(written.get("matchExpressions")),
        fields=_requirements(written.get("matchFields")),
    )


def taints_of(node: Object) -> tuple[Taint, ...]:
    """Read ``spec.taints`` of a node."""
    return tuple(
        Taint(key=one["key"], value=one.get("value") or "", effect=one["effect"])
        for one in (node.get("spec") or {}).get("taints") or ()
    )


def toleration(written: Object) -> Toleration:
    """Read a ``v1.Toleration``."""
    return Toleration(
        key=written.get("key") or "",
        operator=written.get("operator") or "",
        value=written.get("value") or "",
        effect=written.get("effect") or "",
    )


def tolerations_of(pod: Object) -> tuple[Toleration, ...]:
    """Read ``spec.tolerations`` of a pod."""
    return tuple(toleration(one) for one in pod["spec"].get("tolerations") or ())


def format_selector(written: Mapping[str, Any] | None) -> str:
    """A ``metav1.LabelSelector`` as text, keys in order, as the scale subresource shows it."""
    parts = []
    requirements = (label_selector(written) or LabelSelector()).requirements
    for one in sorted(requirements, key=lambda requirement: requirement.key):
        values = ",".join(sorted(one.values))
        match one.operator:
            case "In" if len(one.values) == 1:
                parts.append(f"{one.key}={values}")
            case "In":
                parts.append(f"{one.key} in ({values})")
            case "NotIn":
                parts.append(f"{one.key} notin ({values})")
            case "Exists":
                parts.append(one.key)
            case _:
                parts.append(f"!{one.key}")
    return ",".join(parts)


def _requirements(written: Iterable[Object] | None) -> tuple[Requirement, ...]:
    return tuple(
        Requirement(one["key"], one["operator"], tuple(one.get("values") or ()))
        for one in written or ()
    )
