"""Where required pod anti-affinity allows the next pods of a workload.

Tenants write the labels, selectors and terms that are compared here, so that each answer has a
limit. See docs/reference/behaviour.md, "Repair", "Capacity".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from spotalis.model.anti_affinity import AntiAffinityTerm
from spotalis.model.objects import Node, PodShape

MAX_COMPARISONS = 20_000
"""For one workload: about 10 ms, during which the event loop stands still."""
MAX_FOREIGN_COMPARISONS = 2_000
"""Of these terms, those of pods of other namespaces: their tenants write them."""
_READS_PER_COMPARISON = 16
"""To collect a node takes that much less time than to evaluate a requirement (measured)."""


class TooMuchWorkError(Exception):
    """The answer would take more comparisons than it may."""


class Effort:
    """Counts the comparisons of one answer."""

    def __init__(self, comparisons: int = MAX_COMPARISONS) -> None:
        """``comparisons`` is the limit."""
        self._left = comparisons

    def spend(self, comparisons: int) -> None:
        """Count comparisons.

        Raises:
            TooMuchWorkError: they exceed the limit.
        """
        self._left -= comparisons
        if self._left < 0:
            raise TooMuchWorkError


@dataclass(frozen=True, slots=True, kw_only=True)
class AntiAffinity:
    """Where the workload's required pod anti-affinity allows its next pods."""

    excluded: frozenset[tuple[str, str]] = frozenset()
    """Topology domains (label and value) that allow no such pod now."""
    exclusive_keys: tuple[str, ...] = ()
    """Labels in whose domains only one pod of the workload may run."""

    def allows(self, node: Node) -> bool:
        """Whether one more pod may run on the node. A node without the label has no domain."""
        return self.excluded.isdisjoint(node.labels.items())

    def after(self, node: Node) -> AntiAffinity:
        """The same once one more pod of the workload runs on the node."""
        if not self.exclusive_keys:
            return self
        more = {(key, node.labels[key]) for key in self.exclusive_keys if key in node.labels}
        return AntiAffinity(excluded=self.excluded | more, exclusive_keys=self.exclusive_keys)

    @property
    def comparisons(self) -> int:
        """How many comparisons :meth:`allows` and :meth:`after` together are as long as."""
        return 1 + len(self.excluded) // _READS_PER_COMPARISON


NO_ANTI_AFFINITY = AntiAffinity()


@dataclass(frozen=True, slots=True, kw_only=True)
class AvoidingPods:
    """Bound pods of a namespace with the same required anti-affinity."""

    namespace: str
    terms: tuple[AntiAffinityTerm, ...]
    nodes: dict[str, str] = field(default_factory=dict)
    """The name of the node of each, by the UID of the pod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The pods beside those of a workload, as its anti-affinity and theirs see them."""

    namespace: str
    """The namespace of the workload."""
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    present: Iterable[tuple[Node, Mapping[str, str]]] = ()
    """Node and labels of each other pod of the namespace."""
    avoiding: Sequence[AvoidingPods] = ()
    """The pods of all namespaces whose anti-affinity may concern the workload's."""
    moving: Set[str] = frozenset()
    """UIDs of pods that leave their node."""
    find_node: Callable[[str], Node | None] = lambda name: None
    """Finds a node by name."""


def anti_affinity(
    shape: PodShape, labels: Mapping[str, str], around: Surroundings, effort: Effort
) -> AntiAffinity:
    """Evaluate the required pod anti-affinity of pods of this shape, and that of other pods.

    Terms of other namespaces that exceed their limit are left out: a replica that they keep away
    waits, falls back, and later moves by probes.

    Args:
        shape, labels: of the workload's next pods.
        around: the other pods.
        effort: is spent.

    Raises:
        TooMuchWorkError: the pods of the workload's namespace take more comparisons.
    """
    excluded: set[tuple[str, str]] = set()
    for pods in around.avoiding:
        if pods.namespace == around.namespace:
            excluded.update(_domains(pods, labels, around, effort))
    foreign = Effort(MAX_FOREIGN_COMPARISONS)
    try:
        for pods in around.avoiding:
            if pods.namespace != around.namespace:
                excluded.update(_domains(pods, labels, around, foreign))
    except TooMuchWorkError:
        pass
    if shape.anti_affinity:
        excluded.update(_domains_to_avoid(shape, around, effort))
    exclusive = tuple(t.topology_key for t in shape.anti_affinity if t.selector.matches(labels))
    return AntiAffinity(excluded=frozenset(excluded), exclusive_keys=exclusive)


def _domains(
    pods: AvoidingPods, labels: Mapping[str, str], around: Surroundings, effort: Effort
) -> Iterator[tuple[str, str]]:
    """The domains in which these pods allow no pod of the workload."""
    keys = []
    for term in pods.terms:
        effort.spend(term.comparisons)
        concerned = term.concerns(around.namespace, around.namespace_labels, pods.namespace)
        if concerned and term.selector.matches(labels):
            keys.append(term.topology_key)
    if not keys:
        return
    names = {name for uid, name in pods.nodes.items() if uid not in around.moving}
    effort.spend(len(pods.nodes) // _READS_PER_COMPARISON)
    for node in filter(None, map(around.find_node, names)):
        yield from ((key, node.labels[key]) for key in keys if key in node.labels)


def _domains_to_avoid(
    shape: PodShape, around: Surroundings, effort: Effort
) -> Iterator[tuple[str, str]]:
    """The domains of the pods that the workload's own terms avoid."""
    # Pods of one template share their labels (kube/decode/pods.py).
    groups: dict[int, tuple[Mapping[str, str], dict[str, Node]]] = {}
    for node, labels in around.present:
        groups.setdefault(id(labels), (labels, {}))[1][node.name] = node
    for labels, nodes in groups.values():
        for term in shape.anti_affinity:
            effort.spend(term.comparisons)
            if term.selector.matches(labels):
                key = term.topology_key
                effort.spend(len(nodes) // _READS_PER_COMPARISON)
                yield from ((key, n.labels[key]) for n in nodes.values() if key in n.labels)
