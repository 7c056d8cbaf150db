"""The input of the planner: one workload and its surroundings at one instant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Self

import msgspec

from spotalis.model.configuration import WorkloadConfiguration
from spotalis.model.controller_configuration import InterruptionBreaker
from spotalis.model.ledger import Ledger
from spotalis.model.nodes import NodeType
from spotalis.model.objects import DisruptionBudget, NodeTerms, Pod, Workload
from spotalis.model.replicas import ReplicaState
from spotalis.planner.candidates import candidates
from spotalis.planner.refusal import Refusal
from spotalis.planner.reserved_slots import ReservedSlots
from spotalis.planner.spot_knowledge import NOTHING_KNOWN, SpotView

RECENT = timedelta(minutes=10)
"""How far messages about spot nodes look back."""
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Replica(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A pod of the workload, with what the planner needs to know about its surroundings."""

    pod: Pod
    node_type: NodeType
    """The type of its node if the pod is bound to a known node. Otherwise the only type on which
    its constraints let it run, or else the type in the webhook's decision about it."""
    on_terminating_node: bool = False
    """Its node ends, or has ended."""
    on_reclaimed_node: bool = False
    """The provider has decided that the node ends, and not an autoscaler."""
    node_created_at: datetime | None = None
    """When a node that ends was created."""
    counts_as_gone: bool = False
    """Its eviction was accepted and the watch does not show that yet. In a reconcile also: the
    ledger names it, so its eviction may have been sent."""
    user_pinned: bool = False
    """The pod's own constraints allow one capacity type only, or leave it to a GKE ComputeClass: it
    is counted, but never moved."""
    overridden: bool = False
    """Another admission webhook has changed the capacity type that Spotalis had chosen. Such a
    replica is also ``user_pinned``."""
    volume_affinity: NodeTerms = ()
    """The node affinity of its volumes. Empty: no restriction, or not known."""
    other_pods: int = 0
    """Number of other pods on its node."""

    @property
    def owner_uid(self) -> str:
        """UID of its ReplicaSet or StatefulSet; empty without one."""
        return self.pod.owner.uid if self.pod.owner else ""

    @property
    def is_active(self) -> bool:
        """Whether it holds a slot: it has not finished and is not about to go."""
        pod = self.pod
        return not (
            pod.deleting_at or pod.finished or self.on_terminating_node or self.counts_as_gone
        )

    @property
    def is_ready(self) -> bool:
        """Whether it is ready and holds a slot."""
        return self.is_active and self.pod.ready

    def is_available(self, min_ready: timedelta, now: datetime) -> bool:
        """Whether it has been ready for the workload's ``minReadySeconds``."""
        if not self.is_ready:
            return False
        since = self.pod.ready_at
        # Without minReadySeconds the clocks of the operator and the kubelet are not compared.
        return not min_ready or since is None or now - since >= min_ready


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterState:
    """What holds for every workload of the cluster."""

    synced: bool = True
    """The first list of every kind has arrived."""
    stale_watch: str = ""
    """A message about a watch that has been silent for too long; empty if none has."""
    suspect_list: str = ""
    """Why a list is not trusted, as a message; empty if all lists are."""
    classified: bool = True
    """A provider group is in use, so that nodes have a capacity type."""
    read_only: bool = False
    breaker: InterruptionBreaker = field(default_factory=InterruptionBreaker)
    """The operator's settings."""
    storm_until: datetime | None = None
    """No replica moves to spot until then. None or in the past: no storm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeCapacity:
    """What the nodes offer to replicas whose volumes only some nodes can attach."""

    where: str
    """A phrase that describes these nodes."""
    node_types: Set[NodeType] = frozenset(NodeType)
    """The types of which one of these nodes could hold the replica if it were empty, or of which
    such a node may be added."""
    free: int = 0
    """How many more of these replicas fit on the Ready spot nodes among them."""
    has_provisioner: bool = False
    """Karpenter manages some of these nodes and can add more that reach the volumes."""
    node_arriving: bool = False
    """A spot node among them has registered and is not Ready yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotCapacity:
    """What the nodes offer to the workload's replicas."""

    free: int | None = None
    """How many more replicas fit on the Ready spot nodes. None: not counted, because no replica is
    to move to spot or no node has a capacity type."""
    is_known: bool = True
    """False if not all pods are watched, so that only a probe can find free capacity."""
    unjudged: str = ""
    """What of the replicas cannot be judged, so that only a probe can find free capacity."""
    has_provisioner: bool = False
    """Karpenter manages some nodes and adds more for Pending pods."""
    node_arriving: bool = False
    """A spot node that fits has registered and is not Ready yet."""
    node_joined_at: datetime | None = None
    """While spot is exhausted: when the newest Ready spot node that could hold a replica if it
    were empty registered. It may be full: autoscalers add no more room than is asked for."""
    recent_pods: int = 0
    """Unless spot is unknown: pods that Spotalis sent to spot and that run on spot nodes which
    registered within RECENT."""
    on_demand_possible: bool = True
    """The pod template does not keep the replicas on spot nodes, so that an autoscaler may add an
    on-demand node for them."""
    on_demand_could_hold: bool = True
    """An on-demand node could hold a replica if it were empty, Karpenter adds nodes, or there is
    no on-demand node to tell."""
    by_volume: Mapping[NodeTerms, VolumeCapacity] = field(default_factory=dict)
    """For replicas with a volume affinity, by that affinity: replaces the fields above."""

    @property
    def evidence(self) -> str:
        """A phrase about the spot nodes that were added lately; empty if there are none."""
        if not self.recent_pods:
            return ""
        pods = "pod" if self.recent_pods == 1 else "pods"
        minutes = RECENT // timedelta(minutes=1)
        return f"{self.recent_pods} {pods} got spot nodes in the last {minutes} minutes"


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveBudget:
    """How many moves may start now, beyond what the workload's policy says."""

    free: int = 20
    """Moves that the limit of the cluster still allows in the workload's namespace."""
    is_share: bool = False
    """The share of the namespace allows fewer moves than the limit of the cluster."""
    next_in: timedelta | None = None
    """When the limit of the cluster may allow more at the latest, although nothing changes."""
    holders: Set[str] = frozenset()
    """UIDs of the pods of the namespace's open moves that count toward that limit."""
    probe_free: bool = True
    """No probe is in progress in the cluster."""
    cooldown: timedelta = timedelta(0)
    """Time between the end of a workload's last move and its next one."""
    cooldown_until: datetime | None = None
    """No move of this workload starts before then."""
    may_override_budgets: bool = False
    """Operator and owner both allow deleting a pod if a PodDisruptionBudget blocks its move."""
    evict_early: bool = False
    """Pods are evicted from spot nodes that are being reclaimed."""


