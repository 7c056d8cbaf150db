"""The capacity types on which a pod with given node requirements can run.

See docs/reference/behaviour.md, "Which node is which".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import product
from typing import TypeAlias

from spotalis.model.nodes import KNOWN_TYPES, NodeType, ProviderGroup
from spotalis.model.objects import NODE_NAME_FIELD, PodShape, Requirement, find_integer

KnownNode: TypeAlias = tuple[Mapping[str, str], NodeType]
"""The labels of a node that exists, with its ``metadata.name`` among them, and its type."""

POOL_KEYS = frozenset(
    {
        NODE_NAME_FIELD,
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

COMPUTE_CLASS = "cloud.google.com/compute-class"
"""A label of the nodes that GKE adds for a ComputeClass: a list of kinds of machines, spot or not,
that GKE tries in order (cloud.google.com/kubernetes-engine/docs/concepts/about-compute-classes).
Hard selectors beside it can conflict with the class, so that GKE adds no node
(GoogleCloudPlatform/gke-mcp, skills/gke-compute-class-creator)."""

_GENERAL = frozenset(
    {
        *(f"{domain}kubernetes.io/{key}" for domain in ("", "beta.") for key in ("arch", "os")),
        *(f"failure-domain.beta.kubernetes.io/{key}" for key in ("zone", "region")),
        "node.kubernetes.io/windows-build",
        COMPUTE_CLASS,
    }
)
_GENERAL_PREFIXES = ("topology.", "karpenter.k8s.")
"""Labels of platform, place and hardware: nodes of both types have them sooner or later. (Karpenter
describes hardware under ``karpenter.k8s.aws/`` and its siblings.)"""

NODE_POOL = "karpenter.sh/nodepool"
"""A label of every node that Karpenter adds (karpenter.sh/docs/concepts/scheduling)."""

NodePool: TypeAlias = tuple[str, tuple[Requirement, ...]]
"""A NodePool of Karpenter: its name, and what it requires of its nodes."""

_ANY_OTHER_VALUE = "\x00some other value"


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
        numbers = [n for value in named if (n := find_integer(value)) is not None]
        named += [str(number + step) for number in numbers for step in (-1, 1)]
    chosen: dict[tuple[bool, ...], str | None] = {}
    for value in (None, *named, _ANY_OTHER_VALUE):
        node = {} if value is None else {key: value}
        if all(r.matches(node) for r in own):
            chosen.setdefault((value is None, *(r.matches(node) for r in rules)), value)
    return list(chosen.values())


def requirements_of_named_pools(
    requirements: Sequence[Requirement], node_pools: Iterable[NodePool]
) -> list[tuple[Requirement, ...]]:
    """What the NodePools require whose nodes are the only ones that the requirements select."""
    named = [r for r in requirements if r.key == NODE_POOL]
    if not any(r.operator in ("In", "Exists") for r in named):
        return []
    return [pool for name, pool in node_pools if all(r.matches({NODE_POOL: name}) for r in named)]


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


def selects_compute_class(shape: PodShape) -> bool:
    """Whether a pod asks for the nodes of a GKE ComputeClass, in at least one alternative."""
    return any(key == COMPUTE_CLASS for key, _ in shape.node_selector) or any(
        requirement.key == COMPUTE_CLASS and requirement.operator in ("In", "Exists")
        for term in shape.node_terms
        for requirement in term
    )


def _is_general(key: str) -> bool:
    return key in _GENERAL or key.startswith(_GENERAL_PREFIXES)
