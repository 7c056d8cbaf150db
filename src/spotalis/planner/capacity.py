"""Whether a replacement could land: room on the nodes of a class (behaviour.md 5, Capacity)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from spotalis.model.nodes import Pin
from spotalis.model.objects import Node, NodeTerms, PodShape, node_matches
from spotalis.planner.interruption import accepts_new_pods


@dataclass(slots=True)
class _Free:
    """What is left of one node while pods are put on it in thought."""

    node: Node
    cpu_millis: int
    memory_bytes: int
    pods: int
    other: dict[str, int]

    def take(self, shape: PodShape) -> bool:
        """Put one pod of this shape on it; False, and nothing taken, if it does not fit."""
        if self.pods < 1 or self.cpu_millis < shape.cpu_millis:
            return False
        if self.memory_bytes < shape.memory_bytes:
            return False
        if any(self.other.get(name, 0) < amount for name, amount in shape.other):
            return False
        self.pods -= 1
        self.cpu_millis -= shape.cpu_millis
        self.memory_bytes -= shape.memory_bytes
        for name, amount in shape.other:
            self.other[name] -= amount
        return True


def accepts(node: Node, shape: PodShape, pin: Pin | None = None) -> bool:
    """Whether the scheduler could bind a pod of this shape to the node, resources aside.

    ``pin`` adds the tolerations that a placed pod would carry.
    """
    if not node.ready or node.cordoned or not accepts_new_pods(node):
        return False
    tolerations = shape.tolerations + (pin.tolerations if pin else ())
    for taint in node.taints:
        if taint.effect == "PreferNoSchedule":
            continue
        if not any(toleration.tolerates(taint) for toleration in tolerations):
            return False
    if any(node.labels.get(key) != value for key, value in shape.node_selector):
        return False
    return node_matches(node.labels, shape.node_terms)


def names_its_node(node: Node, terms: NodeTerms) -> bool:
    """Whether the node meets the terms only because they name it: its own disk holds the volume.

    Drivers of local disks label a node with its own name, each under a key of its own.
    """
    return node_matches(node.labels, terms) and not node_matches(
        {key: value for key, value in node.labels.items() if value != node.name}, terms
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Separation:
    """What a workload's required pod anti-affinity means for its next pods."""

    taken: Set[tuple[str, str]] = frozenset()
    """Topology domains (label and its value) in which none may go now."""
    alone: tuple[str, ...] = ()
    """Labels in whose domains no two of the workload may stand."""

    def admits(self, node: Node) -> bool:
        """Whether one more may go to this node. Nodes without the label are of no domain."""
        return not any((key, node.labels.get(key)) in self.taken for key in self._keys)

    def after(self, node: Node) -> Separation:
        """The same once one of the workload has gone to this node."""
        if not self.alone:
            return self
        more = {(key, node.labels[key]) for key in self.alone if key in node.labels}
        return Separation(taken=self.taken | more, alone=self.alone)

    @property
    def _keys(self) -> frozenset[str]:
        return frozenset(key for key, _ in self.taken)


TOGETHER = Separation()


def separation(
    shape: PodShape,
    labels: Mapping[str, str],
    standing: Iterable[tuple[Node, Mapping[str, str]]],
) -> Separation:
    """What keeps pods of ``shape`` apart from others and from each other.

    Args:
        labels: of the pods themselves.
        standing: the other pods of the namespace: their nodes and labels.
    """
    if not shape.anti_affinity:
        return TOGETHER
    taken = {
        (key, node.labels[key])
        for node, others in standing
        for key, selector in shape.anti_affinity
        if key in node.labels and selector.matches(others)
    }
    alone = tuple(key for key, selector in shape.anti_affinity if selector.matches(labels))
    return Separation(taken=frozenset(taken), alone=alone)


def room(
    nodes: Iterable[Node],
    bound: Mapping[str, Sequence[PodShape]],
    waiting: Iterable[PodShape],
    shape: PodShape,
    pin: Pin,
    at_most: int,
    apart: Separation = TOGETHER,
) -> int:
    """How many more pods of ``shape``, pinned by ``pin``, fit on ``nodes``.

    Args:
        nodes: those of the wanted class.
        bound: shapes of the pods that hold resources, by node name.
        waiting: shapes of pods that have no node yet and may take this room first: every Pending
            pod, and the replacements of open moves, of every workload.
        shape: of the workload's template.
        pin: what the webhook would add.
        at_most: stop counting here.
        apart: what the workload's anti-affinity says.
    """
    free = [_free(node, bound.get(node.name, ())) for node in nodes if node.ready]
    for other in waiting:
        for node in free:
            alike = bool(shape.anti_affinity) and other.anti_affinity == shape.anti_affinity
            if alike and not apart.admits(node.node):
                continue
            if accepts(node.node, other) and node.take(other):
                apart = apart.after(node.node) if alike else apart
                break
    count = 0
    for node in free:
        if accepts(node.node, shape, pin):
            while count < at_most and apart.admits(node.node) and node.take(shape):
                apart = apart.after(node.node)
                count += 1
    return count


def _free(node: Node, bound: Sequence[PodShape]) -> _Free:
    free = _Free(
        node=node,
        cpu_millis=node.cpu_millis,
        memory_bytes=node.memory_bytes,
        pods=node.pods,
        other=dict(node.other),
    )
    for shape in bound:
        free.pods -= 1
        free.cpu_millis -= shape.cpu_millis
        free.memory_bytes -= shape.memory_bytes
        for name, amount in shape.other:
            free.other[name] = free.other.get(name, 0) - amount
    return free
