"""One workload as it was at one instant: all that a decision may look at."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property

from spotalis.model.configuration import WorkloadConfiguration
from spotalis.model.ledger import Ledger
from spotalis.model.nodes import NodeType
from spotalis.model.objects import DisruptionBudget, NodeTerms, Pod, Workload
from spotalis.model.replicas import ReplicaState

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A pod of the workload, with what its surroundings say about it."""

    pod: Pod
    node_type: NodeType
    """Its node's class while it is bound to a known node, else the class it is pinned to."""
    on_terminating_node: bool = False
    """Its node is being taken by the provider."""
    evicted: bool = False
    """To the planner: the ledger means it. To the webhook: the API server has accepted that, and
    no event has shown it yet."""
    user_pinned: bool = False
    """The owner's template pins its class: counted, never moved."""
    reach: NodeTerms = ()
    """What a node must meet to reach its volumes; empty: they are anywhere, or not known."""
    other_pods: int = 0
    """Other pods on its node."""

    @property
    def is_active(self) -> bool:
        """It holds a slot: neither finished, nor on its way out."""
        pod = self.pod
        return not (pod.deleting_at or pod.finished or self.on_terminating_node or self.evicted)

    @property
    def is_ready(self) -> bool:
        """It serves, and nothing is about to end it."""
        return self.is_active and self.pod.ready

    def available(self, min_ready: timedelta, now: datetime) -> bool:
        """It has been ready for the workload's ``minReadySeconds``."""
        if not self.is_ready:
            return False
        since = self.pod.ready_at
        # Without minReadySeconds no clock is asked: ours may be behind the kubelet's.
        return not min_ready or since is None or now - since >= min_ready


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A pod admitted and not yet seen."""

    request_uid: str
    """The review's uid; the pod will carry it in its decision annotation."""
    owner: str
    """UID of the ReplicaSet or StatefulSet."""
    slot: int
    node_type: NodeType
    name: str = ""
    """Only a StatefulSet's pods have a name before they exist."""
    move: str = ""
    """The move whose replacement it is, if it is one's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confines:
    """What nodes offer a replica whose volumes only some of them reach."""

    where: str
    """These nodes, in words."""
    classes: Set[NodeType] = frozenset(NodeType)
    """Classes of which one of these nodes could hold it, were it empty, or may be added."""
    room: int = 0
    """How many more replicas of this reach fit on the Ready spot nodes among them."""
    provisioned: bool = False
    """Some of them are of Karpenter's node pools, and more could come that reach the volumes."""
    arriving: bool = False
    """A spot node among them has registered and is not yet Ready."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """A snapshot of one workload; the planner sees nothing else."""

    workload: Workload
    configuration: WorkloadConfiguration
    replicas: tuple[Replica, ...] = ()
    budgets: tuple[DisruptionBudget, ...] = ()
    """All PodDisruptionBudgets of its namespace."""
    reservations: tuple[Reservation, ...] = ()
    room: Mapping[NodeType, int] = field(default_factory=dict)
    """How many more of its pods fit on the nodes of a class; a class that is absent has no bound
    (towards on-demand a provisioner is assumed)."""
    room_known: bool = True
    """False: not all pods are watched, so only a probe tells whether there is room."""
    classified: bool = True
    """At least one node says which class it is, or the settings name a rule group."""
    synced: bool = True
    stale_watch: str = ""
    """Which kind's watch has said nothing for too long; empty if none."""
    suspect_list: str = ""
    """Why the view is not to be trusted; empty if it is."""
    read_only: bool = False
    may_override_budgets: bool = False
    """Owner and operator both allow that a pod is deleted where a budget blocks its move."""
    moves_free: int = 20
    """Evictions that may still start in the whole cluster."""
    cooldown_until: datetime | None = None
    storm_until: datetime | None = None
    """Moves towards spot rest until then in the whole cluster; None, or past: no storm."""
    ledger: Ledger = Ledger()
    """What is remembered of the workload; pods of its intents are ``evicted`` above."""
    probe_free: bool = True
    """No probe is under way in the cluster."""
    landed_at: datetime | None = None
    """When a probe, anybody's, last found a spot node."""
    provisioned: bool = False
    """Somebody adds nodes for pods that wait: there are nodes of Karpenter's node pools."""
    arriving: bool = False
    """A spot node that fits has registered and is not yet Ready."""
    on_demand_helps: bool = True
    """Some on-demand node could hold a replica, or none is there to say otherwise."""
    confines: Mapping[NodeTerms, Confines] = field(default_factory=dict)
    """By the reach of replicas, where that is not empty: there the five fields above (``room`` to
    ``on_demand_helps``) do not hold, but these."""
    first_unschedulable: Mapping[str, datetime] = field(default_factory=dict)
    """By pod UID: when a pod was first seen unschedulable, where the scheduler wrote no time."""
    bypassed: int = 0
    """Replicas made since we watch that no webhook saw, while no review ever came."""

    @cached_property
    def active(self) -> tuple[Replica, ...]:
        """The replicas that hold a slot."""
        return tuple(replica for replica in self.replicas if replica.is_active)

    @cached_property
    def replacements(self) -> frozenset[str]:
        """UIDs of those that start in the place of ones that we have moved: the youngest, one a
        move.

        Where they landed counts once they serve. To move them on before that would go on for ever
        where no webhook of ours sees new pods, or one that has not heard the owner's last word.
        They are told by their age among each other: the operator's clock takes no part in it.
        """
        starting = [replica for replica in self.active if not replica.pod.ready]
        starting.sort(key=lambda replica: replica.pod.created_at or _LONG_AGO, reverse=True)
        return frozenset(r.pod.uid for r in starting[: len(self.ledger.intents)])

    @cached_property
    def state(self) -> ReplicaState:
        """Wanted against present."""
        counts = dict.fromkeys(NodeType, 0)
        for replica in self.active:
            counts[replica.node_type] += 1
        return ReplicaState(
            desired=self.workload.replicas,
            percent=self.configuration.percent,
            floor=self.configuration.floor,
            spot=counts[NodeType.SPOT],
            on_demand=counts[NodeType.ON_DEMAND],
            unknown=counts[NodeType.UNKNOWN],
        )

    def missing(self, now: datetime) -> int:
        """Wanted replicas that do not serve, ours in flight among them; never negative."""
        min_ready = timedelta(seconds=self.workload.min_ready_seconds)
        available = sum(1 for replica in self.replicas if replica.available(min_ready, now))
        return max(0, self.workload.replicas - available)

    def moves_left(self, now: datetime) -> int:
        """Ready replicas that may be moved now; 0 or less: as many are missing as may be."""
        return self.move_limit - self.missing(now)

    @property
    def move_limit(self) -> int:
        """Replicas that may be missing or on the move at once; one of an ordered StatefulSet."""
        if self.workload.ordered:
            return 1
        return self.configuration.disruption.moves_in_flight.of(self.workload.replicas)

    @cached_property
    def ready_on_demand(self) -> int:
        """What the floor is measured against."""
        return sum(1 for r in self.replicas if r.is_ready and r.node_type is NodeType.ON_DEMAND)
