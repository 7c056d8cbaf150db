"""Gather one workload's facts for the planner and for the webhook."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Set
from datetime import datetime

from spotalis.controller.cluster import Cluster
from spotalis.controller.ledgers import Ledgers
from spotalis.controller.offers import Offers
from spotalis.controller.reservations import Reservations
from spotalis.controller.terminations import Terminations
from spotalis.controller.volumes import Volumes
from spotalis.model.configuration import WorkloadConfiguration
from spotalis.model.ledger import Ledger
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Pod, Workload
from spotalis.planner.observed import Observed, Replica, Reservation


class Observer:
    """Sees what the stores, the ledgers and the reservations say together."""

    def __init__(
        self,
        cluster: Cluster,
        ledgers: Ledgers,
        terminations: Terminations,
        reservations: Reservations,
        volumes: Volumes,
    ) -> None:
        self._cluster = cluster
        self._ledgers = ledgers
        self._terminations = terminations
        self._reservations = reservations
        self._volumes = volumes
        self._offers = Offers(cluster, ledgers, volumes)
        self.watching_since: datetime | None = None
        """When the first list of every kind was in."""
        self._unschedulable: dict[str, dict[str, datetime]] = {}
        """By workload UID: when each of its unschedulable pods was first seen so, by pod UID."""
        self.webhook_called = False
        """Some review has come, to this replica of the operator or to another."""

    def for_placement(
        self, workload: Workload, configuration: WorkloadConfiguration, owner_uid: str
    ) -> Observed:
        """A workload as a new pod of it must see it: who was really evicted holds no slot.

        ``owner_uid`` is the UID of the ReplicaSet or StatefulSet that makes the pod: its pods
        count although no watch has shown the ReplicaSet itself yet.
        """
        held = self._ledgers.cached(workload.uid)
        ledger = (held.ledger if held else None) or Ledger()
        return self._observe(workload, configuration, ledger, frozenset(), owner_uid)

    def for_reconcile(
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
            moves_free=cluster.settings.max_moves_in_flight - len(open_moves),
            probe_free=not any(intent.probe for intent in open_moves),
            first_unschedulable=self._first_unschedulable(
                workload.uid,
                (r.pod.uid for r in observed.replicas if r.pod.unschedulable),
                now,
            ),
            bypassed=self._bypassed(observed),
            stale_watch=cluster.stale_watch(),
            suspect_list=cluster.suspect_list(),
        )
        return self._offers.added(observed, now)

    def _first_unschedulable(
        self, workload_uid: str, unschedulable: Iterable[str], now: datetime
    ) -> Mapping[str, datetime]:
        """When each of these pods was first seen unschedulable; forgets the workload's others."""
        before = self._unschedulable.get(workload_uid, {})
        found = {uid: before.get(uid, now) for uid in unschedulable}
        if found:
            self._unschedulable[workload_uid] = found
        else:
            self._unschedulable.pop(workload_uid, None)
        return found

    def _observe(
        self,
        workload: Workload,
        configuration: WorkloadConfiguration,
        ledger: Ledger,
        meant: Set[str],
        owner_uid: str = "",
    ) -> Observed:
        cluster = self._cluster
        makers = cluster.owner_uids(workload) | {owner_uid}
        pods = [pod for uid in makers for pod in cluster.pods_owned_by(uid)]
        # Pods of one template share one shape (kube/decode/pod_shape.py): classify it once.
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
            classified=bool(cluster.nodes.groups_in_use()),
            synced=cluster.synced,
            read_only=cluster.settings.read_only,
            may_override_budgets=cluster.settings.pdb_override
            and configuration.disruption.pdb_override,
            ledger=ledger,
            storm_until=cluster.nodes.storm_until,
        )

    def _bypassed(self, observed: Observed) -> int:
        """Replicas made since we watch that no webhook saw; 0 once any review has come."""
        self.webhook_called = self.webhook_called or any(r.pod.rule for r in observed.active)
        since = self.watching_since
        if self.webhook_called or since is None:
            return 0
        since = since.replace(microsecond=0)  # as a pod's stamp is
        return sum(1 for r in observed.active if r.pod.created_at and r.pod.created_at >= since)

    def _replica(self, pod: Pod, pinned: NodeType, meant: Set[str]) -> Replica:
        """``pinned``: the class that its shape is pinned to."""
        cluster = self._cluster
        known = cluster.nodes.type_of(pod.node) if pod.node else None
        return Replica(
            pod=pod,
            node_type=pinned if known is None else known,
            on_terminating_node=cluster.nodes.is_terminating(pod.node),
            evicted=pod.uid in meant or pod.uid in self._terminations,
            # A pod that no webhook of ours has seen can be pinned only by its owner.
            user_pinned=pod.rule == "user-pinned"
            or (not pod.rule and pinned is not NodeType.UNKNOWN),
            reach=self._volumes.reach(pod) if pod.claims else (),
            other_pods=cluster.pod_count(pod.node) - 1 if pod.node else 0,
        )

    def _reserved(self, owners: Set[str]) -> tuple[Reservation, ...]:
        return tuple(r for owner in owners for r in self._reservations.of(owner))
