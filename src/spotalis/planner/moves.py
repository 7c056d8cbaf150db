"""Which replicas move now, or why none does (docs/reference/behaviour.md, "Repair")."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from spotalis.model.decision import Decision, Defer, Evict, Hold, Move, Reason
from spotalis.model.nodes import NodeType
from spotalis.model.objects import NodeTerms
from spotalis.model.possible_types import selects_compute_class
from spotalis.model.spot_knowledge import SpotAvailability
from spotalis.model.timestamps import format_time
from spotalis.planner.budget import DisruptionBudgets
from spotalis.planner.candidates import Obstacle, obstacle
from spotalis.planner.fallback import WaitingReplicas, unschedulable_since
from spotalis.planner.guards import (
    MOVE_GUARDS,
    WORKLOAD_GUARDS,
    first_objection,
    floor_met,
    to_move,
)
from spotalis.planner.observed import Observed, Replica
from spotalis.planner.refusal import Refusal

ON_DEMAND_PATIENCE = timedelta(minutes=2)
"""How long replicas may wait for an on-demand node before that is the workload's reason, if
``spot-fallback`` is ``never``; otherwise as long as for a spot node."""
TOGETHER_PATIENCE = timedelta(minutes=2)
"""How long moves that need new spot nodes wait for earlier ones, so that they start together. A
replacement that waits longer for a node falls back by default."""


def plan_moves(observed: Observed, waiting: WaitingReplicas, now: datetime) -> Decision:
    """Hold, defer or evict. The order of the checks is part of the documented behaviour."""
    if (objection := first_objection(WORKLOAD_GUARDS, observed, now)) is not None:
        return objection
    decision = _plan(observed, waiting, now)
    if not isinstance(decision, Evict) and decision.reason in _EXPLAINED_BY_STUCK_MOVES:
        return _stuck_move(observed, now) or decision
    return decision


_EXPLAINED_BY_STUCK_MOVES = frozenset(
    {Reason.MOVES_IN_FLIGHT, Reason.REBALANCING, Reason.WAITING_FOR_PODS}
)
"""Reasons that only say that a move is open."""


def _plan(observed: Observed, waiting: WaitingReplicas, now: datetime) -> Decision:
    surplus_type = observed.state.surplus_type
    if surplus_type is None:
        return _nothing_to_move(observed, waiting, now)
    stuck = _wait_for_on_demand(observed, now) if surplus_type is NodeType.SPOT else None
    if stuck is not None and stuck.reason is Reason.NO_ON_DEMAND_CAPACITY:
        # Further replacements would wait beside this one.
        return dataclasses.replace(stuck, message=f"{to_move(observed)}; {stuck.message}")
    decision = first_objection(MOVE_GUARDS, observed, now) or _choose(observed, surplus_type, now)
    if stuck is not None and isinstance(decision, Defer) and decision.requeue_after is None:
        return dataclasses.replace(decision, requeue_after=stuck.requeue_after)
    return decision


def _stuck_move(observed: Observed, now: datetime) -> Defer | None:
    """The first open move whose eviction fails again and again; None if there is none."""
    for intent in observed.ledger.intents:
        refusal = observed.refusals.get(intent.pod)
        if intent.pod not in observed.terminated and refusal is not None and refusal.is_stuck:
            return _refused(refusal, intent.name, now)
    return None


def _refused(refusal: Refusal, pod_name: str, now: datetime) -> Defer:
    delay = max(timedelta(0), refusal.retry_at - now)
    words = f"{refusal.describe(pod_name)}; next try in {_seconds(delay)} s"
    return Defer(Reason.EVICTION_REFUSED, words, delay, gate=f"pod/{pod_name}")


def recheck(observed: Observed, now: datetime) -> Defer | None:
    """Why evictions that were decided earlier, and may have been sent, are not sent again now.

    It does not matter whether they are still wanted: an eviction that may have been sent is best
    sent again, so that the move ends.
    """
    if (objection := first_objection(WORKLOAD_GUARDS, observed, now)) is not None:
        return objection
    if not observed.configuration.disruption.allows_moves(now):
        return Defer(Reason.OUTSIDE_WINDOW, "the moves in progress wait for the window")
    return None


def _nothing_to_move(observed: Observed, waiting: WaitingReplicas, now: datetime) -> Decision:
    state = observed.state
    present = f"{state.on_demand} on-demand and {state.spot} spot replicas"
    if waiting.replicas:
        return _wait_for_spot(waiting)
    if (stuck := _wait_for_on_demand(observed, now)) is not None:
        return stuck
    if state.is_balanced and observed.ledger.intents:
        message = f"{present}, as desired; the last moves have not finished"
        return Defer(Reason.REBALANCING, message)
    if state.is_balanced:
        return Hold(Reason.BALANCED, f"{present}, as desired")
    desired = f"{state.desired_on_demand} on-demand and {state.desired_spot} spot"
    message = f"{present}, desired {desired}; no replica is on the wrong capacity type"
    return Defer(Reason.WAITING_FOR_PODS, message)


def _wait_for_spot(waiting: WaitingReplicas) -> Defer:
    count = len(waiting.replicas)
    message = f"{count} spot {'replica waits' if count == 1 else 'replicas wait'} for a node"
    if waiting.due_in is not None:
        message += f"; the next one starts on on-demand in {_seconds(waiting.due_in)} s"
    if waiting.reason:
        message += f"; {waiting.reason}"
    return Defer(Reason.NO_SPOT_CAPACITY, message, waiting.due_in)


def _wait_for_on_demand(observed: Observed, now: datetime) -> Defer | None:
    """Report the replicas that wait for an on-demand node, once one has waited for minutes."""
    replicas = observed.unschedulable_on_demand
    if not replicas:
        return None
    patience = observed.configuration.spot_fallback
    patience = ON_DEMAND_PATIENCE if patience == timedelta.max else patience
    since = min(unschedulable_since(observed, replica, now) for replica in replicas)
    count = len(replicas)
    words = f"{count} on-demand {'replica waits' if count == 1 else 'replicas wait'} for a node"
    if (left := since + patience - now) > timedelta(0):
        return Defer(Reason.WAITING_FOR_PODS, words, left)
    words += f", since {since.isoformat(timespec='seconds')}; add on-demand nodes that fit them"
    return Defer(Reason.NO_ON_DEMAND_CAPACITY, words)


def _seconds(span: timedelta) -> int:
    return math.ceil(span.total_seconds())


def _choose(observed: Observed, surplus_type: NodeType, now: datetime) -> Decision:
    """Take candidates in order while every limit allows one more.

    If there are none, the first limit that was reached is the reason.
    """
    surplus = observed.state.surplus(surplus_type) - _starting(observed, surplus_type)
    if surplus_type is NodeType.ON_DEMAND and observed.spot_starts_left is not None:
        surplus = min(surplus, observed.spot_starts_left)
    if observed.bypassed:  # One move is enough to find out whether the webhook is called.
        surplus = min(surplus, 1 - len(observed.ledger.intents))
    if surplus <= 0:
        message = f"{to_move(observed)}; replacements are starting"
        return Defer(Reason.MOVES_IN_FLIGHT, message)
    if not observed.candidates:
        return _no_candidate(observed, surplus_type)
    return _Selection(observed, surplus_type, now).choose(surplus)


def _starting(observed: Observed, surplus_type: NodeType) -> int:
    """Replacements that are starting on the type just left.

    They are part of the surplus, but no reason to move further replicas. Otherwise all replicas
    could be evicted before the first replacement is ready and shows that moving is futile.
    """
    return sum(
        r.node_type is surplus_type and r.pod.uid in observed.replacements for r in observed.active
    )


class _Selection:
    """The moves chosen so far, and what is left of the limits."""

    def __init__(self, observed: Observed, surplus_type: NodeType, now: datetime) -> None:
        self._observed = observed
        self._from_on_demand = surplus_type is NodeType.ON_DEMAND
        self._target = surplus_type.other
        self._now = now
        self._budgets = DisruptionBudgets(observed.budgets)
        self._free = observed.moves_left(now)
        self._above_floor = observed.ready_on_demand - observed.configuration.floor
        self._together_in = _together_in(observed, now)
        self._supplies: dict[NodeTerms, _Supply] = {}
        self._sent: Counter[NodeTerms] = Counter()
        self._moves: list[Move] = []

    def choose(self, surplus: int) -> Decision:
        observed, stop = self._observed, None
        for replica in observed.candidates:
            full = len(self._moves) >= min(surplus, observed.free_in_cluster)
            if full or (replica.pod.ready and self._free <= 0):
                break  # Candidates that are not ready came first.
            if (objection := self._objection(replica)) is not None:
                stop = stop or objection
                # It stays part of the surplus: no ready replica moves in its place.
                surplus -= not replica.pod.node
                continue  # Another replica may have another budget, or volumes elsewhere.
            self._take(replica)
        if not self._moves:
            assert stop is not None
            return stop
        probes = any(move.probe for move in self._moves)
        message = to_move(observed) + ("; probing spot with one replica" if probes else "")
        if self._from_on_demand and observed.spot.evidence and not probes:
            message += f"; {observed.spot.evidence}"
        return Evict(tuple(self._moves), Reason.REBALANCING, message)

    def _objection(self, replica: Replica) -> Defer | None:
        """Why this replica may not also move; None if it may."""
        observed = self._observed
        if observed.is_backing_off(replica.pod.uid, self._now):
            return _refused(observed.refusals[replica.pod.uid], replica.pod.name, self._now)
        blocked = self._budgets.objection(replica.pod)
        if blocked and not observed.moves.may_override_budgets:
            gate = ",".join(f"pdb/{name}" for name in self._budgets.names(replica.pod))
            return Defer(Reason.BLOCKED_BY_PDB, f"{blocked}; {to_move(observed)}", gate=gate)
        if replica.pod.ready and self._from_on_demand and self._above_floor <= 0:
            return floor_met(observed, self._now) or _floor_reached(observed)
        supply = self._supply(replica.volume_affinity)
        limit = supply.limit
        exhausted = limit is not None and self._sent[replica.volume_affinity] >= limit
        if exhausted or (supply.probe and any(move.probe for move in self._moves)):
            return supply.stop
        if replica.pod.ready and supply.adds_nodes:
            if supply.free:
                together = self._sent[replica.volume_affinity] >= supply.free
            else:
                together = self._together_in > timedelta(0)
            if together:
                return self._wait_for_others()
        missing = observed.missing(self._now)
        if supply.probe and supply.stop and missing > 0 and not replica.pod.unschedulable:
            # It may not come back at once. A replica that runs nowhere costs nothing.
            of = observed.workload.replicas
            words = f"no probe while {missing} of {of} replicas are missing"
            return Defer(Reason.NO_SPOT_CAPACITY, f"{supply.stop.message}; {words}")
        return None

    def _wait_for_others(self) -> Defer:
        """Let moves that need new nodes start together: an autoscaler adds one node for them."""
        words = "the next moves need new nodes and start together, after the moves in progress"
        message = f"{to_move(self._observed)}; {words}"
        return Defer(Reason.MOVES_IN_FLIGHT, message, self._together_in or None)

    def _take(self, replica: Replica) -> None:
        supply = self._supply(replica.volume_affinity)
        self._sent[replica.volume_affinity] += 1
        self._moves.append(Move(replica.pod, self._target, probe=supply.probe))
        self._budgets.spend(replica.pod)
        if replica.pod.ready:
            self._free -= 1
            self._above_floor -= self._from_on_demand

    def _supply(self, affinity: NodeTerms) -> _Supply:
        if affinity not in self._supplies:
            self._supplies[affinity] = _supply(self._observed, self._target, self._now, affinity)
        return self._supplies[affinity]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Supply:
    """How many replicas may move to a type, and on what evidence."""

    limit: int | None = None
    """None: any number."""
    probe: bool = False
    """Whether capacity exists is not known: one replica moves as a probe."""
    stop: Defer | None = None
    """Why no more may move."""
    adds_nodes: bool = False
    """An autoscaler adds spot nodes for those beyond ``free``, the free places on present ones."""
    free: int = 0


def _together_in(observed: Observed, now: datetime) -> timedelta:
    """How long moves that need new spot nodes wait for the open ones; zero if they do not."""
    started = (
        intent.created_at
        for intent in observed.ledger.intents
        if intent.target is NodeType.SPOT and intent.created_at is not None
    )
    return max((at + TOGETHER_PATIENCE - now for at in started), default=timedelta(0))


_NO_CAPACITY = {
    NodeType.SPOT: Reason.NO_SPOT_CAPACITY,
    NodeType.ON_DEMAND: Reason.NO_ON_DEMAND_CAPACITY,
}


def _supply(observed: Observed, target: NodeType, now: datetime, affinity: NodeTerms) -> _Supply:
    """Find evidence that replacements can be scheduled: free nodes, a provisioner, or a probe.

    Where no node of the target type could hold the replica, or its volume, no replica moves at all,
    not even as a probe. Otherwise a provisioner is assumed for on-demand.

    Args:
        affinity: the volume affinity of the replicas in question.
    """
    spot, where = observed.spot, ""
    free, has_provisioner = spot.free, spot.has_provisioner
    if (by_volume := spot.by_volume.get(affinity)) is not None:
        where = f" {by_volume.where}"
        if target not in by_volume.node_types:
            message = f"{to_move(observed)}; no {target} node{where} could hold the pod"
            return _Supply(limit=0, stop=Defer(_NO_CAPACITY[target], message))
        free = None if free is None else by_volume.free
        has_provisioner = by_volume.has_provisioner
    elif target is NodeType.ON_DEMAND and not spot.on_demand_could_hold:
        words = f"{to_move(observed)}; no on-demand node could hold the pod"
        return _Supply(limit=0, stop=Defer(Reason.NO_ON_DEMAND_CAPACITY, words))
    if target is NodeType.ON_DEMAND or free is None:
        return _Supply()
    availability = observed.spot_view.availability
    if availability is SpotAvailability.AVAILABLE:
        return _Supply(adds_nodes=True, free=free)
    waits_forever = observed.configuration.spot_fallback == timedelta.max  # so no probe may start
    judged = not spot.unjudged or waits_forever
    if has_provisioner and judged and availability is SpotAvailability.UNKNOWN:
        return _Supply(adds_nodes=True, free=free)
    message = f"{to_move(observed)}; "
    if spot.unjudged:
        message += f"which {target} nodes can hold it is not known, because it has {spot.unjudged}"
    elif spot.is_known:
        message += f"no Ready {target} node{where} has free resources for it"
    else:
        message += f"free resources of {target} nodes are not known with watchNamespaces"
    if free:
        return _Supply(limit=free, stop=Defer(Reason.NO_SPOT_CAPACITY, message))
    return _probe(observed, now, message)


def _probe(observed: Observed, now: datetime, message: str) -> _Supply:
    """A probe, if one may start now."""
    if observed.configuration.spot_fallback == timedelta.max:
        # The replacement of a failed probe would wait forever.
        never = f"{message}, and spot-fallback is never"
        return _Supply(limit=0, stop=Defer(Reason.NO_SPOT_CAPACITY, never))
    view = observed.spot_view
    if view.is_exhausted and view.since is not None:
        message += f"; spot has been exhausted since {format_time(view.since)} ({view.cause})"
    due_in = view.probe_due_in(now)
    if due_in > timedelta(0):
        message += f"; next probe in {_seconds(due_in)} s"
        return _Supply(limit=0, stop=Defer(Reason.NO_SPOT_CAPACITY, message, due_in))
    if not observed.moves.probe_free:
        message += "; a probe is in progress in the cluster"
        return _Supply(limit=0, stop=Defer(Reason.NO_SPOT_CAPACITY, message))
    return _Supply(probe=True, stop=Defer(Reason.NO_SPOT_CAPACITY, message))


def _floor_reached(observed: Observed) -> Defer:
    floor = observed.configuration.floor
    message = f"{to_move(observed)}; one more move would break min-on-demand {floor}"
    return Defer(Reason.FLOOR_UNMET, message)


def _no_candidate(observed: Observed, surplus_type: NodeType) -> Defer:
    message = to_move(observed)
    pinned = [r for r in observed.active if r.node_type is surplus_type and r.user_pinned]
    if any(r.overridden for r in pinned):
        count = sum(r.overridden for r in pinned)
        message += f", but another admission webhook has sent {count} of them to {surplus_type}"
        return Defer(Reason.PINNED, message)
    # The class may come from the template, or from a webhook that was called earlier.
    if any(selects_compute_class(replica.pod.shape) for replica in pinned):
        return Defer(Reason.PINNED, f"{message}, but their GKE ComputeClass decides where they run")
    if pinned:
        return Defer(Reason.PINNED, f"{message}, but the pod template selects {surplus_type}")
    found = [obstacle(r, observed) for r in observed.active if r.node_type is surplus_type]
    counts = Counter(one for one in found if one is not None)
    why = ", ".join(f"{count} {_plural(one, count)}" for one, count in sorted(counts.items()))
    return Defer(
        Reason.NO_CANDIDATE, f"{message}, but of the {len(found)} {surplus_type} replicas {why}"
    )


def _plural(one: Obstacle, count: int) -> str:
    verb, _, rest = one.partition(" ")
    plural = {"is": "are", "asks": "ask"}[verb]
    return f"{verb if count == 1 else plural} {rest}"