@dataclass(frozen=True, kw_only=True)
class WorkloadState:
    """A workload, its policy, its replicas and its ledger."""

    workload: Workload
    configuration: WorkloadConfiguration
    replicas: tuple[Replica, ...] = ()
    ledger: Ledger = Ledger()
    """Pods of its intents count as gone."""
    replica_sets: Mapping[str, int] = field(default_factory=dict)
    """For a paused Rollout with more than one ReplicaSet: ``spec.replicas`` of each, by UID."""
    spot_view: SpotView = NOTHING_KNOWN
    """What is known about spot from all workloads."""
    spot_starts_left: int | None = None
    """How many more replicas may start on spot while its interruption breaker is not closed."""

    @cached_property
    def active(self) -> tuple[Replica, ...]:
        """The replicas that hold a slot."""
        return tuple(replica for replica in self.replicas if replica.is_active)

    @cached_property
    def replacements(self) -> frozenset[str]:
        """UIDs of the replicas that replace moved ones and are not ready yet: the youngest, one
        per open move.

        They are not moved again before they are ready. Otherwise replicas would be evicted over
        and over if the webhook is not called, or has not seen the latest policy. Only the pods'
        ages are compared with each other; the operator's clock is not used.
        """
        starting = [replica for replica in self.active if not replica.pod.ready]
        starting.sort(key=lambda replica: replica.pod.created_at or _LONG_AGO, reverse=True)
        return frozenset(r.pod.uid for r in starting[: len(self.ledger.intents)])

    @cached_property
    def state(self) -> ReplicaState:
        """Desired and present replicas per type."""
        return self._count(self.active, self.workload.replicas, tuple(self.parts.values()))

    @cached_property
    def parts(self) -> dict[str, ReplicaState]:
        """Desired and present replicas of each of ``replica_sets``."""
        return {
            uid: self._count([r for r in self.active if r.owner_uid == uid], replicas)
            for uid, replicas in self.replica_sets.items()
        }

    def _count(
        self, replicas: Iterable[Replica], desired: int, parts: tuple[ReplicaState, ...] = ()
    ) -> ReplicaState:
        # One without a node may still land on either type: it stays in n, on neither side.
        types = [r.node_type for r in replicas if r.node_type is not NodeType.UNKNOWN or r.pod.node]
        return ReplicaState(
            desired=desired,
            percent=self.configuration.percent,
            floor=self.configuration.floor,
            spot=types.count(NodeType.SPOT),
            on_demand=types.count(NodeType.ON_DEMAND),
            unknown=types.count(NodeType.UNKNOWN),
            parts=parts,
        )

    @cached_property
    def candidates(self) -> tuple[Replica, ...]:
        """The replicas that may be moved, in eviction order; empty if the split is correct."""
        surplus_type = self.state.surplus_type
        return () if surplus_type is None else tuple(candidates(self, surplus_type))

    @cached_property
    def unschedulable_on_spot(self) -> tuple[Replica, ...]:
        """The spot replicas that the scheduler finds no node for."""
        return self._unschedulable(NodeType.SPOT)

    @cached_property
    def unschedulable_on_demand(self) -> tuple[Replica, ...]:
        """The on-demand replicas that the scheduler finds no node for."""
        return self._unschedulable(NodeType.ON_DEMAND)

    def _unschedulable(self, node_type: NodeType) -> tuple[Replica, ...]:
        return tuple(r for r in self.active if r.node_type is node_type and r.pod.unschedulable)

    def missing(self, now: datetime) -> int:
        """Desired replicas that are not available; never negative."""
        min_ready = timedelta(seconds=self.workload.min_ready_seconds)
        available = sum(1 for replica in self.replicas if replica.is_available(min_ready, now))
        return max(0, self.workload.replicas - available)

    def moves_left(self, now: datetime) -> int:
        """Ready replicas that may be moved now; 0 or less if none may."""
        return self.move_limit - self.missing(now)

    @property
    def move_limit(self) -> int:
        """Replicas that may be missing or moving at once; 1 for an ordered StatefulSet."""
        if self.workload.ordered:
            return 1
        return self.configuration.disruption.moves_in_flight.of(self.workload.replicas)

    @property
    def below_floor(self) -> int:
        """Ready on-demand replicas that are missing to the minimum and that no open move brings."""
        coming = sum(intent.target is NodeType.ON_DEMAND for intent in self.ledger.intents)
        missing = self.configuration.floor - self.ready_on_demand - coming
        return max(0, missing) if self.state.surplus_type is NodeType.SPOT else 0

    @cached_property
    def ready_on_demand(self) -> int:
        """The replicas that count toward the minimum on on-demand."""
        return sum(1 for r in self.replicas if r.is_ready and r.node_type is NodeType.ON_DEMAND)


