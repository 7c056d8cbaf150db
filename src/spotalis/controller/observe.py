"""Collects the planner's input from the stores, the ledgers and the API server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import datetime

from spotalis import logs
from spotalis.controller.autoscaler import AutoscalerEvents, autoscaler_of
from spotalis.controller.cluster import Cluster, WorkloadKey, key_of
from spotalis.controller.ledgers import Ledgers
from spotalis.controller.nodes_view import StoreNodesView
from spotalis.controller.open_moves import OpenMoves
from spotalis.controller.reservations import Reservations
from spotalis.controller.terminations import Terminations
from spotalis.controller.tracked_owners import TrackedOwners
from spotalis.controller.volumes import Volumes, pods_with_relevant_volumes
from spotalis.kube.client import ApiError
from spotalis.model.configuration import POD_CAPACITY_TYPE, WorkloadConfiguration
from spotalis.model.constraints import NOT_KEPT, TOO_LONG
from spotalis.model.environment import Clock
from spotalis.model.ledger import Ledger
from spotalis.model.nodes import NodeType
from spotalis.model.objects import OVERRIDDEN, USER_PINNED, Pod, PodShape, Workload
from spotalis.model.possible_types import selects_compute_class
from spotalis.model.transport import TransportError
from spotalis.planner.breaker import record_interruption, spot_starts_left
from spotalis.planner.decide import ReconcilePlan
from spotalis.planner.fallback import WaitingReplicas, waiting_for_spot
from spotalis.planner.held import HeldByOwners
from spotalis.planner.ledger import drop_unsent
from spotalis.planner.observed import (
    ClusterState,
    MoveBudget,
    Observed,
    Replica,
    WorkloadState,
)
from spotalis.planner.placement import PlacementView
from spotalis.planner.reserved_slots import ReservedSlots
from spotalis.planner.spot_capacity import next_pod_shape, spot_capacity
from spotalis.planner.spot_knowledge import NOTHING_KNOWN, SpotView, question_of, view, with_ledger

log = logs.get(__name__)


class Observer:
    """Builds :class:`Observed` values, and keeps what only this instance has seen."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        ledgers: Ledgers,
        terminations: Terminations,
        reservations: Reservations,
        volumes: Volumes,
        autoscaler: AutoscalerEvents,
        clock: Clock,
        instance: str,
    ) -> None:
        """Nothing is read before a method is called.

        Args:
            cluster, ledgers, terminations, reservations, volumes, autoscaler, clock: the sources.
            instance: the name of this instance in ledgers.
        """
        self._cluster = cluster
        self._ledgers = ledgers
        self._terminations = terminations
        self._reservations = reservations
        self._volumes = volumes
        self._autoscaler = autoscaler
        self._spot = ledgers.spot
        self._clock = clock
        self._instance = instance
        self._nodes = StoreNodesView(cluster, ledgers, volumes)
        self._tracked = TrackedOwners(cluster, terminations, clock, self._placed_replica)
        self._open_moves = OpenMoves(cluster, ledgers, terminations, clock)
        self._unschedulable: dict[WorkloadKey, dict[str, datetime]] = {}
        """By workload: when each of its unschedulable pods was first seen so, by pod UID."""
        self._cooldowns: dict[WorkloadKey, datetime] = {}
        self.watching_since: datetime | None = None
        """When the first list of every kind had arrived."""
        self.webhook_called = False
        """Whether an admission request for a pod of an existing owner has reached any instance."""

    def for_placement(
        self, workload: Workload, configuration: WorkloadConfiguration, owner_uid: str, name: str
    ) -> PlacementView:
        """A workload as the webhook must see it: only pods that were really evicted are gone.

        Args:
            owner_uid: of the ReplicaSet or StatefulSet that creates the pod. Its pods count even
                if no watch has shown the ReplicaSet yet.
            name: of the new pod; empty for those of a ReplicaSet.
        """
        now, namespace = self._clock.now(), workload.namespace
        stored = self._ledgers.cached(workload.uid)
        ledger = (stored.ledger if stored else None) or Ledger()
        owners = {owner_uid}.union(
            # A Deployment keeps its last ReplicaSets, which have no pods any more.
            uid
            for uid in self._cluster.owner_uids(workload)
            if self._cluster.pods_owned_by(namespace, uid)
            or self._reservations.count(namespace, uid)
        )
        first = workload.first_ordinal if workload.kind == "StatefulSet" else None
        reservations = self._reservations_of(namespace, owners)
        namesake = self._cluster.pods.get(namespace, name) if name else None
        held = HeldByOwners(
            owner=owner_uid,
            by_owner={uid: self._tracked.get(namespace, uid, first) for uid in owners},
            reservations=reservations,
            namesake=namesake.uid if namesake else "",
        )
        spot_view = NOTHING_KNOWN
        if self._spot.records or not ledger.is_empty:
            shape = next_pod_shape(workload, held.newest_pods(), self._nodes.without_pins)
            spot_view = self._spot_view(workload, configuration, shape, ledger)
        ledger = record_interruption(ledger, self._cluster.settings.breaker, held.lost(), now)
        starts_left = spot_starts_left(ledger, held.replicas(), reservations.values(), now)
        return held.view(
            workload,
            configuration,
            ledger,
            spot_starts_left=starts_left,
            is_spot_exhausted=spot_view.is_exhausted,
        )

    async def for_reconcile(
        self, workload: Workload, configuration: WorkloadConfiguration, ledger: Ledger
    ) -> Observed:
        """A workload as the reconciler must see it: pods that the ledger names are gone.

        Args:
            ledger: as read. What this instance never sent is removed from it.

        Raises:
            ApiError, TransportError: a pod that the ledger names, or a volume, could not be read.
        """
        ledger = drop_unsent(ledger, instance=self._instance, sent=self._terminations.sent)
        terminated = await self._terminations.find(workload.namespace, ledger)
        version = self._nodes.version
        while True:
            observed = self._observe(workload, configuration, ledger, terminated)
            relevant = pods_with_relevant_volumes(observed, self._clock.now())
            if await self._volumes.fetch(relevant):
                version = self._nodes.version
                continue
            counts = observed.state.surplus_type is NodeType.ON_DEMAND
            if not (counts and await self._nodes.update(version)):
                return observed

    async def waiting_replicas(self, observed: Observed, now: datetime) -> WaitingReplicas:
        """The replicas that wait for a spot node.

        The Events of autoscalers are read while replicas wait. If they cannot be read, this is
        logged, and the clock alone counts.
        """
        waiting = waiting_for_spot(observed, now)
        if not waiting.on_clock:
            return waiting
        namespace = observed.workload.namespace
        try:
            news = await self._autoscaler.read(namespace, now, fresh=bool(waiting.due))
        except (ApiError, TransportError) as error:
            log.warning("Events could not be read", namespace=namespace, error=str(error))
            return waiting
        pin = self._cluster.nodes.pin(NodeType.SPOT)
        return waiting.with_autoscaler(news.announced, news.refused_by(autoscaler_of(pin)))

    def without_ledger(self, workload: Workload, configuration: WorkloadConfiguration) -> Observed:
        """A workload without its ledger: it, or a list, cannot be read."""
        return self._observe(workload, configuration, Ledger(), frozenset())

    def versions(self, workload: Workload) -> int | None:
        """A hash of the versions of everything that makes a workload balanced, or not.

        Of what a reconcile reads, it leaves out the time, and what matters only to moves. None if
        time alone may change the result: an open move or a step of a Rollout continues.
        """
        if workload.rollout is not None or self._ledgers.cached(workload.uid) is not None:
            return None
        cluster, nodes = self._cluster, self._cluster.nodes
        policy = [
            found.resource_version
            for name in (workload.namespace, cluster.settings.namespace)
            if (found := cluster.namespaces.get("", name)) is not None
        ]
        pods = [
            (pod.uid, pod.resource_version, nodes.end_of(pod.node), pod.uid in self._terminations)
            for pod in cluster.pods_of(workload)
        ]
        return hash(
            (
                (workload.uid, workload.resource_version, *policy),
                tuple(pods),
                (nodes.changes, nodes.node_pools, self._cluster_state(workload)),
            )
        )

    def remember(self, key: WorkloadKey, plan: ReconcilePlan) -> None:
        """Keep what a plan found out for later reconciles."""
        if (until := plan.observed.moves.cooldown_until) is not None:
            self._cooldowns[key] = until

    def forget(self, key: WorkloadKey) -> None:
        """Forget a workload that is gone or not managed any more."""
        self._cooldowns.pop(key, None)
        self._unschedulable.pop(key, None)

    def forget_all(self) -> None:
        """Forget every workload: another instance leads."""
        self._cooldowns.clear()
        self._unschedulable.clear()

    def _observe(
        self,
        workload: Workload,
        configuration: WorkloadConfiguration,
        ledger: Ledger,
        terminated: Set[str],
    ) -> Observed:
        cluster, now = self._cluster, self._clock.now()
        key = key_of(workload)
        owners = cluster.owner_uids(workload)
        workload, replica_sets = cluster.with_replica_sets(workload)
        intended = {intent.pod for intent in ledger.intents}
        replicas = self._replicas(workload.namespace, owners, intended)
        shape = self._next_shape(workload, replicas)
        state = WorkloadState(
            workload=workload,
            configuration=configuration,
            replicas=replicas,
            ledger=ledger,
            replica_sets=replica_sets,
            spot_view=self._spot_view(workload, configuration, shape, ledger),
        )
        unschedulable = (r.pod.uid for r in state.replicas if r.pod.unschedulable)
        return Observed.of(
            state,
            budgets=cluster.budgets_in(workload.namespace),
            reservations=self._reservations_of(workload.namespace, owners),
            cluster=self._cluster_state(workload),
            spot=spot_capacity(state, shape, self._nodes, now),
            moves=self._move_budget(key, configuration),
            terminated=terminated,
            first_unschedulable=self._first_unschedulable(key, unschedulable, now),
            refusals=self._terminations.refusals.of(r.pod.uid for r in state.replicas),
            bypassed=self._bypassed(state),
        )

    def _next_shape(self, workload: Workload, replicas: Sequence[Replica]) -> PodShape:
        pods = [replica.pod for replica in replicas]
        return next_pod_shape(workload, pods, self._nodes.without_pins)

    def _spot_view(
        self,
        workload: Workload,
        configuration: WorkloadConfiguration,
        shape: PodShape,
        ledger: Ledger,
    ) -> SpotView:
        now = self._clock.now()
        question = question_of(shape, workload.uid, configuration.spot_fallback, workload.namespace)
        return view(with_ledger(self._spot.records, ledger, question, now), question, now)

    def _cluster_state(self, workload: Workload) -> ClusterState:
        cluster, health = self._cluster, self._cluster.health
        kind, namespace = workload.kind, workload.namespace
        return ClusterState(
            synced=health.can_move(kind, namespace),
            stale_watch=health.stale_watch(kind, namespace),
            suspect_list=health.suspect_list(kind, namespace),
            classified=bool(cluster.nodes.groups_in_use()),
            read_only=cluster.settings.read_only,
            breaker=cluster.settings.breaker,
            storm_until=cluster.nodes.storm_until,
        )

    def _move_budget(self, key: WorkloadKey, configuration: WorkloadConfiguration) -> MoveBudget:
        settings = self._cluster.settings
        places = self._open_moves.places(key.namespace)
        return MoveBudget(
            free=places.count,
            is_share=places.is_share,
            next_in=places.next_in,
            holders=places.holders,
            probe_free=not places.probes,
            cooldown=settings.cooldown,
            cooldown_until=self._cooldowns.get(key),
            may_override_budgets=settings.pdb_override and configuration.disruption.pdb_override,
            evict_early=settings.evict_early,
        )

    def _first_unschedulable(
        self, key: WorkloadKey, unschedulable: Iterable[str], now: datetime
    ) -> Mapping[str, datetime]:
        """When each of these pods was first seen unschedulable; forgets the workload's others."""
        before = self._unschedulable.get(key, {})
        found = {uid: before.get(uid, now) for uid in unschedulable}
        if found:
            self._unschedulable[key] = found
        else:
            self._unschedulable.pop(key, None)
        return found

    def _bypassed(self, state: WorkloadState) -> int:
        """Replicas created without an admission request since the watches started.

        0 once any request has arrived.
        """
        self.webhook_called = self.webhook_called or any(r.pod.rule for r in state.active)
        since = self.watching_since
        if self.webhook_called or since is None:
            return 0
        since = since.replace(microsecond=0)  # creationTimestamp has whole seconds.
        return sum(1 for r in state.active if r.pod.created_at and r.pod.created_at >= since)

    def _replicas(
        self, namespace: str, owners: Set[str], intended: Set[str]
    ) -> tuple[Replica, ...]:
        """The pods of these owners, which are in this namespace.

        Args:
            intended: UIDs of pods that count as gone.
        """
        pods = [pod for uid in owners for pod in self._cluster.pods_owned_by(namespace, uid)]
        # Pods of one template share one shape (kube/decode/pod_shape.py): classify it once.
        shapes = {id(pod.shape): pod.shape for pod in pods}
        nodes = self._cluster.nodes
        pinned = {key: nodes.pinned_to(shape) for key, shape in shapes.items()}
        return tuple(self._replica(pod, pinned[id(pod.shape)], intended) for pod in pods)

    def _placed_replica(self, pod: Pod, pinned: NodeType) -> Replica:
        """A replica with the fields that placements depend on."""
        return self._replica(pod, pinned, frozenset(), for_moves=False)

    def _replica(
        self, pod: Pod, pinned: NodeType, intended: Set[str], *, for_moves: bool = True
    ) -> Replica:
        """``pinned`` is the only type on which the pod may run, unknown if there is none."""
        cluster = self._cluster
        known = cluster.nodes.type_of(pod.node) if pod.node else None
        end = cluster.nodes.end_of(pod.node)
        sent_to = _sent_to(pod) if pinned is NodeType.UNKNOWN else pinned
        placed_on = pod.labels.get(POD_CAPACITY_TYPE, pinned)
        overridden = pod.rule == OVERRIDDEN or (
            # Its constraints contradict the decision, so something has changed them afterwards.
            pod.rule not in ("", USER_PINNED)
            and pinned is not NodeType.UNKNOWN
            and placed_on != pinned
        )
        return Replica(
            pod=pod,
            node_type=sent_to if known is None else known,
            on_terminating_node=end is not None,
            on_reclaimed_node=end is not None and not end.by_autoscaler,
            node_created_at=end.created_at if end is not None else None,
            counts_as_gone=pod.uid in intended or pod.uid in self._terminations,
            # The constraints of any other pod include those of the webhook.
            user_pinned=overridden
            or pod.shape.unjudged == NOT_KEPT
            or (
                pod.rule in ("", USER_PINNED)
                and (
                    pinned is not NodeType.UNKNOWN
                    or selects_compute_class(pod.shape)
                    or pod.shape.unjudged == TOO_LONG  # The webhook does not place it.
                )
            ),
            overridden=overridden,
            volume_affinity=self._volumes.affinity(pod) if for_moves and pod.claims else (),
            other_pods=cluster.placed.count_on(pod.node) - 1 if for_moves and pod.node else 0,
        )

    def _reservations_of(self, namespace: str, owners: Set[str]) -> Mapping[str, ReservedSlots]:
        return {owner: self._reservations.of(namespace, owner) for owner in owners}


def _sent_to(pod: Pod) -> NodeType:
    """The capacity type in the webhook's decision about a pod; unknown if it made none."""
    label = pod.labels.get(POD_CAPACITY_TYPE) if pod.rule else None
    return NodeType(label) if label in set(NodeType) else NodeType.UNKNOWN
