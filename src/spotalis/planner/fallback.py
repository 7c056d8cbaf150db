"""Spot replicas that wait in vain, and what becomes known about spot by it (behaviour.md 6)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from spotalis.model.ledger import Ledger, SpotAvailability
from spotalis.model.nodes import NodeType, Pin
from spotalis.model.objects import Node, PodShape, Taint, node_matches
from spotalis.planner.guards import Guard, has_policy, managed, not_paused, plausible, synced, valid
from spotalis.planner.interruption import accepts_new_pods
from spotalis.planner.observed import Observed, Replica
from spotalis.planner.resolution import record_futile_move

FIRST_PROBE_BACKOFF = timedelta(minutes=5)
LONGEST_PROBE_BACKOFF = timedelta(hours=1)
"""Between two probes that failed; doubled from the first to the longest (behaviour.md 6)."""
REGISTRATION = timedelta(minutes=15)
"""A node that has not become Ready within this will not: Karpenter's own limit
(karpenter/pkg/controllers/nodeclaim/lifecycle/liveness.go, registrationTTL)."""

GUARDS: tuple[Guard, ...] = (managed, valid, has_policy, not_paused, synced, plausible)
"""All that can keep a replica from falling back: it is not a move, nothing ready is lost, and a
rollout or a scale-up may be waiting for exactly these pods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingReplicas:
    """The replicas that wait for a spot node."""

    replicas: tuple[Replica, ...] = ()
    due: tuple[Replica, ...] = ()
    """Those among them that have waited long enough to start on on-demand instead."""
    due_in: timedelta | None = None
    """Until the next one has; None: no clock runs."""
    why: str = ""
    """Why no clock runs for some of them; empty if one runs for each."""


def waiting_for_spot(observed: Observed, now: datetime) -> WaitingReplicas:
    """Who waits for a spot node, and whose time is up."""
    replicas = tuple(
        replica
        for replica in observed.active
        if replica.node_type is NodeType.SPOT
        and not replica.pod.node
        and replica.pod.unschedulable
        and not replica.user_pinned
    )
    if not replicas:
        return WaitingReplicas()
    patience = observed.configuration.spot_fallback
    if observed.read_only or any(guard(observed, now) is not None for guard in GUARDS):
        return WaitingReplicas(replicas=replicas, why="nothing may be changed")
    if patience == timedelta.max:
        return WaitingReplicas(replicas=replicas, why="spot-fallback is never")
    why = {replica.pod.uid: _left_alone(observed, replica) for replica in replicas}
    left = {
        replica.pod.uid: _since(observed, replica, now) + patience - now
        for replica in replicas
        if not why[replica.pod.uid]
    }
    due = tuple(r for r in replicas if left.get(r.pod.uid, patience) <= timedelta(0))
    later = [span for span in left.values() if span > timedelta(0)]
    return WaitingReplicas(
        replicas=replicas,
        due=due,
        due_in=min(later, default=None),
        why=next(filter(None, why.values()), ""),
    )


def _left_alone(observed: Observed, replica: Replica) -> str:
    """Why no clock runs for one that waits; empty if one does."""
    arriving, helps, where = observed.arriving, observed.on_demand_helps, ""
    if (confines := observed.confines.get(replica.reach)) is not None:
        arriving = confines.arriving
        helps = NodeType.ON_DEMAND in confines.classes
        where = f" {confines.where}"
    if arriving:
        return f"a spot node is on its way{where}"
    return "" if helps else f"no on-demand node could ever hold it either{where}"


def _since(observed: Observed, replica: Replica, now: datetime) -> datetime:
    """A null transition time counts from first sight."""
    pod = replica.pod
    return pod.unschedulable_since or observed.first_unschedulable.get(pod.uid, now)


def record_fallback(ledger: Ledger, replicas: Sequence[Replica], now: datetime) -> Ledger:
    """The ledger once these replicas are sent to on-demand: spot is short.

    A replica that stood for a probe makes it a failed one; one that stood for a move with
    evidence makes that move futile, for it ends on the class that it left.
    """
    moves = {replica.pod.move for replica in replicas} - {""}
    failed = [intent for intent in ledger.intents if intent.move in moves]
    ledger = msgspec.structs.replace(
        ledger,
        spot_availability=SpotAvailability.EXHAUSTED,
        intents=tuple(intent for intent in ledger.intents if intent not in failed),
    )
    for intent in failed:
        if intent.probe:
            count = ledger.failed_probes + 1
            ledger = msgspec.structs.replace(
                ledger, failed_probes=count, next_probe_at=now + probe_backoff(count)
            )
        else:
            ledger = record_futile_move(ledger, now)
    return ledger


def probe_backoff(failed: int) -> timedelta:
    """How long to wait after the so-manieth failed probe in a row, 1 or more."""
    doubled: int = 2 ** min(failed - 1, 10)
    return min(FIRST_PROBE_BACKOFF * doubled, LONGEST_PROBE_BACKOFF)


def probe_due_in(observed: Observed, now: datetime) -> timedelta:
    """Until the workload may probe again; zero: now. A landing anywhere ends the wait."""
    ledger = observed.ledger
    if ledger.next_probe_at is None:
        return timedelta(0)
    failed_at = ledger.next_probe_at - probe_backoff(max(1, ledger.failed_probes))
    if observed.landed_at is not None and observed.landed_at > failed_at:
        return timedelta(0)
    return max(timedelta(0), ledger.next_probe_at - now)


def is_arriving(nodes: Iterable[Node], shape: PodShape, pin: Pin, now: datetime) -> bool:
    """Whether one of these nodes has registered, is not Ready yet, and would fit then.

    Args:
        nodes: those of the wanted class.
        shape: of the workload's template.
        pin: what the webhook adds.
        now: a node that is not Ready long after it came is broken, not on its way.
    """
    for node in nodes:
        young = node.created_at is not None and now - node.created_at < REGISTRATION
        if node.ready or node.cordoned or not accepts_new_pods(node) or not young:
            continue
        if _is_of_its_kind(node, shape, pin) and (not node.cpu_millis or _holds(node, shape)):
            return True
    return False


def could_hold(nodes: Sequence[Node], shape: PodShape, pin: Pin) -> bool:
    """Whether any of these nodes could ever hold a pod, were it empty; True if there are none.

    Where a class has no nodes, somebody is assumed to add what fits.
    """
    if not nodes:
        return True
    tolerations = shape.tolerations + pin.tolerations
    for node in nodes:
        hard = [t for t in node.taints if t.effect != "PreferNoSchedule" and not _passing(t)]
        if (
            _holds(node, shape)
            and _is_of_its_kind(node, shape, pin)
            and all(any(t.tolerates(taint) for t in tolerations) for taint in hard)
        ):
            return True
    return False


def _is_of_its_kind(node: Node, shape: PodShape, pin: Pin) -> bool:
    """Whether the node's labels are what the pod asks for."""
    wanted = dict(shape.node_selector) | dict(pin.node_selector)
    return node_matches(node.labels, shape.node_terms) and all(
        node.labels.get(key) == value for key, value in wanted.items()
    )


def _passing(taint: Taint) -> bool:
    """Of a state that a node gets over: cordoned, not ready, under pressure."""
    return taint.key.startswith("node.kubernetes.io/")


def _holds(node: Node, shape: PodShape) -> bool:
    other = dict(node.other)
    return (
        node.cpu_millis >= shape.cpu_millis
        and node.memory_bytes >= shape.memory_bytes
        and all(other.get(name, 0) >= amount for name, amount in shape.other)
    )
