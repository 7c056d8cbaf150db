"""Gather one workload's facts for the planner."""

from __future__ import annotations

import dataclasses

from spotalis.model.configuration import WorkloadConfiguration
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Pod, Workload
from spotalis.operator.cluster import Cluster, WorkloadKey
from spotalis.operator.journal import Journal
from spotalis.operator.reservations import Reservations
from spotalis.planner.capacity import room
from spotalis.planner.interruption import notice
from spotalis.planner.observed import Observed, Replica, Reservation


class Observer:
    """Sees what the stores, the open moves and the reservations say together."""

    def __init__(self, cluster: Cluster, journal: Journal, reservations: Reservations) -> None:
        self._cluster = cluster
        self._journal = journal
        self._reservations = reservations

    def observe(self, workload: Workload, configuration: WorkloadConfiguration) -> Observed:
        """A workload as it is now, without room on nodes (see :meth:`with_room`)."""
        cluster = self._cluster
        key = WorkloadKey(workload.kind, workload.namespace, workload.name)
        replicas = tuple(self._replica(key, pod) for pod in cluster.pods_of(workload))
        owners = {r.pod.owner.uid for r in replicas if r.pod.owner is not None} | {workload.uid}
        return Observed(
            workload=workload,
            configuration=configuration,
            replicas=replicas,
            budgets=cluster.budgets_in(workload.namespace),
            reservations=self._reserved(owners),
            classified=bool(cluster.groups_in_use()),
            synced=cluster.synced,
            read_only=cluster.settings.read_only,
            moves_free=cluster.settings.moves_in_flight - len(self._journal),
        )

    def with_room(self, observed: Observed) -> Observed:
        """The same with room on spot nodes, counted only where something is to move there."""
        if observed.state.crowded is not NodeType.ON_DEMAND:
            return observed
        pin = self._cluster.pin(NodeType.SPOT)
        if pin is None:
            return observed
        nodes = self._cluster.nodes_of(NodeType.SPOT)
        free = room(
            nodes,
            self._cluster.bound_shapes(nodes),
            self._cluster.waiting_shapes(),
            observed.workload.shape,
            pin,
            at_most=observed.state.surplus(NodeType.ON_DEMAND),
        )
        return dataclasses.replace(observed, room={NodeType.SPOT: free})

    def _replica(self, key: WorkloadKey, pod: Pod) -> Replica:
        cluster = self._cluster
        node = cluster.node(pod.node) if pod.node else None
        known = cluster.node_type(pod.node) if pod.node else None
        pinned = cluster.settings.classification.pinned_to
        return Replica(
            pod=pod,
            node_type=pinned(pod.shape) if known is None else known,
            leaving=node is not None and bool(notice(node)),
            evicted=pod.uid in self._journal.of(key),
            # A pod that no webhook of ours has seen can be pinned only by its owner.
            user_pinned=pod.rule == "user-pinned"
            or (not pod.rule and pinned(pod.shape) is not NodeType.UNKNOWN),
            neighbours=cluster.neighbours(pod.node) - 1 if pod.node else 0,
        )

    def _reserved(self, owners: set[str]) -> tuple[Reservation, ...]:
        return tuple(r for owner in owners for r in self._reservations.of(owner))
