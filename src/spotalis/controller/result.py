"""What one turn of one workload came to: metrics, events and status all read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from spotalis.controller.cluster import WorkloadKey
from spotalis.kube.client import EvictionOutcome
from spotalis.model.decision import Decision, Defer, Move, Reason
from spotalis.model.nodes import NodeType
from spotalis.model.replicas import ReplicaState
from spotalis.planner.observed import Observed


@dataclass(frozen=True, slots=True, kw_only=True)
class EvictionRecord:
    """What became of one eviction."""

    move: Move
    outcome: EvictionOutcome
    message: str = ""
    fallback: bool = False
    """Of a replica that waited for spot in vain: nothing ready was lost."""
    early: bool = False
    """Of a replica whose node is being taken: it would have gone with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileResult:
    """The record of one turn: metrics, events, status and the simulator all read it."""

    key: WorkloadKey
    at: datetime
    decision: Decision
    state: ReplicaState
    ready: Mapping[NodeType, int] = field(default_factory=dict)
    """Replicas that serve, per class."""
    moving: bool = False
    """Moves are open, or replicas are to be moved."""
    fallbacks: int = 0
    """Replicas of spot slots that run on on-demand since spot was short."""
    leaving: Mapping[str, int] = field(default_factory=dict)
    """Spot nodes that are being taken, and replicas of the workload on each."""
    storm: bool = False
    """Moves towards spot rest in the whole cluster."""
    evictions: tuple[EvictionRecord, ...] = ()
    requeue_after: timedelta | None = None
    """When to look again at the latest."""

    @property
    def reason(self) -> Reason:
        """Why the workload is as it is."""
        return self.decision.reason


def record(
    key: WorkloadKey,
    now: datetime,
    observed: Observed,
    decision: Decision,
    evictions: Sequence[EvictionRecord] = (),
    requeue_after: timedelta | None = None,
) -> ReconcileResult:
    """A turn, with what was observed in it put into figures.

    ``requeue_after`` None leaves it to the decision when to look again.
    """
    if requeue_after is None and isinstance(decision, Defer):
        requeue_after = decision.requeue_after
    return ReconcileResult(
        key=key,
        at=now,
        decision=decision,
        state=observed.state,
        ready=Counter(r.node_type for r in observed.replicas if r.is_ready),
        moving=bool(observed.ledger.intents) or observed.state.surplus_type is not None,
        fallbacks=sum(1 for r in observed.active if r.pod.rule == "fallback"),
        leaving=Counter(
            r.pod.node
            for r in observed.replicas
            if r.on_terminating_node and r.node_type is NodeType.SPOT
        ),
        storm=observed.storm_until is not None and now < observed.storm_until,
        evictions=tuple(evictions),
        requeue_after=requeue_after,
    )
