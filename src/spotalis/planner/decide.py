"""The whole decision of one reconcile, as one value (docs/reference/behaviour.md, "Repair")."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from spotalis.model.decision import Decision, Defer, Evict, Reason
from spotalis.model.ledger import Intent, Ledger
from spotalis.model.spot_knowledge import SpotAvailability, SpotRecord
from spotalis.planner.breaker import with_breaker
from spotalis.planner.early_eviction import early_evictions
from spotalis.planner.fallback import WaitingReplicas, failure_of, record_fallback
from spotalis.planner.ledger import prepare
from spotalis.planner.moves import plan_moves, recheck
from spotalis.planner.observed import Observed, Replica
from spotalis.planner.refusal import next_retry_in
from spotalis.planner.resolution import MoveResolution, resolve_moves
from spotalis.planner.spot_knowledge import from_ledger, success

ANNOUNCED_RETRY = timedelta(seconds=15)
"""When to look again at a replica for which an autoscaler has announced a node."""


AUTOSCALER_POLL = timedelta(seconds=5)
"""How often autoscalers' Events are read while replicas wait for spot: replicas that the autoscaler
refuses must serve again within 15 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilePlan:
    """What one reconcile does, in this order."""

    decision: Decision
    """The moves, or why there are none."""
    observed: Observed
    """The input, without the moves that have finished."""
    ledger: Ledger
    """To be written before anything is sent."""
    learned: tuple[SpotRecord, ...] = ()
    """What other workloads must know about spot; to be written before anything is sent."""
    finished: tuple[Intent, ...] = ()
    """Moves that have finished. Other workloads may have been waiting for them."""
    fallbacks: tuple[Replica, ...] = ()
    """Pending spot replicas to evict, so that they start on on-demand."""
    refusal: str = ""
    """Why the autoscaler adds no spot node for them, if it says so."""
    early_evictions: tuple[Replica, ...] = ()
    """Replicas to evict from spot nodes that are being reclaimed."""
    sends_intents: bool = False
    """Whether the evictions of the ledger's intents are to be sent."""
    requeue_after: timedelta | None = None
    """When to reconcile again at the latest; None: when something changes."""


def decide(
    observed: Observed, waiting: WaitingReplicas, *, now: datetime, instance: str, can_evict: bool
) -> ReconcilePlan:
    """Decide everything that a reconcile does.

    Args:
        observed: with the ledger as read, without what this instance never sent.
        waiting: the answer of ``waiting_for_spot``, without the replicas that an autoscaler has
            announced a node for.
        now: aware.
        instance: the name of this instance in ledgers.
        can_evict: whether this instance may evict pods.
    """
    observed, learned = _learn(observed, now)
    if observed.cluster.read_only:
        decision = plan_moves(observed, waiting, now)
        if decision.reason is Reason.READ_ONLY:
            decision = _would_do(decision, observed, waiting, now)
        return ReconcilePlan(
            decision=decision,
            observed=observed,
            ledger=observed.ledger,
            requeue_after=_requeue_after(decision, WaitingReplicas()),
        )
    resolution = resolve_moves(observed, now)
    observed = with_breaker(after_moves(observed, resolution, now), now)
    if resolution.found_spot:
        learned.append(success(observed.spot_view, now, node_joined=False))
        observed = _with_spot_available(observed, now)
    if waiting.due:
        learned.append(failure_of(observed, waiting, now))
        ledger = record_fallback(observed.ledger, waiting.due, now)
        decision = _fall_back(waiting)
    else:
        ledger = observed.ledger
        decision = plan_moves(observed, waiting, now)
    wanted = _intents(decision, instance, now)
    unsent = any(
        intent.pod not in observed.terminated and not observed.is_backing_off(intent.pod, now)
        for intent in ledger.intents
    )
    sends = can_evict and bool(
        wanted or (unsent and not waiting.due and recheck(observed, now) is None)
    )
    if sends:
        ledger = prepare(ledger, instance=instance, wanted=wanted, terminated=observed.terminated)
    return ReconcilePlan(
        decision=decision,
        observed=observed,
        ledger=ledger,
        learned=tuple(record for record in learned if record is not None),
        finished=resolution.finished,
        fallbacks=waiting.due,
        refusal=waiting.refusal,
        early_evictions=early_evictions(observed, now) if observed.moves.evict_early else (),
        sends_intents=sends,
        requeue_after=_requeue_after(
            decision, waiting, next_retry_in(observed.refusals.values(), now)
        ),
    )


