"""What to do about one workload now: the whole decision, top to bottom."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from spotalis.model.decision import Decision, Defer, Evict, Hold, Move, Reason
from spotalis.model.ledger import SpotAvailability
from spotalis.model.nodes import NodeType
from spotalis.model.objects import NodeTerms
from spotalis.planner.budget import Budgets
from spotalis.planner.candidates import candidates
from spotalis.planner.fallback import WaitingReplicas, probe_due_in, waiting_for_spot
from spotalis.planner.guards import MOVING, STANDING, floor_met, to_move
from spotalis.planner.observed import Observed, Replica


def plan(observed: Observed, now: datetime) -> Decision:
    """Hold, wait, or evict: facts in, a value out. The order of the questions is the contract's."""
    for guard in STANDING:
        if (stop := guard(observed, now)) is not None:
            return stop
    surplus_type = observed.state.surplus_type
    if surplus_type is None:
        return _at_rest(observed, now)
    for guard in MOVING:
        if (stop := guard(observed, now)) is not None:
            return stop
    return _choose(observed, surplus_type, now)


def recheck(observed: Observed, now: datetime) -> Defer | None:
    """Why evictions that were meant before, and perhaps sent, are not sent again now.

    Whether they are still wanted is no question: who may have been evicted is best evicted.
    """
    for guard in STANDING:
        if (stop := guard(observed, now)) is not None:
            return stop
    if not observed.configuration.disruption.allows_moves(now):
        return Defer(Reason.OUTSIDE_WINDOW, "moves begun before wait for the window")
    return None


def _at_rest(observed: Observed, now: datetime) -> Decision:
    state = observed.state
    have = f"{state.on_demand} on-demand and {state.spot} spot replicas"
    if (waits := waiting_for_spot(observed, now)).replicas:
        return _wait_for_spot(waits)
    if state.is_balanced and observed.ledger.intents:
        return Defer(Reason.REBALANCING, f"{have}, as wanted; the last moves are not over yet")
    if state.is_balanced:
        return Hold(Reason.BALANCED, f"{have}, as wanted")
    want = f"{state.desired_on_demand} on-demand and {state.desired_spot} spot"
    return Defer(Reason.WAITING_FOR_PODS, f"{have}, wanted {want}; none is on the wrong class")


def _wait_for_spot(waits: WaitingReplicas) -> Defer:
    count = len(waits.replicas)
    words = f"{count} spot {'replica waits' if count == 1 else 'replicas wait'} for a node"
    if waits.due_in is not None:
        words += f"; the next starts on on-demand in {_seconds(waits.due_in)} s"
    if waits.why:
        words += f"; {waits.why}"
    return Defer(Reason.NO_SPOT_CAPACITY, words, waits.due_in)


def _seconds(span: timedelta) -> int:
    return math.ceil(span.total_seconds())


def _choose(observed: Observed, surplus_type: NodeType, now: datetime) -> Decision:
    """Take candidates in order while every bound allows one more; the first one hit is the why.

    The bounds are asked in the contract's order. The guards have asked the budgets of moves
    whether anybody may go at all; here they end a plan of several moves.
    """
    surplus = observed.state.surplus(surplus_type) - _landing(observed, surplus_type)
    if observed.bypassed:  # one goes to find out whether the webhook is reached at all
        surplus = min(surplus, 1 - len(observed.ledger.intents))
    if surplus <= 0:
        return Defer(Reason.MOVES_IN_FLIGHT, f"{to_move(observed)}; replacements are on their way")
    able = candidates(observed, surplus_type)
    if not able:
        return _nobody_may_go(observed, surplus_type)
    target = surplus_type.other
    budgets = Budgets(observed.budgets)
    free = observed.moves_left(now)
    spare = observed.ready_on_demand - observed.configuration.floor
    supplies: dict[NodeTerms, _Supply] = {}
    sent: Counter[NodeTerms] = Counter()
    moves: list[Move] = []
    stop: Defer | None = None
    for replica in able:
        ready = replica.pod.ready
        if len(moves) >= min(surplus, observed.moves_free) or (ready and free <= 0):
            break  # whoever is not ready has been asked before
        if not observed.may_override_budgets and (refusal := budgets.refuses(replica.pod)):
            stop = stop or Defer(Reason.BLOCKED_BY_PDB, f"{refusal}; {to_move(observed)}")
            continue
        if ready and surplus_type is NodeType.ON_DEMAND and spare <= 0:
            stop = stop or floor_met(observed, now) or _floor_reached(observed)
            continue
        reach = replica.reach
        if reach not in supplies:
            supplies[reach] = _supply(observed, target, now, reach)
        supply = supplies[reach]
        if (supply.most is not None and sent[reach] >= supply.most) or (
            supply.probe and any(move.probe for move in moves)
        ):
            stop = stop or supply.stop
            continue  # others may have their volumes where there is room
        sent[reach] += 1
        moves.append(Move(replica.pod, target, probe=supply.probe))
        budgets.spend(replica.pod)
        if ready:
            free -= 1
            spare -= surplus_type is NodeType.ON_DEMAND
    if moves:
        tries = any(move.probe for move in moves)
        words = to_move(observed) + ("; one goes to find out" if tries else "")
        return Evict(tuple(moves), Reason.REBALANCING, words)
    assert stop is not None
    return stop


