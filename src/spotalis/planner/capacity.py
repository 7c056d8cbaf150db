"""Whether the nodes of a type can hold more pods (docs/reference/behaviour.md, "Repair")."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from spotalis.model.classification import Pin
from spotalis.model.objects import Node, NodeTerms, PodShape, Taint, node_matches
from spotalis.planner.initialization import awaits_devices, is_initializing, is_startup_taint
from spotalis.planner.interruption import accepts_new_pods

REGISTRATION_TTL = timedelta(minutes=15)
"""A node that is not Ready within this time never becomes Ready: Karpenter's own limit
(karpenter/pkg/controllers/nodeclaim/lifecycle/liveness.go, registrationTTL)."""

SCHEDULING_GRACE = timedelta(seconds=15)
"""After a node has begun to take pods, the scheduler may leave a pod in its backoff for 10 s more
(kube-scheduler, podMaxBackoffSeconds), and then has to bind it."""


def may_accept_pods(node: Node) -> bool:
    """Whether the scheduler may bind pods to the node, depending on the pods."""
    return node.ready and not node.cordoned and accepts_new_pods(node)


def can_bind(node: Node, shape: PodShape, pin: Pin | None = None) -> bool:
    """Whether the scheduler could bind a pod of this shape to the node, resources aside.

    ``pin`` adds the tolerations that the webhook would add.
    """
    if not may_accept_pods(node):
        return False
    tolerations = shape.tolerations + (pin.tolerations if pin else ())
    for taint in node.taints:
        if taint.effect == "PreferNoSchedule":
            continue
        if not any(toleration.tolerates(taint) for toleration in tolerations):
            return False
    if any(node.labels.get(key) != value for key, value in shape.node_selector):
        return False
    return node.matches(shape.node_terms)


def is_local_to(node: Node, terms: NodeTerms) -> bool:
    """Whether the node matches the terms only because they name it: the volume is a local disk.

    Drivers of local disks label a node with its own name, each under a key of its own.
    """
    return node.matches(terms) and not node_matches(
        {key: value for key, value in node.labels.items() if value != node.name}, terms
    )


def is_arriving(
    nodes: Iterable[Node],
    shape: PodShape,
    pin: Pin,
    now: datetime,
    opened_at: Callable[[str], datetime | None],
) -> bool:
    """Whether the scheduler may soon bind the pod to one of the nodes, which was not possible yet.

    The node has registered and is still initializing, or it takes pods since a moment ago.

    Args:
        nodes: the nodes of the target type.
        shape: what the workload's next pod requests.
        pin: what the webhook adds.
        now: a node that registered longer ago than REGISTRATION_TTL is broken, not arriving.
        opened_at: since when a node of a name takes pods; None if that is not known.
    """
    for node in nodes:
        if node.cordoned or not accepts_new_pods(node):
            continue
        young = node.created_at is not None and now - node.created_at < REGISTRATION_TTL
        starting = young and (is_initializing(node) or awaits_devices(node, shape))
        since = opened_at(node.name)
        if not starting and (since is None or now - since >= SCHEDULING_GRACE):
            continue
        # Of a node that is not Ready the taints are not judged: most of them go away.
        if node.ready and not _are_tolerated(node, shape, pin):
            continue
        if _labels_match(node, shape, pin) and (
            not node.cpu_millis or _is_large_enough(node, shape, devices_may_come=True)
        ):
            return True
    return False


def could_hold(nodes: Sequence[Node], shape: PodShape, pin: Pin) -> bool:
    """Whether one of the nodes could hold the pod if it were empty; True without any nodes.

    Without nodes of a type, a provisioner is assumed to add one that fits.
    """
    if not nodes:
        return True
    return any(
        _is_large_enough(node, shape)
        and _labels_match(node, shape, pin)
        and _are_tolerated(node, shape, pin)
        for node in nodes
    )


def _are_tolerated(node: Node, shape: PodShape, pin: Pin) -> bool:
    """Whether the pod tolerates the taints that stay on the node."""
    tolerations = shape.tolerations + pin.tolerations
    hard = [t for t in node.taints if t.effect != "PreferNoSchedule" and not _is_temporary(t)]
    return all(any(t.tolerates(taint) for t in tolerations) for taint in hard)


def _labels_match(node: Node, shape: PodShape, pin: Pin) -> bool:
    wanted = dict(shape.node_selector) | dict(pin.node_selector)
    return node.matches(shape.node_terms) and all(
        node.labels.get(key) == value for key, value in wanted.items()
    )


def _is_temporary(taint: Taint) -> bool:
    """Whether the taint is of a state that passes: starting, cordoned, under pressure."""
    return taint.key.startswith("node.kubernetes.io/") or is_startup_taint(taint)


def _is_large_enough(node: Node, shape: PodShape, *, devices_may_come: bool = False) -> bool:
    """Whether the empty node has the resources; devices may be registered after the node."""
    other = dict(node.other)
    if devices_may_come:
        other = dict(shape.other) | other
    return (
        node.cpu_millis >= shape.cpu_millis
        and node.memory_bytes >= shape.memory_bytes
        and all(other.get(name, 0) >= amount for name, amount in shape.other)
    )