def _would_do(
    decision: Decision, observed: Observed, waiting: WaitingReplicas, now: datetime
) -> Decision:
    """The read-only decision, with what would happen now if the operator were not read-only."""
    writable = dataclasses.replace(observed.cluster, read_only=False)
    observed = with_breaker(dataclasses.replace(observed, cluster=writable), now)
    wanted = plan_moves(observed, waiting, now)
    if isinstance(wanted, Evict):
        names = ", ".join(move.pod.name for move in wanted.moves)
        return Defer(Reason.READ_ONLY, f"{decision.message}; it would evict {names} now")
    return Defer(Reason.READ_ONLY, f"{decision.message}; it would wait: {wanted.message}")


def after_moves(observed: Observed, resolution: MoveResolution, now: datetime) -> Observed:
    """The same workload once its finished moves are removed from the ledger."""
    finished, moves = resolution.finished, observed.moves
    if finished:
        last = not resolution.ledger.intents
        moves = dataclasses.replace(
            moves,
            free=moves.free + sum(intent.pod in moves.holders for intent in finished),
            probe_free=moves.probe_free or any(intent.probe for intent in finished),
            cooldown_until=now + moves.cooldown if last else moves.cooldown_until,
        )
    if moves is observed.moves and resolution.ledger == observed.ledger:
        return observed  # a copy loses what is derived from its fields
    return dataclasses.replace(observed, ledger=resolution.ledger, moves=moves)


def _learn(observed: Observed, now: datetime) -> tuple[Observed, list[SpotRecord | None]]:
    """Learn from a spot node that has joined, and from the ledger of an older version."""
    learned: list[SpotRecord | None] = []
    seen, ledger = observed.spot_view, observed.ledger
    if (old := from_ledger(ledger, seen.question, now)) is not None:
        learned.append(old)
        ledger = msgspec.structs.replace(
            ledger,
            spot_availability=SpotAvailability.UNKNOWN,
            failed_probes=0,
            next_probe_at=None,
        )
        observed = dataclasses.replace(observed, ledger=ledger)
    joined_at = observed.spot.node_joined_at
    if seen.is_exhausted and seen.since and joined_at and joined_at > seen.since:
        learned.append(success(seen, joined_at, node_joined=True))
        observed = _with_spot_available(observed, joined_at)
    return observed, learned


def _with_spot_available(observed: Observed, since: datetime) -> Observed:
    return dataclasses.replace(observed, spot_view=observed.spot_view.available_since(since))


def _fall_back(waiting: WaitingReplicas) -> Defer:
    due = waiting.due
    count = f"{len(due)} {'replica' if len(due) == 1 else 'replicas'}"
    within = f": {waiting.refusal}" if waiting.refusal else " within spot-fallback"
    message = f"no spot node for {count}{within}; starting on on-demand"
    return Defer(Reason.NO_SPOT_CAPACITY, message)


def _intents(decision: Decision, instance: str, now: datetime) -> list[Intent]:
    if not isinstance(decision, Evict):
        return []
    return [
        Intent(
            pod=move.pod.uid,
            name=move.pod.name,
            target=move.target,
            instance=instance,
            created_at=now,
            probe=move.probe,
        )
        for move in decision.moves
    ]


def _requeue_after(
    decision: Decision, waiting: WaitingReplicas, retry_in: timedelta | None = None
) -> timedelta | None:
    pauses = (
        decision.requeue_after if isinstance(decision, Defer) else None,
        waiting.due_in,
        ANNOUNCED_RETRY if waiting.announced else None,
        AUTOSCALER_POLL if waiting.due_in is not None else None,
        retry_in,
    )
    return min((pause for pause in pauses if pause is not None), default=None)
