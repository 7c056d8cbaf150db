"""What nodes offer to a workload's replicas: room, a provisioner, and where volumes can follow."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from spotalis.controller.cluster import Cluster, WorkloadKey
from spotalis.controller.ledgers import Ledgers
from spotalis.controller.volumes import Volumes
from spotalis.model.nodes import NodeType, Pin
from spotalis.model.objects import NodeTerms, Pod, PodShape, Workload, node_matches
from spotalis.planner.candidates import candidates
from spotalis.planner.capacity import TOGETHER, Separation, names_its_node, room, separation
from spotalis.planner.fallback import could_hold, is_arriving
from spotalis.planner.observed import Confines, Observed

NODE_POOL = "karpenter.sh/nodepool"
"""On every node that Karpenter adds (karpenter.sh/docs/concepts/scheduling)."""


class Offers:
    """Looks at the nodes on behalf of one workload, with all that waits or is on its way."""

    def __init__(self, cluster: Cluster, ledgers: Ledgers, volumes: Volumes) -> None:
        self._cluster = cluster
        self._ledgers = ledgers
        self._volumes = volumes

    def added(self, observed: Observed, now: datetime) -> Observed:
        """The same with what nodes offer, looked at only where somebody needs it.

        Args:
            now: aware.
        """
        cluster = self._cluster
        observed = dataclasses.replace(
            observed, provisioned=any(NODE_POOL in node.labels for node in cluster.nodes.store)
        )
        pin = cluster.nodes.pin(NodeType.SPOT)
        if pin is None:
            return observed
        shape = _as_admitted(observed.workload, [r.pod for r in observed.replicas])
        nodes = cluster.nodes.of_type(NodeType.SPOT)
        if cluster.settings.namespaces.watched:
            # Others' pods are not seen: a node that looks empty may be full.
            observed = dataclasses.replace(observed, room={NodeType.SPOT: 0}, room_known=False)
        elif observed.state.surplus_type is NodeType.ON_DEMAND:
            observed = dataclasses.replace(
                observed, room={NodeType.SPOT: self._room(observed, shape, pin)}
            )
        observed = self._confined(observed, shape, pin, now)
        if any(r.pod.unschedulable and r.node_type is NodeType.SPOT for r in observed.active):
            other = cluster.nodes.pin(NodeType.ON_DEMAND) or Pin()
            helps = observed.provisioned or could_hold(
                cluster.nodes.of_type(NodeType.ON_DEMAND), shape, other
            )
            observed = dataclasses.replace(
                observed, arriving=is_arriving(nodes, shape, pin, now), on_demand_helps=helps
            )
        return observed

    def _room(self, observed: Observed, shape: PodShape, pin: Pin) -> int:
        """How many more pods of this shape fit on spot nodes, as far as any are to be moved."""
        cluster, nodes = self._cluster, self._cluster.nodes.of_type(NodeType.SPOT)
        waiting = (
            pod.shape.restricted_to(self._volumes.reach(pod)) for pod in cluster.pending_pods()
        )
        return room(
            nodes,
            cluster.bound_shapes(nodes),
            [*waiting, *self._awaited_shapes(pin)],
            shape,
            pin,
            at_most=observed.state.surplus(NodeType.ON_DEMAND),
            apart=self._separation(observed),
        )

    def _confined(self, observed: Observed, shape: PodShape, pin: Pin, now: datetime) -> Observed:
        """The same with what nodes offer those replicas whose volumes not all of them reach."""
        reaches = dict.fromkeys(r.reach for r in observed.active if r.reach)
        if not reaches:
            return observed
        confines = {
            reach: self._confines(observed, shape.restricted_to(reach), reach, pin, now)
            for reach in reaches
        }
        observed = dataclasses.replace(observed, confines=confines)
        free = observed.room.get(NodeType.SPOT)
        if free is None or observed.state.surplus_type is None:
            return observed
        # Room that their volumes cannot follow to is none for them.
        able = Counter(r.reach for r in candidates(observed, observed.state.surplus_type))
        fits = sum(min(n, confines[r].room) if r else n for r, n in able.items())
        return dataclasses.replace(observed, room={NodeType.SPOT: min(free, fits)})

    def _confines(
        self, observed: Observed, shape: PodShape, reach: NodeTerms, pin: Pin, now: datetime
    ) -> Confines:
        cluster = self._cluster
        here = [node for node in cluster.nodes.store if node_matches(node.labels, reach)]
        more = not any(names_its_node(node, reach) for node in here)
        provisioned = more and any(NODE_POOL in node.labels for node in here)
        classes = set()
        for node_type in (NodeType.SPOT, NodeType.ON_DEMAND):
            nodes = cluster.nodes.of_type(node_type)
            there = could_hold(nodes, shape, cluster.nodes.pin(node_type) or Pin())
            if provisioned or (there and (nodes or more)):
                classes.add(node_type)
        counts = observed.room_known and observed.state.surplus_type is NodeType.ON_DEMAND
        return Confines(
            where=_in_words(reach),
            classes=classes,
            room=self._room(observed, shape, pin) if counts else 0,
            provisioned=provisioned,
            arriving=is_arriving(cluster.nodes.of_type(NodeType.SPOT), shape, pin, now),
        )

    def _separation(self, observed: Observed) -> Separation:
        """What anti-affinity says of more replicas on spot; those on on-demand make way."""
        workload = observed.workload
        if not workload.shape.anti_affinity:
            return TOGETHER
        going = {r.pod.uid for r in observed.replicas if r.node_type is NodeType.ON_DEMAND}
        standing = (
            (node, pod.labels)
            for pod in self._cluster.pods.in_namespace(workload.namespace)
            if pod.uid not in going and not pod.finished
            if (node := self._cluster.nodes.get(pod.node)) is not None
        )
        return separation(workload.shape, workload.template_labels, standing)

    def _awaited_shapes(self, pin: Pin) -> Iterator[PodShape]:
        """What open moves, of every workload, will bring to spot and has no pod yet."""
        for held in self._ledgers.store:
            if held.ledger is None or not held.ledger.intents:
                continue
            workload = self._cluster.find_workload(WorkloadKey.of(held.ledger))
            if workload is None:
                continue
            pods = list(self._cluster.pods_of(workload))
            meant = {intent.pod for intent in held.ledger.intents}
            living = sum(not (pod.deleting_at or pod.finished or pod.uid in meant) for pod in pods)
            answered = {pod.move for pod in pods}
            coming = [i for i in held.ledger.intents if i.target is NodeType.SPOT]
            coming.sort(key=lambda intent: intent.move in answered)
            shape = _as_admitted(workload, pods)
            shape = msgspec.structs.replace(shape, tolerations=shape.tolerations + pin.tolerations)
            for intent in coming[: max(0, workload.replicas - living)]:
                yield shape.restricted_to(self._volumes.reach_of(intent.pod))


def _as_admitted(workload: Workload, pods: Sequence[Pod]) -> PodShape:
    """What the next pod of a workload will ask for: the template, with what its latest pod got.

    Autoscalers of requests, LimitRanges, injectors and runtime classes change requests at
    admission; the template does not tell.
    """
    made = [pod for pod in pods if pod.created_at is not None]
    if not made:
        return workload.shape
    latest = max(made, key=lambda pod: (pod.created_at, pod.shape.cpu_millis, pod.uid)).shape
    return msgspec.structs.replace(
        workload.shape,
        cpu_millis=latest.cpu_millis,
        memory_bytes=latest.memory_bytes,
        other=latest.other,
    )


def _in_words(reach: NodeTerms) -> str:
    """Where a volume is: ``in zone eu-1b``, whatever the driver calls its key."""
    places = []
    for requirement in dict.fromkeys(r for term in reach for r in term):
        values = " or ".join(requirement.values)
        zone = requirement.key.endswith("/zone") and requirement.operator == "In"
        places.append(f"zone {values}" if zone else f"{requirement}")
    return f"where its volume is ({', '.join(dict.fromkeys(places))})"
