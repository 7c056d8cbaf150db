"""Gather one workload's facts for the planner and for the webhook."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Set
from datetime import datetime

import msgspec

from spotalis.model.configuration import WorkloadConfiguration
from spotalis.model.ledger import Ledger
from spotalis.model.nodes import NodeType, Pin
from spotalis.model.objects import Pod, PodShape, Workload
from spotalis.operator.cluster import Cluster, WorkloadKey
from spotalis.operator.journal import Journal
from spotalis.operator.ledger import Ledgers
from spotalis.operator.reservations import Reservations
from spotalis.planner.capacity import TOGETHER, Separation, room, separation
from spotalis.planner.fallback import could_hold, is_arriving
from spotalis.planner.observed import Observed, Replica, Reservation

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
    ) -> None:
        self._cluster = cluster
        self._ledgers = ledgers
        self._journal = journal
        self._reservations = reservations
        self._watching_since: datetime | None = None
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
            unreviewed=self._unreviewed(observed, now),
        )
        return self._with_nodes(observed, now)

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
        replicas = tuple(
            self._replica(pod, meant) for uid in makers for pod in cluster.pods_made_by(uid)
        )
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

    def _unreviewed(self, observed: Observed, now: datetime) -> int:
        """Replicas made since we watch that no webhook saw; 0 once any review has come."""
        if self._watching_since is None:
            self._watching_since = now
        self.reviews_came = self.reviews_came or any(r.pod.rule for r in observed.staying)
        if self.reviews_came:
            return 0
        since = self._watching_since
        return sum(1 for r in observed.staying if r.pod.created_at and r.pod.created_at > since)

    def _with_nodes(self, observed: Observed, now: datetime) -> Observed:
        """The same with what nodes offer, looked at only where somebody needs it."""
        cluster, shape = self._cluster, observed.workload.shape
        pin = cluster.pin(NodeType.SPOT)
        if pin is None:
            return observed
        nodes = cluster.nodes_of(NodeType.SPOT)
        if cluster.settings.namespaces.watched:
            # Others' pods are not seen: a node that looks empty may be full.
            observed = dataclasses.replace(observed, room={NodeType.SPOT: 0}, room_known=False)
        elif observed.state.crowded is NodeType.ON_DEMAND:
            free = room(
                nodes,
                cluster.bound_shapes(nodes),
                [*cluster.waiting_shapes(), *self._awaited_shapes(pin)],
                shape,
                pin,
                at_most=observed.state.surplus(NodeType.ON_DEMAND),
                apart=self._separation(observed),
            )
            observed = dataclasses.replace(observed, room={NodeType.SPOT: free})
        if any(r.pod.unschedulable and r.node_type is NodeType.SPOT for r in observed.staying):
            other = cluster.pin(NodeType.ON_DEMAND) or Pin()
            helps = observed.provisioned or could_hold(
                cluster.nodes_of(NodeType.ON_DEMAND), shape, other
            )
            observed = dataclasses.replace(
                observed, arriving=is_arriving(nodes, shape, pin, now), on_demand_helps=helps
            )
        return observed

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
            bound = sum(intent.toward is NodeType.SPOT for intent in held.ledger.intents)
            meant = {intent.pod for intent in held.ledger.intents}
            living = sum(
                not (pod.deleting_at or pod.finished or pod.uid in meant)
                for pod in self._cluster.pods_of(workload)
            )
            shape = msgspec.structs.replace(
                workload.shape, tolerations=workload.shape.tolerations + pin.tolerations
            )
            for _ in range(min(bound, max(0, workload.replicas - living))):
                yield shape

    def _replica(self, pod: Pod, meant: Set[str]) -> Replica:
        cluster = self._cluster
        known = cluster.node_type(pod.node) if pod.node else None
        pinned = cluster.settings.classification.pinned_to
        return Replica(
            pod=pod,
            node_type=pinned(pod.shape) if known is None else known,
            leaving=cluster.leaving(pod.node),
            evicted=pod.uid in meant or pod.uid in self._journal,
            # A pod that no webhook of ours has seen can be pinned only by its owner.
            user_pinned=pod.rule == "user-pinned"
            or (not pod.rule and pinned(pod.shape) is not NodeType.UNKNOWN),
            neighbours=cluster.neighbours(pod.node) - 1 if pod.node else 0,
        )

    def _reserved(self, owners: Set[str]) -> tuple[Reservation, ...]:
        return tuple(r for owner in owners for r in self._reservations.of(owner))
