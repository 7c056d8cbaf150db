"""Capacity types, and the groups of rules by which each provider labels its nodes.

See docs/reference/behaviour.md, "Which node is which".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from spotalis.model.objects import Requirement, Toleration


class NodeType(StrEnum):
    """The capacity type of a node; the values are Karpenter's."""

    SPOT = "spot"
    ON_DEMAND = "on-demand"
    UNKNOWN = "unknown"

    @property
    def other(self) -> NodeType:
        """The opposite type; unknown for unknown."""
        match self:
            case NodeType.SPOT:
                return NodeType.ON_DEMAND
            case NodeType.ON_DEMAND:
                return NodeType.SPOT
            case NodeType.UNKNOWN:
                return NodeType.UNKNOWN


KNOWN_TYPES = frozenset({NodeType.SPOT, NodeType.ON_DEMAND})


@dataclass(frozen=True, slots=True)
class NodeRule:
    """A label requirement that identifies nodes of one capacity type."""

    node_type: NodeType
    requirement: Requirement


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderGroup:
    """The rules for one provider's nodes."""

    name: str
    marker: str
    """A label that all nodes of this provider have; other nodes are ignored."""
    rules: tuple[NodeRule, ...]
    """The first matching rule decides."""
    otherwise_on_demand: bool = False
    """Nodes with the marker that match no rule are on-demand (only spot nodes are labelled)."""
    spot_tolerations: tuple[Toleration, ...] = ()
    """Tolerations that pods need on this provider's spot nodes."""
    api_group: str = ""
    """The API group of the autoscaler that adds this provider's nodes; empty if none is known. The
    autoscaler may add nodes as long as the API server serves the group."""

    def classify(self, labels: Mapping[str, str]) -> NodeType:
        """The type of a node with these labels; unknown if this group does not cover it."""
        if self.marker not in labels:
            return NodeType.UNKNOWN
        for rule in self.rules:
            if rule.requirement.matches(labels):
                return rule.node_type
        return NodeType.ON_DEMAND if self.otherwise_on_demand else NodeType.UNKNOWN

    @property
    def keys(self) -> frozenset[str]:
        """The label keys of the rules."""
        return frozenset(rule.requirement.key for rule in self.rules)

    def terms(self, node_type: NodeType) -> tuple[tuple[Requirement, ...], ...]:
        """Node affinity terms that match exactly this group's nodes of one capacity type.

        A node matches if all expressions of at least one term hold. Each term excludes the earlier
        rules of the other type, because the first rule decides. ``otherwise_on_demand`` adds a term
        with the marker and without the labels of all rules.
        """
        terms: list[tuple[Requirement, ...] | None] = []
        excluded: list[Requirement] = []
        marker = Requirement(key=self.marker, operator="Exists")
        for rule in self.rules:
            only = rule.requirement
            if rule.node_type is not node_type:
                excluded.append(_negated(only))
            elif only.operator in ("In", "Exists"):
                terms.append(all_of(only, *excluded))
            else:  # also matches nodes without the label, of any provider
                terms.append(all_of(marker, only, *excluded))
        if node_type is NodeType.ON_DEMAND and self.otherwise_on_demand:
            terms.append(all_of(marker, *(_negated(rule.requirement) for rule in self.rules)))
        return tuple(term for term in terms if term is not None)

    @property
    def uncovered_terms(self) -> tuple[tuple[Requirement, ...], ...]:
        """Node affinity terms that match exactly the nodes that this group does not cover.

        The last one is for nodes without the marker, such as those of another provider.
        """
        unmarked = (Requirement(key=self.marker, operator="DoesNotExist"),)
        if self.otherwise_on_demand:
            return (unmarked,)
        no_rule = tuple(_negated(rule.requirement) for rule in self.rules)
        if self.keys == {self.marker}:
            return (no_rule,)  # an absent label has none of the values either
        return (no_rule, unmarked)


def _negated(requirement: Requirement) -> Requirement:
    opposite = {"In": "NotIn", "NotIn": "In", "Exists": "DoesNotExist", "DoesNotExist": "Exists"}
    return Requirement(
        key=requirement.key, operator=opposite[requirement.operator], values=requirement.values
    )


def all_of(*requirements: Requirement) -> tuple[Requirement, ...] | None:
    """One term of all requirements, simplified; None if no node can match it."""
    listed = {r.key: r for r in requirements if r.operator == "In"}
    term: list[Requirement] = []
    for requirement in dict.fromkeys(requirements):
        key = requirement.key
        if key not in listed:
            term.append(requirement)
        elif requirement == listed[key]:
            same = [r for r in requirements if r.key == key]
            left = tuple(v for v in requirement.values if all(r.matches({key: v}) for r in same))
            if not left:
                return None
            term.append(Requirement(key=key, operator="In", values=left))
    return tuple(term)
