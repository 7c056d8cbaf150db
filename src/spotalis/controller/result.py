"""The result of one reconcile: metrics, events and the condition are made from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from spotalis.controller.cluster import WorkloadKey
from spotalis.kube.client import EvictionOutcome
from spotalis.model.decision import Decision, Defer, Move, Reason
from spotalis.model.nodes import NodeType
from spotalis.model.replicas import ReplicaState
from spotalis.model.spot_knowledge import SpotAvailability
from spotalis.planner.decide import ReconcilePlan

BLOCKED_RETRY = timedelta(seconds=10)
"""After a PodDisruptionBudget blocked an eviction. A change of its status triggers a reconcile
before that."""
NEXT_CANDIDATE_RETRY = timedelta(seconds=1)
"""After an eviction was refused for a reason that may concern this pod only."""
UNKNOWN_RETRY = timedelta(seconds=2)
"""After an eviction whose response was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvictionRecord:
    """One eviction and its outcome."""

    move: Move
    outcome: EvictionOutcome
    message: str = ""
    fallback: bool = False
    """The replica was Pending on spot and starts on on-demand instead."""
    early: bool = False
    """The replica's spot node is being reclaimed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileResult:
    """What one reconcile found and did."""

    key: WorkloadKey
    at: datetime
    decision: Decision
    state: ReplicaState
    ready: Mapping[NodeType, int] = field(default_factory=dict)
    """Ready replicas per type."""
    moving: bool = False
    """Moves are open, or replicas are to be moved."""
    fallbacks: int = 0
    """Replicas of spot slots that run on on-demand because spot was exhausted or unstable."""
    reclaimed_nodes: Mapping[str, int] = field(default_factory=dict)
    """Spot nodes that are being reclaimed, with the number of the workload's replicas on each."""
    refusal: str = ""
    """Why the autoscaler adds no spot node for replicas that fall back, if it says so."""
    spot: SpotAvailability = SpotAvailability.UNKNOWN
    spot_evidence: str = ""
    """A phrase about the spot nodes that were added lately; may be empty."""
    storm: bool = False
    """No replica moves to spot in the whole cluster."""
    evictions: tuple[EvictionRecord, ...] = ()
    requeue_after: timedelta | None = None
    """When to reconcile again at the latest; None: when something changes."""

    @property
    def reason(self) -> Reason:
        """Why the workload is in this state."""
        return self.decision.reason

    @property
    def is_at_rest(self) -> bool:
        """Whether a reconcile finds the same as long as nothing changes but the time."""
        return (
            self.reason is Reason.BALANCED
            and self.requeue_after is None
            # The end of these is reported.
            and self.spot is not SpotAvailability.EXHAUSTED
            and not self.storm
        )


def summarize(
    key: WorkloadKey,
    now: datetime,
    plan: ReconcilePlan,
    evictions: Sequence[EvictionRecord] = (),
    requeue_after: timedelta | None = None,
) -> ReconcileResult:
    """Summarize a plan and the evictions that were sent for it.

    Args:
        requeue_after: replaces what plan and evictions say about it.
    """
    observed = plan.observed
    pauses = [pause for pause in _pauses(plan, evictions) if pause is not None]
    return ReconcileResult(
        key=key,
        at=now,
        decision=_outcome(plan.decision, evictions),
        state=observed.state,
        ready=Counter(r.node_type for r in observed.replicas if r.is_ready),
        moving=bool(observed.ledger.intents) or observed.state.surplus_type is not None,
        fallbacks=sum(1 for r in observed.active if r.pod.rule in ("fallback", "unstable")),
        reclaimed_nodes=Counter(
            r.pod.node
            for r in observed.replicas
            if r.on_reclaimed_node and r.node_type is NodeType.SPOT
        ),
        refusal=plan.refusal,
        spot=observed.spot_view.availability,
        spot_evidence=observed.spot.evidence,
        storm=observed.cluster.storm_until is not None and now < observed.cluster.storm_until,
        evictions=tuple(evictions),
        requeue_after=requeue_after or min(pauses, default=None),
    )


def _pauses(plan: ReconcilePlan, evictions: Sequence[EvictionRecord]) -> Iterator[timedelta | None]:
    yield plan.requeue_after
    if any(eviction.outcome is EvictionOutcome.UNKNOWN for eviction in evictions):
        yield UNKNOWN_RETRY
    if any(eviction.outcome is EvictionOutcome.FORBIDDEN for eviction in evictions):
        yield NEXT_CANDIDATE_RETRY
    if any(eviction.outcome.is_refusal for eviction in evictions):
        yield BLOCKED_RETRY


def _outcome(decision: Decision, evictions: Sequence[EvictionRecord]) -> Decision:
    """The decision, or why all evictions for moves and fallbacks were refused.

    An eviction that was never sent was not refused.
    """
    sent = [eviction for eviction in evictions if not eviction.early]
    if not sent or not all(eviction.outcome.is_refusal for eviction in sent):
        return decision
    last = sent[-1]
    if last.outcome is EvictionOutcome.NOT_SENT:
        return decision
    if last.outcome.is_blocked_by_budget:
        return Defer(Reason.BLOCKED_BY_PDB, last.message, BLOCKED_RETRY)
    words = f"the eviction of {last.move.pod.name} was refused: {last.message}"
    return Defer(Reason.EVICTION_REFUSED, words, BLOCKED_RETRY)
