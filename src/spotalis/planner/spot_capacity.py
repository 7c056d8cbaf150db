"""What the nodes offer to a workload's replicas: free resources, a provisioner, and volumes.

See docs/reference/behaviour.md, "Repair".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import msgspec

from spotalis.model.classification import Pin
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Node, NodeTerms, Pod, PodShape, Workload
from spotalis.model.possible_types import NODE_POOL
from spotalis.model.spot_knowledge import SpotAvailability
from spotalis.planner.anti_affinity import (
    AntiAffinity,
    AvoidingPods,
    Effort,
    Surroundings,
    TooMuchWorkError,
    anti_affinity,
)
from spotalis.planner.capacity import could_hold, is_arriving, is_local_to
from spotalis.planner.free_capacity import FreeCapacity, count_fitting
from spotalis.planner.interruption import accepts_new_pods
from spotalis.planner.observed import RECENT, SpotCapacity, VolumeCapacity, WorkloadState


class NodesView(Protocol):
    """The nodes of the cluster and the pods that compete for them, as the watches show them."""

    @property
    def shows_all_pods(self) -> bool:
        """False if only some namespaces are watched: a node that looks empty may be full."""
        ...

    @property
    def has_provisioner(self) -> bool:
        """Whether Karpenter adds nodes for Pending pods: the API server serves its API, or a node
        belongs to one of its NodePools."""
        ...

    def all(self) -> Iterable[Node]:
        """All nodes."""
        ...

    def of_type(self, node_type: NodeType) -> Sequence[Node]:
        """The nodes of a type."""
        ...

    def opened_at(self, name: str) -> datetime | None:
        """When its taints, devices or state last changed so that it might take more pods; None if
        they have not changed since the operator knows the node."""
        ...

    def pin(self, node_type: NodeType) -> Pin | None:
        """What the webhook adds to pods of this type; None if no provider group is in use."""
        ...

    def pinned_to(self, shape: PodShape) -> NodeType:
        """The only type on whose nodes a pod of this shape may run; unknown if there is none."""
        ...

    def without_pins(self, shape: PodShape) -> PodShape:
        """The shape of an admitted pod without what the webhook has added."""
        ...

    def free_capacity(self) -> FreeCapacity:
        """What is free on the spot nodes once all Pending pods, and the replacements that open
        moves bring to spot, have their share."""
        ...

    def spot_pods_since(self, since: datetime) -> int:
        """Number of pods that the webhook sent to spot and that run on spot nodes which have
        registered since then."""
        ...

    def pods_in(self, namespace: str) -> Iterable[tuple[Pod, Node]]:
        """The bound pods of a namespace with their nodes."""
        ...

    def pods_avoiding(self, namespace: str) -> Sequence[AvoidingPods]:
        """The bound pods whose anti-affinity may concern pods of a namespace."""
        ...

    def find(self, name: str) -> Node | None:
        """The node with this name."""
        ...

    def namespace_labels(self, namespace: str) -> Mapping[str, str]:
        """The labels of a namespace."""
        ...


def spot_capacity(
    state: WorkloadState, shape: PodShape, nodes: NodesView, now: datetime
) -> SpotCapacity:
    """Compute what the nodes offer, as far as a decision about this workload can need it.

    Args:
        shape: of the next pod, as :func:`next_pod_shape` returns it.
        now: aware.
    """
    has_provisioner = nodes.has_provisioner
    pin = nodes.pin(NodeType.SPOT)
    if pin is None:
        return SpotCapacity(has_provisioner=has_provisioner)
    question = _Question(state, nodes, pin, now)
    affinities = dict.fromkeys(r.volume_affinity for r in state.active if r.volume_affinity)
    by_volume = {
        affinity: question.volume_capacity(shape.restricted_to(affinity), affinity)
        for affinity in affinities
    }
    arriving, possible = False, True
    if state.unschedulable_on_spot:
        arriving = is_arriving(nodes.of_type(NodeType.SPOT), shape, pin, now, nodes.opened_at)
        possible = nodes.pinned_to(state.workload.shape) is not NodeType.SPOT
    return SpotCapacity(
        free=_reachable(state, question.free(shape), by_volume),
        is_known=nodes.shows_all_pods,
        unjudged=shape.unjudged,
        has_provisioner=has_provisioner,
        node_arriving=arriving,
        node_joined_at=_node_joined_at(state, nodes, shape, pin),
        recent_pods=_recent_pods(state, nodes, now),
        on_demand_possible=possible,
        on_demand_could_hold=has_provisioner or question.on_demand_could_hold(shape),
        by_volume=by_volume,
    )


def _node_joined_at(
    state: WorkloadState, nodes: NodesView, shape: PodShape, pin: Pin
) -> datetime | None:
    """While spot is exhausted: when the newest Ready spot node that could hold such a pod joined.

    Whatever it was added for, it shows that nodes of its type are to be had.
    """
    since = state.spot_view.since
    if not state.spot_view.is_exhausted or since is None:
        return None
    joined = {
        node.created_at: node
        for node in nodes.of_type(NodeType.SPOT)
        if node.created_at and node.created_at > since and node.ready and accepts_new_pods(node)
    }
    fitting = (at for at, node in joined.items() if could_hold([node], shape, pin))
    return max(fitting, default=None)


def _recent_pods(state: WorkloadState, nodes: NodesView, now: datetime) -> int:
    """Pods that Spotalis sent to spot and that run on spot nodes which registered lately."""
    if state.spot_view.availability is SpotAvailability.UNKNOWN:
        return 0
    return nodes.spot_pods_since(now - RECENT)


def _reachable(
    state: WorkloadState, free: int | None, by_volume: Mapping[NodeTerms, VolumeCapacity]
) -> int | None:
    """The free capacity that the candidates can use, given where their volumes can be attached."""
    if free is None or not by_volume or state.state.surplus_type is None:
        return free
    counts = Counter(r.volume_affinity for r in state.candidates)
    fitting = sum(min(n, by_volume[a].free) if a else n for a, n in counts.items())
    return min(free, fitting)


@dataclass(frozen=True, slots=True)
class _Question:
    """One workload and the nodes that its replicas may move to."""

    state: WorkloadState
    nodes: NodesView
    pin: Pin
    now: datetime
    effort: Effort = field(default_factory=Effort)
    """Spent by all questions about this workload together."""

    def free(self, shape: PodShape) -> int | None:
        """How many more pods of this shape fit on spot nodes; None if none is to move there.

        0 if that is not known: constraints that are not judged, or too many comparisons.
        """
        if not self.nodes.shows_all_pods:
            return 0
        if self.state.state.surplus_type is not NodeType.ON_DEMAND:
            return None
        if shape.unjudged:
            return 0
        try:
            return count_fitting(
                self.nodes.free_capacity(),
                shape,
                self.pin,
                limit=self.state.state.surplus(NodeType.ON_DEMAND),
                allowed=self._anti_affinity(shape),
                namespace=self.state.workload.namespace,
                effort=self.effort,
            )
        except TooMuchWorkError:
            return 0

    def on_demand_could_hold(self, shape: PodShape) -> bool:
        """Whether an on-demand node could hold a replica; True if none is to move there."""
        if self.state.state.surplus_type is not NodeType.SPOT:
            return True
        pin = self.nodes.pin(NodeType.ON_DEMAND) or Pin()
        return could_hold(self.nodes.of_type(NodeType.ON_DEMAND), shape, pin)

    def volume_capacity(self, shape: PodShape, affinity: NodeTerms) -> VolumeCapacity:
        """What the nodes offer to replicas with this volume affinity."""
        matching = [node for node in self.nodes.all() if node.matches(affinity)]
        more_may_come = not any(is_local_to(node, affinity) for node in matching)
        has_provisioner = more_may_come and any(NODE_POOL in node.labels for node in matching)
        node_types = set()
        for node_type in (NodeType.SPOT, NodeType.ON_DEMAND):
            nodes = self.nodes.of_type(node_type)
            fits = could_hold(nodes, shape, self.nodes.pin(node_type) or Pin())
            if has_provisioner or (fits and (nodes or more_may_come)):
                node_types.add(node_type)
        return VolumeCapacity(
            where=_in_words(affinity),
            node_types=node_types,
            free=self.free(shape) or 0,
            has_provisioner=has_provisioner,
            node_arriving=is_arriving(
                self.nodes.of_type(NodeType.SPOT), shape, self.pin, self.now, self.nodes.opened_at
            ),
        )

    def _anti_affinity(self, shape: PodShape) -> AntiAffinity:
        """Where anti-affinity allows the workload's pods, once the surplus replicas have moved."""
        workload = self.state.workload
        moving = {r.pod.uid for r in self.state.replicas if r.node_type is NodeType.ON_DEMAND}
        present = (
            (node, pod.labels)
            for pod, node in self.nodes.pods_in(workload.namespace)
            if pod.uid not in moving and not pod.finished
        )
        around = Surroundings(
            namespace=workload.namespace,
            namespace_labels=self.nodes.namespace_labels(workload.namespace),
            present=present,
            avoiding=self.nodes.pods_avoiding(workload.namespace),
            moving=moving,
            find_node=self.nodes.find,
        )
        return anti_affinity(shape, workload.template_labels, around, self.effort)