def _landing(observed: Observed, surplus_type: NodeType) -> int:
    """Replacements that start on the class just left: of the surplus, but no reason to move others.

    Else all replicas could go, one after the other, before the first replacement serves and shows
    that this leads nowhere.
    """
    return sum(
        r.node_type is surplus_type and r.pod.uid in observed.replacements for r in observed.active
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Supply:
    """How many replacements may be sent to a class, and on what grounds."""

    most: int | None = None
    """None: as many as there are to move."""
    probe: bool = False
    """No evidence: one goes to find out."""
    stop: Defer | None = None
    """Why no more."""


def _supply(observed: Observed, target: NodeType, now: datetime, reach: NodeTerms) -> _Supply:
    """Evidence that replacements can land: nodes with room, a provisioner, or a probe.

    Towards on-demand a provisioner is assumed; but of no class is anything assumed where a
    volume is and none of its nodes: nobody is sent there, not even to find out.

    Args:
        reach: of the replicas in question.
    """
    room, provisioned, where = observed.room.get(target), observed.provisioned, ""
    if (confines := observed.confines.get(reach)) is not None:
        where = f" {confines.where}"
        if target not in confines.classes:
            words = f"{to_move(observed)}; no {target} node could hold it{where}"
            return _Supply(most=0, stop=Defer(Reason.NO_SPOT_CAPACITY, words))
        room = None if room is None else confines.room
        provisioned = confines.provisioned
    if target is NodeType.ON_DEMAND or room is None:
        return _Supply()
    spot_availability = observed.ledger.spot_availability
    if spot_availability is SpotAvailability.AVAILABLE or (
        provisioned and spot_availability is SpotAvailability.UNKNOWN
    ):
        return _Supply()
    words = f"{to_move(observed)}; "
    if observed.room_known:
        words += f"no Ready {target} node has room{where}"
    else:
        words += f"whether {target} nodes have room is not known where not all pods are watched"
    if room:
        return _Supply(most=room, stop=Defer(Reason.NO_SPOT_CAPACITY, words))
    if observed.configuration.spot_fallback == timedelta.max:
        # A probe that fails could not come back: its replacement would wait for ever.
        never = f"{words}, and spot-fallback is never"
        return _Supply(most=0, stop=Defer(Reason.NO_SPOT_CAPACITY, never))
    due_in = probe_due_in(observed, now)
    if due_in > timedelta(0):
        words += f"; next try in {_seconds(due_in)} s"
        return _Supply(most=0, stop=Defer(Reason.NO_SPOT_CAPACITY, words, due_in))
    if not observed.probe_free:
        words += "; a replica is being tried, of this workload or of another"
        return _Supply(most=0, stop=Defer(Reason.NO_SPOT_CAPACITY, words))
    return _Supply(probe=True, stop=Defer(Reason.NO_SPOT_CAPACITY, words))


def _floor_reached(observed: Observed) -> Defer:
    floor = observed.configuration.floor
    return Defer(Reason.FLOOR_UNMET, f"{to_move(observed)}; one less would be below floor {floor}")


def _nobody_may_go(observed: Observed, surplus_type: NodeType) -> Defer:
    pinned: list[Replica] = [
        r for r in observed.active if r.node_type is surplus_type and r.user_pinned
    ]
    if pinned:
        return Defer(
            Reason.PINNED, f"{to_move(observed)}, but the template pins its pods to {surplus_type}"
        )
    return Defer(
        Reason.NO_CANDIDATE,
        f"{to_move(observed)}, but every {surplus_type} replica asks not to be disrupted",
    )
