"""What to do about one workload now: the whole decision, top to bottom."""

from __future__ import annotations

from datetime import datetime

from spotalis.model.decision import Decision, Defer, Evict, Hold, Move, Reason
from spotalis.model.nodes import NodeType
from spotalis.planner.budget import Budgets
from spotalis.planner.candidates import candidates
from spotalis.planner.guards import MOVING, STANDING, floor_met, to_move
from spotalis.planner.observed import Observed, Replica


def plan(observed: Observed, now: datetime) -> Decision:
    """Hold, wait, or evict: facts in, a value out. The order of the questions is the contract's."""
    for guard in STANDING:
        if (stop := guard(observed, now)) is not None:
            return stop
    crowded = observed.state.crowded
    if crowded is None:
        return _at_rest(observed)
    for guard in MOVING:
        if (stop := guard(observed, now)) is not None:
            return stop
    return _choose(observed, crowded, now)


def _at_rest(observed: Observed) -> Decision:
    state = observed.state
    have = f"{state.on_demand} on-demand and {state.spot} spot replicas"
    if state.balanced:
        return Hold(Reason.BALANCED, f"{have}, as wanted")
    want = f"{state.desired_on_demand} on-demand and {state.desired_spot} spot"
    return Defer(Reason.WAITING_FOR_PODS, f"{have}, wanted {want}; none is on the wrong class")


def _choose(observed: Observed, crowded: NodeType, now: datetime) -> Decision:
    """Take candidates in order while every bound allows one more; the first one hit is the why.

    The bounds are asked in the contract's order. The guards have asked the budgets of moves
    whether anybody may go at all; here they end a plan of several moves.
    """
    able = candidates(observed, crowded)
    if not able:
        return _nobody_may_go(observed, crowded)
    toward = crowded.other
    budgets = Budgets(observed.budgets)
    free = observed.moves_left(now)
    spare = observed.ready_on_demand - observed.configuration.floor
    room = observed.room.get(toward)
    moves: list[Move] = []
    stop: Defer | None = None
    surplus = observed.state.surplus(crowded)
    for replica in able:
        ready = replica.pod.ready
        if len(moves) >= min(surplus, observed.moves_free) or (ready and free <= 0):
            break  # whoever is not ready has been asked before
        if refusal := budgets.refuses(replica.pod):
            stop = stop or Defer(Reason.BLOCKED_BY_PDB, f"{refusal}; {to_move(observed)}")
            continue
        if ready and crowded is NodeType.ON_DEMAND and spare <= 0:
            stop = stop or floor_met(observed, now) or _floor_reached(observed)
            continue
        if room is not None and len(moves) >= room:
            stop = stop or _no_room(observed, toward)
            break
        moves.append(Move(replica.pod, toward))
        budgets.spend(replica.pod)
        if ready:
            free -= 1
            spare -= crowded is NodeType.ON_DEMAND
    if moves:
        return Evict(tuple(moves), Reason.REBALANCING, to_move(observed))
    assert stop is not None
    return stop


def _no_room(observed: Observed, toward: NodeType) -> Defer:
    return Defer(Reason.NO_CAPACITY, f"{to_move(observed)}; no Ready {toward} node has room")


def _floor_reached(observed: Observed) -> Defer:
    floor = observed.configuration.floor
    return Defer(Reason.FLOOR_UNMET, f"{to_move(observed)}; one less would be below floor {floor}")


def _nobody_may_go(observed: Observed, crowded: NodeType) -> Defer:
    pinned: list[Replica] = [
        r for r in observed.staying if r.node_type is crowded and r.user_pinned
    ]
    if pinned:
        return Defer(
            Reason.PINNED, f"{to_move(observed)}, but the template pins its pods to {crowded}"
        )
    return Defer(
        Reason.NO_CANDIDATE,
        f"{to_move(observed)}, but every {crowded} replica asks not to be disrupted",
    )
