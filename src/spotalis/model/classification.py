"""Classify nodes by the provider groups in order, and pin pods to a capacity type.

See docs/reference/behaviour.md, "Which node is which".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

import msgspec

from spotalis.model.nodes import KNOWN_TYPES, NodeType, ProviderGroup, all_of
from spotalis.model.objects import PodShape, Requirement, Toleration
from spotalis.model.possible_types import (
    KnownNode,
    NodePool,
    requirements_of_named_pools,
    types_by_rules,
    types_of_named_nodes,
)


@dataclass(frozen=True, slots=True)
class Pin:
    """Constraints that bind a pod to one capacity type; added when the pod is admitted."""

    node_selector: tuple[tuple[str, str], ...] = ()
    terms: tuple[tuple[Requirement, ...], ...] = ()
    """Alternatives; combined with each of the pod's own terms (AND)."""
    tolerations: tuple[Toleration, ...] = ()


_PRESENCE = frozenset({"Exists", "DoesNotExist"})


@dataclass(frozen=True, slots=True)
class NodeClassification:
    """The provider groups in order; the first that covers a node decides."""

    groups: tuple[ProviderGroup, ...]
    named: frozenset[str] = frozenset()
    """Groups named in the settings: always in use."""
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

    def in_use(
        self, seen: Set[str], served: Mapping[str, bool], remembered: Set[str]
    ) -> tuple[ProviderGroup, ...]:
        """The groups whose nodes exist or may be added.

        Args:
            seen: names of the groups that decide for at least one node.
            served: whether the API server serves an API group; absent if it has not answered yet.
            remembered: names of the groups that were in use before. The memory does not matter for
                a group whose API is known to be served or not.
        """
        return tuple(
            group
            for group in self.groups
            if group.name in seen
            or group.name in self.named
            or served.get(group.api_group, group.name in remembered)
        )

    def pin(self, node_type: NodeType, groups: tuple[ProviderGroup, ...]) -> Pin | None:
        """The constraints that bind a pod to ``node_type``; None if ``groups`` is empty.

        A node selector if one key with one value decides, else required node affinity with one or
        more terms per group. Each group's terms exclude the nodes that an earlier group covers, and
        those of groups with an API come last.
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

    def pinned_to(
        self,
        shape: PodShape,
        known: Sequence[KnownNode] = (),
        node_pools: Sequence[NodePool] = (),
    ) -> NodeType:
        """The only capacity type on whose nodes a pod of this shape may run; unknown if none.

        Each alternative of the node selector and the required affinity is judged by the rules of
        the groups, and where these allow both types, by the NodePools or else the known nodes that
        it selects. An alternative that no node can satisfy is ignored.
        """
        selector = tuple(
            Requirement(key=key, operator="In", values=(value,))
            for key, value in shape.node_selector
        )
        possible: set[NodeType] = set()
        for term in shape.node_terms or ((),):
            possible |= self._possible_types((*selector, *term), known, node_pools)
        return possible.pop() if len(possible) == 1 else NodeType.UNKNOWN

    def without_pins(self, shape: PodShape) -> PodShape:
        """The shape without what pins add, whatever groups were in use when the pod was admitted.

        A pod template that selects a capacity type itself loses that too.
        """
        rule_keys = frozenset(key for group in self.groups for key in group.keys)
        markers = frozenset(group.marker for group in self.groups)

        def is_own(requirement: Requirement) -> bool:
            is_marker = requirement.key in markers and requirement.operator in _PRESENCE
            return requirement.key not in rule_keys and not is_marker

        terms = [tuple(filter(is_own, term)) for term in shape.node_terms]
        return msgspec.structs.replace(
            shape,
            node_selector=tuple(one for one in shape.node_selector if one[0] not in rule_keys),
            node_terms=tuple(dict.fromkeys(terms)) if all(terms) else (),
        )

    def _possible_types(
        self,
        requirements: tuple[Requirement, ...],
        known: Sequence[KnownNode],
        node_pools: Sequence[NodePool],
    ) -> Set[NodeType]:
        """The types on which a pod with these requirements may run; empty: no node at all."""
        by_rules = types_by_rules(self.groups, requirements)
        if len(by_rules) < len(KNOWN_TYPES):
            return by_rules
        if pools := requirements_of_named_pools(requirements, node_pools):
            by_pool = (types_by_rules(self.groups, (*requirements, *pool)) for pool in pools)
            return frozenset().union(*by_pool)
        rule_keys = frozenset(key for group in self.groups for key in group.keys)
        return types_of_named_nodes(requirements, known, rule_keys) or by_rules


def _terms(
    node_type: NodeType, groups: Iterable[ProviderGroup]
) -> tuple[tuple[Requirement, ...], ...]:
    """Terms that match exactly the nodes that these groups, in order, classify as ``node_type``.

    Karpenter considers one required term at a time. If the pod does not fit, it drops the first
    term, then the next one; the last term stays, and only then does it drop what the pod prefers
    (kubernetes-sigs/karpenter, pkg/controllers/provisioning/scheduling/preferences.go). A pod with
    a preference that cannot be met therefore gets a node only by its last term.
    """
    terms: list[tuple[Requirement, ...] | None] = []
    last: list[tuple[Requirement, ...] | None] = []
    uncovered: list[tuple[Requirement, ...]] = [()]
    for group in groups:
        own = group.terms(node_type)
        found = [all_of(*term, *before) for term in own for before in uncovered]
        (last if group.api_group else terms).extend(found)
        uncovered = [(*term, *more) for term in uncovered for more in group.uncovered_terms]
    return tuple(dict.fromkeys(term for term in (*terms, *last) if term is not None))