@dataclass(frozen=True, kw_only=True)
class Observed(WorkloadState):
    """Everything that the planner may base a decision on."""

    budgets: tuple[DisruptionBudget, ...] = ()
    """All PodDisruptionBudgets of the namespace."""
    reservations: Mapping[str, ReservedSlots] = field(default_factory=dict)
    """By the UID of the owner: the slots of its pods that no watch has shown yet."""
    cluster: ClusterState = ClusterState()
    spot: SpotCapacity = SpotCapacity()
    moves: MoveBudget = MoveBudget()
    terminated: Set[str] = frozenset()
    """UIDs of the pods in the ledger's intents that terminate or are gone."""
    first_unschedulable: Mapping[str, datetime] = field(default_factory=dict)
    """By pod UID: when a pod was first seen unschedulable. Used if its condition has no time."""
    refusals: Mapping[str, Refusal] = field(default_factory=dict)
    """By pod UID: how evictions of the workload's pods were refused."""
    bypassed: int = 0
    """Replicas that were created without an admission request, if no request ever arrived."""

    @classmethod
    def of(cls, state: WorkloadState, **surroundings: Any) -> Self:
        """A workload with its surroundings; what is derived from its state is not derived again.

        Args:
            state: the workload.
            surroundings: the fields that a :class:`WorkloadState` does not have.
        """
        observed = cls(workload=state.workload, configuration=state.configuration, **surroundings)
        vars(observed).update(vars(state))
        return observed

    @property
    def free_in_cluster(self) -> int:
        """Moves that the limit of the cluster allows. Those toward the minimum wait for no other
        workload."""
        return max(self.moves.free, self.below_floor)

    def is_backing_off(self, pod_uid: str, now: datetime) -> bool:
        """Whether the eviction of a pod was refused or failed so recently that none is sent now."""
        refusal = self.refusals.get(pod_uid)
        return refusal is not None and refusal.is_backing_off(now)
