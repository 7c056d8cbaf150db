"""Classify nodes by their labels: each provider has a group of ordered rules.

See docs/reference/behaviour.md, "Which node is which".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import TypeAlias

from spotalis.model.objects import PodShape, Requirement, Toleration


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

KnownNode: TypeAlias = tuple[Mapping[str, str], NodeType]
"""The labels of a node that exists, with its ``metadata.name`` among them, and its type."""

POOL_KEYS = frozenset(
    {
        "metadata.name",
        "kubernetes.io/hostname",
        "cloud.google.com/gke-nodepool",
        "eks.amazonaws.com/nodegroup",
        "alpha.eksctl.io/nodegroup-name",
        "kubernetes.azure.com/agentpool",
        "agentpool",
        "kops.k8s.io/instancegroup",
    }
)
"""Labels, and one field, that name a host or a pool whose nodes all have one capacity type:
providers set it for the whole pool."""

_NAMES = POOL_KEYS | {
    "karpenter.sh/nodepool",
    "karpenter.sh/provisioner-name",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
}
"""Labels whose value names a host, a pool or an instance type."""

_GENERAL = frozenset(
    {
        *(f"{domain}kubernetes.io/{key}" for domain in ("", "beta.") for key in ("arch", "os")),
        *(f"failure-domain.beta.kubernetes.io/{key}" for key in ("zone", "region")),
        "node.kubernetes.io/windows-build",
    }
)
_GENERAL_PREFIXES = ("topology.", "karpenter.k8s.")
"""Labels of platform, place and hardware: nodes of both types have them sooner or later. (Karpenter
describes hardware under ``karpenter.k8s.aws/`` and its siblings.)"""

NODE_POOL = "karpenter.sh/nodepool"
"""A label of every node that Karpenter adds (karpenter.sh/docs/concepts/scheduling)."""

_ANY_OTHER_VALUE = "\x00some other value"


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
                terms.append(_all_of(only, *excluded))
            else:  # also matches nodes without the label, of any provider
                terms.append(_all_of(marker, only, *excluded))
        if node_type is NodeType.ON_DEMAND and self.otherwise_on_demand:
            terms.append(_all_of(marker, *(_negated(rule.requirement) for rule in self.rules)))
        return tuple(term for term in terms if term is not None)

    @property
    def uncovered_terms(self) -> tuple[tuple[Requirement, ...], ...]:
        """Node affinity terms that match exactly the nodes that this group does not cover."""
        unmarked = (Requirement(key=self.marker, operator="DoesNotExist"),)
        if self.otherwise_on_demand:
            return (unmarked,)
        no_rule = tuple(_negated(rule.requirement) for rule in self.rules)
        if self.keys == {self.marker}:
            return (no_rule,)  # an absent label has none of the values either
        return (unmarked, no_rule)


def _negated(requirement: Requirement) -> Requirement:
    opposite = {"In": "NotIn", "NotIn": "In", "Exists": "DoesNotExist", "DoesNotExist": "Exists"}
    return Requirement(
        key=requirement.key, operator=opposite[requirement.operator], values=requirement.values
    )


def _all_of(*requirements: Requirement) -> tuple[Requirement, ...] | None:
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


@dataclass(frozen=True, slots=True)
class Pin:
    """Constraints that bind a pod to one capacity type; added when the pod is admitted."""

    node_selector: tuple[tuple[str, str], ...] = ()
    terms: tuple[tuple[Requirement, ...], ...] = ()
    """Alternatives; combined with each of the pod's own terms (AND)."""
    tolerations: tuple[Toleration, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeClassification:
    """The provider groups in order; the first that covers a node decides."""

    groups: tuple[ProviderGroup, ...]
    named: frozenset[str] = frozenset()
    """Groups named in the settings: pins include them even if no node matches."""
    extra_spot_tolerations: tuple[Toleration, ...] = ()

    def classify(self, labels: Mapping[str, str]) -> NodeType:
        """The type of a node with these labels; unknown if no group covers it."""
        for group in self.groups:
            answer = group.classify(labels)
            if answer is not NodeType.UNKNOWN:
                return answer
        return NodeType.UNKNOWN

    def group_of(self, labels: Mapping[str, str]) -> ProviderGroup | None:
        """The group that covers a node with these labels."""
        for group in self.groups:
            if group.classify(labels) is not NodeType.UNKNOWN:
                return group
        return None

    def pin(self, node_type: NodeType, groups: tuple[ProviderGroup, ...]) -> Pin | None:
        """The constraints that bind a pod to ``node_type``; None if ``groups`` is empty.

        A node selector if one key with one value decides, else required node affinity with one or
        more terms per group. Each group's terms exclude the nodes that an earlier group covers.
        Tolerations are added for spot only.
        """
        if not groups:
            return None
        terms = _terms(node_type, groups)
        if not terms:
            return None
        tolerations: tuple[Toleration, ...] = ()
        if node_type is NodeType.SPOT:
            wanted = [t for group in groups for t in group.spot_tolerations]
            wanted += self.extra_spot_tolerations
            tolerations = tuple(dict.fromkeys(wanted))
        if len(terms) == 1 and len(terms[0]) == 1:
            only = terms[0][0]
            if only.operator == "In" and len(only.values) == 1:
                return Pin(node_selector=((only.key, only.values[0]),), tolerations=tolerations)
        return Pin(terms=terms, tolerations=tolerations)

    def pinned_to(self, shape: PodShape, known: Sequence[KnownNode] = ()) -> NodeType:
        """The only capacity type on whose nodes a pod of this shape may run; unknown if none.

        Each alternative of the node selector and the required affinity is judged by the rules of
        the groups, and where these allow both types, by the known nodes that it selects. An
        alternative that no node can satisfy is ignored.
        """
        selector = tuple(
            Requirement(key=key, operator="In", values=(value,))
            for key, value in shape.node_selector
        )
        possible: set[NodeType] = set()
        for term in shape.node_terms or ((),):
            possible |= self._possible_types((*selector, *term), known)
        return possible.pop() if len(possible) == 1 else NodeType.UNKNOWN

    def _possible_types(
        self, requirements: tuple[Requirement, ...], known: Sequence[KnownNode]
    ) -> Set[NodeType]:
        """The types on which a pod with these requirements may run; empty: no node at all."""
        by_rules = types_by_rules(self.groups, requirements)
        if len(by_rules) < len(KNOWN_TYPES):
            return by_rules
        rule_keys = frozenset(key for group in self.groups for key in group.keys)
        return types_of_named_nodes(requirements, known, rule_keys) or by_rules


def _terms(
    node_type: NodeType, groups: Iterable[ProviderGroup]
) -> tuple[tuple[Requirement, ...], ...]:
    """Terms that match exactly the nodes that these groups, in order, classify as ``node_type``."""
    terms: list[tuple[Requirement, ...] | None] = []
    uncovered: list[tuple[Requirement, ...]] = [()]
    for group in groups:
        own = group.terms(node_type)
        terms += [_all_of(*term, *before) for term in own for before in uncovered]
        uncovered = [(*term, *more) for term in uncovered for more in group.uncovered_terms]
    return tuple(dict.fromkeys(term for term in terms if term is not None))


def types_by_rules(
    groups: Iterable[ProviderGroup], requirements: Sequence[Requirement]
) -> Set[NodeType]:
    """The types of the nodes that labels could describe and that satisfy all requirements.

    Only the groups whose labels are mentioned are considered, and nodes of unknown type are
    ignored: "not spot" by one provider's label means that provider's on-demand nodes.

    Returns:
        Both types if the rules do not tell; empty if the requirements contradict each other.
    """
    mentioned = [
        group
        for group in groups
        if any(r.key in group.keys or r.key == group.marker for r in requirements)
    ]
    keys = {key for group in mentioned for key in (group.marker, *group.keys)}
    values = {
        key: _distinct_values(key, mentioned, requirements)
        for key in sorted(keys | {r.key for r in requirements})
    }
    if not all(values.values()):
        return frozenset()
    answers = [_joint_answers(part, mentioned, values) for part in _independent(mentioned)]
    found = {
        node_type
        for position in range(len(mentioned))
        for node_type in KNOWN_TYPES
        if all(_may_decide(part, position, node_type) for part in answers)
    }
    return found or KNOWN_TYPES


_Answers: TypeAlias = Set[tuple[tuple[int, NodeType], ...]]
"""What groups that share label keys can answer together: each by its position."""


def _may_decide(answers: _Answers, position: int, node_type: NodeType) -> bool:
    """Whether no group before ``position`` need give an answer, while that one answers so."""
    return any(
        all(
            answer is (node_type if at == position else NodeType.UNKNOWN)
            for at, answer in joint
            if at <= position
        )
        for joint in answers
    )


def _independent(groups: Sequence[ProviderGroup]) -> list[list[int]]:
    """The positions of the groups, together where groups share label keys."""
    parts: list[tuple[set[str], list[int]]] = []
    for position, group in enumerate(groups):
        keys, members = {group.marker, *group.keys}, [position]
        for other in [part for part in parts if part[0] & keys]:
            keys, members = keys | other[0], other[1] + members
            parts.remove(other)
        parts.append((keys, members))
    return [members for _, members in parts]


def _joint_answers(
    positions: Sequence[int],
    groups: Sequence[ProviderGroup],
    values: Mapping[str, Sequence[str | None]],
) -> _Answers:
    """The answers of these groups for all combinations of the values of their keys."""
    keys = sorted({key for at in positions for key in (groups[at].marker, *groups[at].keys)})
    nodes = (
        {key: value for key, value in zip(keys, chosen, strict=True) if value is not None}
        for chosen in product(*(values[key] for key in keys))
    )
    return {tuple((at, groups[at].classify(node)) for at in positions) for node in nodes}


def _distinct_values(
    key: str, groups: Sequence[ProviderGroup], requirements: Sequence[Requirement]
) -> list[str | None]:
    """The values of a label that meet the requirements, one of those that no rule distinguishes.

    None stands for a node without the label.
    """
    rules = [rule.requirement for g in groups for rule in g.rules if rule.requirement.key == key]
    own = [r for r in requirements if r.key == key]
    named = [value for r in (*rules, *own) for value in r.values]
    if any(r.operator in ("Gt", "Lt") for r in own):
        numbers = [int(value) for value in named if value.lstrip("-").isdecimal()]
        named += [str(number + step) for number in numbers for step in (-1, 1)]
    chosen: dict[tuple[bool, ...], str | None] = {}
    for value in (None, *named, _ANY_OTHER_VALUE):
        node = {} if value is None else {key: value}
        if all(r.matches(node) for r in own):
            chosen.setdefault((value is None, *(r.matches(node) for r in rules)), value)
    return list(chosen.values())


def types_of_named_nodes(
    requirements: Sequence[Requirement], known: Sequence[KnownNode], rule_keys: Set[str]
) -> Set[NodeType]:
    """The type of the known nodes that the requirements select, if all of them have one type.

    Empty if the nodes do not tell: the requirements select no nodes by name, none of those exist,
    both types are among them, or nodes of the other type may only be missing at the moment.

    Args:
        rule_keys: labels of capacity types; they name no nodes.
    """
    selecting = [r for r in requirements if not _is_general(r.key)]
    naming = [r for r in selecting if r.key not in rule_keys and r.operator != "Exists"]
    if not naming:
        return frozenset()
    selected = [node for node in known if all(r.matches(node[0]) for r in selecting)]
    types = {node_type for _, node_type in selected} & KNOWN_TYPES
    if len(types) != 1:
        return frozenset()
    if not any(r.key in _NAMES for r in naming) and all(NODE_POOL in n for n, _ in selected):
        return frozenset()  # Karpenter may add nodes of the other type with the same labels.
    if any(r.key in POOL_KEYS and r.operator == "In" for r in naming):
        return types
    return types if any(node_type in KNOWN_TYPES - types for _, node_type in known) else frozenset()


def _is_general(key: str) -> bool:
    return key in _GENERAL or key.startswith(_GENERAL_PREFIXES)