def next_pod_shape(
    workload: Workload,
    pods: Sequence[Pod],
    without_pins: Callable[[PodShape], PodShape] = lambda shape: shape,
) -> PodShape:
    """What the next pod of a workload requests: the newest pod, or the template if there is none.

    Autoscalers of requests, LimitRanges, injectors, runtime classes and node selectors of
    namespaces change pods at admission, which the template does not show.

    Args:
        without_pins: removes from the shape of an admitted pod what the webhook has added.
    """
    last = newest_of(pods)
    if last is None:
        return workload.shape
    newest = last.shape
    own, admitted = workload.shape, without_pins(newest)
    selector = dict(admitted.node_selector) | dict(own.node_selector)
    return msgspec.structs.replace(
        newest,
        node_selector=tuple(sorted(selector.items())),
        node_terms=admitted.node_terms or own.node_terms,
        tolerations=tuple(dict.fromkeys((*own.tolerations, *newest.tolerations))),
        unjudged=newest.unjudged or own.unjudged,
    )


def newest_of(pods: Iterable[Pod]) -> Pod | None:
    """The pod that was created last; of several, one that requests the most CPU. None if no pod has
    a time."""
    created = [pod for pod in pods if pod.created_at is not None]
    return max(
        created, key=lambda pod: (pod.created_at, pod.shape.cpu_millis, pod.uid), default=None
    )


def _in_words(affinity: NodeTerms) -> str:
    """Where a volume is: ``zone eu-1b`` for the zone label of any driver."""
    places = []
    for requirement in dict.fromkeys(r for term in affinity for r in term):
        values = " or ".join(requirement.values)
        zone = requirement.key.endswith("/zone") and requirement.operator == "In"
        places.append(f"zone {values}" if zone else f"{requirement}")
    return f"that can attach its volume ({', '.join(dict.fromkeys(places))})"
