"""Gather one workload's facts for the planner and for the webhook."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from datetime import datetime

import msgspec

from spotalis.model.configuration import WorkloadConfiguration
from spotalis.model.ledger import Ledger
from spotalis.model.nodes import NodeType, Pin
from spotalis.model.objects import NodeTerms, Pod, PodShape, Workload, meets
from spotalis.operator.cluster import Cluster, WorkloadKey
from spotalis.operator.journal import Journal
from spotalis.operator.ledger import Ledgers
from spotalis.operator.reservations import Reservations
from spotalis.operator.volumes import Volumes
from spotalis.planner.candidates import candidates
from spotalis.planner.capacity import TOGETHER, Separation, names_its_node, room, separation
from spotalis.planner.fallback import could_hold, is_arriving
from spotalis.planner.observed import Confines, Observed, Replica, Reservation
from spotalis.planner.plan import hold_back

NODE_POOL = "karpenter.sh/nodepool"
"""On every node that Karpenter adds (karpenter.sh/docs/concepts/scheduling)."""


class Observer:
    """Sees what the stores, the ledgers and the reservations say together."""

    def __init__(
        self,
        cluster: Cluster,
        ledgers: Ledgers,
        journal: Journal,
        reservations: Reservations,
        volumes: Volumes,
    ) -> None:
        self._cluster = cluster
        self._ledgers = ledgers
        self._journal = journal
        self._reservations = reservations
        self._volumes = volumes
        self.watching_since: datetime | None = None
        """When the first list of every kind was in."""
        self.reviews_came = False
        """Some review has come, to this replica of the operator or to another."""

    def for_placement(
        self, workload: Workload, configuration: WorkloadConfiguration, maker: str
    ) -> Observed:
        """A workload as a new pod of it must see it: who was really evicted holds no slot.

        ``maker`` is the UID of the ReplicaSet or StatefulSet that makes the pod: what it has made
        counts although no watch has shown the ReplicaSet itself yet.
        """
        held = self._ledgers.held(workload.uid)
        ledger = (held.ledger if held else None) or Ledger()
        return self._observe(workload, configuration, ledger, frozenset(), maker)

    def for_plan(
        self,
        workload: Workload,
        configuration: WorkloadConfiguration,
        ledger: Ledger,
        now: datetime,
    ) -> Observed:
        """A workload as its planner must see it: who is meant to go is as good as gone."""
        meant = {intent.pod for intent in ledger.intents}
        observed = self._observe(workload, configuration, ledger, meant)
        cluster = self._cluster
        open_moves = self._ledgers.intents()
        observed = dataclasses.replace(
            observed,
            moves_free=cluster.settings.moves_in_flight - len(open_moves),
            probe_free=not any(intent.probe for intent in open_moves),
            provisioned=any(NODE_POOL in node.labels for node in cluster.nodes),
            first_unschedulable=self._journal.sighted(
                workload.uid,
                (r.pod.uid for r in observed.replicas if r.pod.unschedulable),
                now,
            ),
            unreviewed=self._unreviewed(observed),
        )
        return self._with_nodes(observed, now)

    def held_by_volumes(
        self,
        workload: Workload,
        configuration: WorkloadConfiguration,
        ledger: Ledger,
        now: datetime,
    ) -> list[Pod]:
        """The pods for which it matters, now, where their volumes can be reached.

        They wait for a spot node, or may be moved.
        """
        if not any(pod.claims for pod in self._cluster.pods_of(workload)):
            return []
        meant = {intent.pod for intent in ledger.intents}
        observed = self._observe(workload, configuration, ledger, meant)
        crowded = observed.state.crowded
        move = candidates(observed, crowded) if crowded else []
        if hold_back(observed, now) is not None:
            move = []
        wait = [r for r in observed.staying if r.pod.unschedulable and r.node_type is NodeType.SPOT]
        return [r.pod for r in (*wait, *move) if r.pod.claims]

    def _observe(
        self,
        workload: Workload,
        configuration: WorkloadConfiguration,
        ledger: Ledger,
        meant: Set[str],
        maker: str = "",
    ) -> Observed:
        cluster = self._cluster
        makers = cluster.makers_of(workload) | {maker}
        pods = [pod for uid in makers for pod in cluster.pods_made_by(uid)]
        # Pods of one template share one shape (kube/interner.py): it is judged once, not per pod.
        shapes = {id(pod.shape): pod.shape for pod in pods}
        pinned = {
            key: cluster.settings.classification.pinned_to(shape) for key, shape in shapes.items()
        }
        replicas = tuple(self._replica(pod, pinned[id(pod.shape)], meant) for pod in pods)
        return Observed(
            workload=workload,
            configuration=configuration,
            replicas=replicas,
            budgets=cluster.budgets_in(workload.namespace),
            reservations=self._reserved(makers),
            classified=bool(cluster.groups_in_use()),
            synced=cluster.synced,
            read_only=cluster.settings.read_only,
            overrides_budgets=cluster.settings.pdb_override
            and configuration.disruption.pdb_override,
            ledger=ledger,
            storm_until=cluster.storm_until,
        )

    def _unreviewed(self, observed: Observed) -> int:
        """Replicas made since we watch that no webhook saw; 0 once any review has come."""
        self.reviews_came = self.reviews_came or any(r.pod.rule for r in observed.staying)
        since = self.watching_since
        if self.reviews_came or since is None:
            return 0
        since = since.replace(microsecond=0)  # as a pod's stamp is
        return sum(1 for r in observed.staying if r.pod.created_at and r.pod.created_at >= since)

    def _with_nodes(self, observed: Observed, now: datetime) -> Observed:
        """The same with what nodes offer, looked at only where somebody needs it."""
        cluster = self._cluster
        pin = cluster.pin(NodeType.SPOT)
        if pin is None:
            return observed
        shape = _as_admitted(observed.workload, [r.pod for r in observed.replicas])
        nodes = cluster.nodes_of(NodeType.SPOT)
        if cluster.settings.namespaces.watched:
            # Others' pods are not seen: a node that looks empty may be full.
            observed = dataclasses.replace(observed, room={NodeType.SPOT: 0}, room_known=False)
        elif observed.state.crowded is NodeType.ON_DEMAND:
            observed = dataclasses.replace(
                observed, room={NodeType.SPOT: self._room(observed, shape, pin)}
            )
        observed = self._confined(observed, shape, pin, now)
        if any(r.pod.unschedulable and r.node_type is NodeType.SPOT for r in observed.staying):
            other = cluster.pin(NodeType.ON_DEMAND) or Pin()
            helps = observed.provisioned or could_hold(
                cluster.nodes_of(NodeType.ON_DEMAND), shape, other
            )
            observed = dataclasses.replace(
                observed, arriving=is_arriving(nodes, shape, pin, now), on_demand_helps=helps
            )
        return observed

    def _room(self, observed: Observed, shape: PodShape, pin: Pin) -> int:
        """How many more pods of this shape fit on spot nodes, as far as any are to be moved."""
        cluster, nodes = self._cluster, self._cluster.nodes_of(NodeType.SPOT)
        waiting = (pod.shape.within(self._volumes.reach(pod)) for pod in cluster.waiting())
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
        reaches = dict.fromkeys(r.reach for r in observed.staying if r.reach)
        if not reaches:
            return observed
        confines = {
            reach: self._confines(observed, shape.within(reach), reach, pin, now)
            for reach in reaches
        }
        observed = dataclasses.replace(observed, confines=confines)
        free = observed.room.get(NodeType.SPOT)
        if free is None or observed.state.crowded is None:
            return observed
        # Room that their volumes cannot follow to is none for them.
        able = Counter(r.reach for r in candidates(observed, observed.state.crowded))
        fits = sum(min(n, confines[r].room) if r else n for r, n in able.items())
        return dataclasses.replace(observed, room={NodeType.SPOT: min(free, fits)})

    def _confines(
        self, observed: Observed, shape: PodShape, reach: NodeTerms, pin: Pin, now: datetime
    ) -> Confines:
        cluster = self._cluster
        here = [node for node in cluster.nodes if meets(node.labels, reach)]
        more = not any(names_its_node(node, reach) for node in here)
        provisioned = more and any(NODE_POOL in node.labels for node in here)
        classes = set()
        for node_type in (NodeType.SPOT, NodeType.ON_DEMAND):
            nodes = cluster.nodes_of(node_type)
            there = could_hold(nodes, shape, cluster.pin(node_type) or Pin())
            if provisioned or (there and (nodes or more)):
                classes.add(node_type)
        counts = observed.room_known and observed.state.crowded is NodeType.ON_DEMAND
        return Confines(
            where=_in_words(reach),
            classes=classes,
            room=self._room(observed, shape, pin) if counts else 0,
            provisioned=provisioned,
            arriving=is_arriving(cluster.nodes_of(NodeType.SPOT), shape, pin, now),
        )

    def _separation(self, observed: Observed) -> Separation:
        """What anti-affinity says of more replicas on spot; those on on-demand make way."""
        workload = observed.workload
        if not workload.shape.apart:
            return TOGETHER
        going = {r.pod.uid for r in observed.replicas if r.node_type is NodeType.ON_DEMAND}
        standing = (
            (node, pod.labels)
            for pod in self._cluster.pods.within(workload.namespace)
            if pod.uid not in going and not pod.finished
            if (node := self._cluster.node(pod.node)) is not None
        )
        return separation(workload.shape, workload.template_labels, standing)

    def _awaited_shapes(self, pin: Pin) -> Iterator[PodShape]:
        """What open moves, of every workload, will bring to spot and has no pod yet."""
        for held in self._ledgers.store:
            if held.ledger is None or not held.ledger.intents:
                continue
            workload = self._cluster.workload(WorkloadKey(*held.ledger.workload.split("/", 2)))
            if workload is None:
                continue
            pods = list(self._cluster.pods_of(workload))
            meant = {intent.pod for intent in held.ledger.intents}
            living = sum(not (pod.deleting_at or pod.finished or pod.uid in meant) for pod in pods)
            answered = {pod.move for pod in pods}
            coming = [i for i in held.ledger.intents if i.toward is NodeType.SPOT]
            coming.sort(key=lambda intent: intent.move in answered)
            shape = _as_admitted(workload, pods)
            shape = msgspec.structs.replace(shape, tolerations=shape.tolerations + pin.tolerations)
            for intent in coming[: max(0, workload.replicas - living)]:
                yield shape.within(self._volumes.reach_of(intent.pod))

    def _replica(self, pod: Pod, pinned: NodeType, meant: Set[str]) -> Replica:
        """``pinned``: the class that its shape is pinned to."""
        cluster = self._cluster
        known = cluster.node_type(pod.node) if pod.node else None
        return Replica(
            pod=pod,
            node_type=pinned if known is None else known,
            leaving=cluster.leaving(pod.node),
            evicted=pod.uid in meant or pod.uid in self._journal,
            # A pod that no webhook of ours has seen can be pinned only by its owner.
            user_pinned=pod.rule == "user-pinned"
            or (not pod.rule and pinned is not NodeType.UNKNOWN),
            reach=self._volumes.reach(pod) if pod.claims else (),
            neighbours=cluster.neighbours(pod.node) - 1 if pod.node else 0,
        )

    def _reserved(self, owners: Set[str]) -> tuple[Reservation, ...]:
        return tuple(r for owner in owners for r in self._reservations.of(owner))


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
