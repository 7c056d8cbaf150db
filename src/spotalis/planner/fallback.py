"""Replicas that wait for a spot node, and what the workload learns from them.

See docs/reference/behaviour.md, "Spot shortage and return".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from spotalis.model.ledger import Ledger, SpotAvailability
from spotalis.model.nodes import NodeType
from spotalis.planner.guards import BASIC_GUARDS, first_objection
from spotalis.planner.observed import Observed, Replica
from spotalis.planner.resolution import record_futile_move

MIN_PROBE_BACKOFF = timedelta(minutes=5)
MAX_PROBE_BACKOFF = timedelta(hours=1)
"""Time between failed probes: doubles from the minimum to the maximum."""


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
    announced: tuple[Replica, ...] = ()
    """Those that are due, but for which an autoscaler has announced a node."""

    def without_announced(self, pod_uids: Set[str]) -> WaitingReplicas:
        """The same, where the replicas with these pods are not due."""
        due = tuple(replica for replica in self.due if replica.pod.uid not in pod_uids)
        announced = tuple(replica for replica in self.due if replica.pod.uid in pod_uids)
        return dataclasses.replace(self, due=due, announced=announced)


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
    """The ledger once these replicas fall back to on-demand: spot is exhausted.

    The replicas that waited have probed spot: no other one need be evicted to find out the same,
    and the next probe is due one backoff later. If one was the replacement of a probe, the backoff
    doubles. If it was the replacement of another move, the move was futile, because the replica
    ends on the type that it left.
    """
    moves = {replica.pod.move for replica in replicas} - {""}
    failed = [intent for intent in ledger.intents if intent.move in moves]
    ledger = msgspec.structs.replace(
        ledger,
        spot_availability=SpotAvailability.EXHAUSTED,
        intents=tuple(intent for intent in ledger.intents if intent not in failed),
    )
    for intent in failed:
        if not intent.probe:
            ledger = record_futile_move(ledger, now)
    probed = any(intent.probe for intent in failed)
    count = ledger.failed_probes + 1 if probed else max(1, ledger.failed_probes)
    return msgspec.structs.replace(
        ledger, failed_probes=count, next_probe_at=now + probe_backoff(count)
    )


def probe_backoff(failed: int) -> timedelta:
    """How long to wait after the n-th consecutive failed probe.

    Args:
        failed: n, at least 1.
    """
    doubled: int = 2 ** min(failed - 1, 10)
    return min(MIN_PROBE_BACKOFF * doubled, MAX_PROBE_BACKOFF)


def probe_due_in(observed: Observed, now: datetime) -> timedelta:
    """Time until the workload may probe; zero if it may now.

    It may probe before its backoff ends if spot was available after its last failed wait: if a
    probe of any workload has succeeded, or a spot node has joined that could hold its replicas.
    """
    ledger = observed.ledger
    if ledger.next_probe_at is None:
        return timedelta(0)
    failed_at = ledger.next_probe_at - probe_backoff(max(1, ledger.failed_probes))
    seen = (observed.cluster.probe_succeeded_at, observed.spot.node_joined_at)
    if any(at is not None and at > failed_at for at in seen):
        return timedelta(0)
    return max(timedelta(0), ledger.next_probe_at - now)
