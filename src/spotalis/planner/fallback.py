"""Replicas that wait for a spot node, and what the workload learns from them.

See docs/reference/behaviour.md, "Spot shortage and return".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

import msgspec

from spotalis.model.ledger import Intent, Ledger
from spotalis.model.nodes import NodeType
from spotalis.model.spot_knowledge import SpotRecord
from spotalis.planner.guards import BASIC_GUARDS, first_objection
from spotalis.planner.observed import Observed, Replica
from spotalis.planner.resolution import record_futile_move
from spotalis.planner.spot_knowledge import ALWAYS_SECONDS, failure


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingReplicas:
    """The replicas that wait for a spot node."""

    replicas: tuple[Replica, ...] = ()
    due: tuple[Replica, ...] = ()
    """Those that have waited long enough: they start on on-demand instead."""
    due_in: timedelta | None = None
    """When the next one is due; None if no clock runs."""
    reason: str = ""
    """Why no clock runs for some of them; empty if one runs for each."""
    on_clock: tuple[Replica, ...] = ()
    """Those for which a clock runs; ``due`` are some of them."""
    announced: tuple[Replica, ...] = ()
    """Those that are due, but for which an autoscaler has announced a node."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """By pod UID, of those that are due: why the autoscaler adds no node, in its own words."""

    @property
    def refusal(self) -> str:
        """Why the autoscaler adds no node for one of the replicas that are due; may be empty."""
        return next((self.refused[r.pod.uid] for r in self.due if r.pod.uid in self.refused), "")

    def with_autoscaler(
        self, announced: Set[str], refused: Mapping[str, str] = MappingProxyType({})
    ) -> WaitingReplicas:
        """The same, with what autoscalers have said about the pods, by UID.

        A replica with an announced node is not due. One that the autoscaler can add no node for is
        due at once.
        """
        due = [r for r in self.on_clock if r in self.due or r.pod.uid in refused]
        return dataclasses.replace(
            self,
            due=tuple(r for r in due if r.pod.uid not in announced),
            announced=tuple(r for r in due if r.pod.uid in announced),
            refused=refused,
        )


def waiting_for_spot(observed: Observed, now: datetime) -> WaitingReplicas:
    """Find the replicas that wait for a spot node, and those that have waited long enough."""
    replicas = tuple(
        replica
        for replica in observed.unschedulable_on_spot
        if not replica.pod.node and not replica.user_pinned
    )
    if not replicas:
        return WaitingReplicas()
    patience = observed.configuration.spot_fallback
    if observed.cluster.read_only or first_objection(BASIC_GUARDS, observed, now) is not None:
        return WaitingReplicas(replicas=replicas, reason="nothing may be changed")
    if patience == timedelta.max:
        return WaitingReplicas(replicas=replicas, reason="spot-fallback is never")
    reasons = {replica.pod.uid: _reason_to_wait(observed, replica, now) for replica in replicas}
    left = {
        replica.pod.uid: unschedulable_since(observed, replica, now) + patience - now
        for replica in replicas
        if not reasons[replica.pod.uid]
    }
    later = [span for span in left.values() if span > timedelta(0)]
    return WaitingReplicas(
        replicas=replicas,
        due=tuple(r for r in replicas if left.get(r.pod.uid, patience) <= timedelta(0)),
        on_clock=tuple(r for r in replicas if r.pod.uid in left),
        due_in=min(later, default=None),
        reason=next(filter(None, reasons.values()), ""),
    )


def _reason_to_wait(observed: Observed, replica: Replica, now: datetime) -> str:
    """Why no clock runs for a replica that waits; empty if one does."""
    refusal = observed.refusals.get(replica.pod.uid)
    if refusal is not None and refusal.is_backing_off(now):
        return refusal.describe(replica.pod.name)
    spot = observed.spot
    arriving, fits, where = spot.node_arriving, spot.on_demand_possible, ""
    if (by_volume := spot.by_volume.get(replica.volume_affinity)) is not None:
        arriving = by_volume.node_arriving
        fits = NodeType.ON_DEMAND in by_volume.node_types
        where = f" {by_volume.where}"
    if arriving:
        return f"a spot node{where} is starting"
    return "" if fits else f"no on-demand node{where} could hold the pod either"


def unschedulable_since(observed: Observed, replica: Replica, now: datetime) -> datetime:
    """Since when the scheduler has found no node for a replica."""
    pod = replica.pod
    return pod.unschedulable_since or observed.first_unschedulable.get(pod.uid, now)


def record_fallback(ledger: Ledger, replicas: Sequence[Replica], now: datetime) -> Ledger:
    """The ledger once these replicas fall back to on-demand.

    If one was the replacement of a move other than a probe, that move was futile, because the
    replica ends on the type that it left.
    """
    failed = failed_moves(ledger, replicas)
    ledger = msgspec.structs.replace(
        ledger, intents=tuple(intent for intent in ledger.intents if intent not in failed)
    )
    for intent in failed:
        if not intent.probe:
            ledger = record_futile_move(ledger, now)
    return ledger


def failed_moves(ledger: Ledger, replicas: Sequence[Replica]) -> list[Intent]:
    """The moves whose replacements fall back."""
    moves = {replica.pod.move for replica in replicas} - {""}
    return [intent for intent in ledger.intents if intent.move in moves]


def failure_of(observed: Observed, waiting: WaitingReplicas, now: datetime) -> SpotRecord | None:
    """What the cluster learns from the replicas that fall back: spot is exhausted.

    They have probed spot: no other replica need be evicted to find out the same, and the next
    probe is due one backoff later. Replicas with volumes may wait because of them, so that their
    failure concerns only their workload.
    """
    due, patience = waiting.due, observed.configuration.spot_fallback
    words = waiting.refusal
    waited = max(now - unschedulable_since(observed, replica, now) for replica in due)
    count = f"{len(due)} {'replica' if len(due) == 1 else 'replicas'}"
    return failure(
        observed.spot_view,
        now,
        waited_seconds=ALWAYS_SECONDS if words else int(patience.total_seconds()),
        is_probe=any(intent.probe for intent in failed_moves(observed.ledger, due)),
        # A claim, bound or not, may be the reason for which no node fits.
        is_private=any(replica.volume_affinity or replica.pod.claims for replica in due),
        cause=words or f"{count} waited {int(waited.total_seconds())} s",
    )
