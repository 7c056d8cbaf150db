"""Where a new pod goes: the same answer for the webhook, the simulator and the tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Set
from dataclasses import dataclass

from spotalis.model.ledger import SpotAvailability
from spotalis.model.nodes import NodeType
from spotalis.model.replicas import desired_spot, slot_type
from spotalis.planner.candidates import ordinal, slot_of
from spotalis.planner.observed import Observed, Reservation


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPod:
    """A pod that is about to be created."""

    owner: str
    """UID of its ReplicaSet or StatefulSet."""
    name: str = ""
    """Empty for a ReplicaSet's pods: the API server names them after admission."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a new pod goes, and the figures that led there."""

    node_type: NodeType
    slot: int
    rule: str
    """``share`` (Deployment), ``slot`` or ``share`` (StatefulSet); ``fallback`` for a replica of
    a spot slot that starts on on-demand since spot is short."""
    have_on_demand: int
    have_spot: int
    """Replicas of its owner that hold a slot, per class, admitted and not yet seen included."""
    reserved: int
    """How many of those are admitted and not yet seen."""
    want_on_demand: int
    want_spot: int
    """The split of the workload's wanted replicas."""
    move: str = ""
    """The open move that it is the replacement of, if it is one's."""


def place(observed: Observed, pod: NewPod) -> Placement:
    """Decide the class and slot of a new pod (behaviour.md 2)."""
    held = [r for r in observed.active if r.pod.owner is not None and r.pod.owner.uid == pod.owner]
    held = [r for r in held if not pod.name or r.pod.name != pod.name]
    reserved = _awaited(observed, pod, {r.pod.name for r in held})
    types = [r.node_type for r in held] + [r.node_type for r in reserved]
    have_spot, have_on_demand = types.count(NodeType.SPOT), types.count(NodeType.ON_DEMAND)
    if observed.workload.kind == "StatefulSet":
        node_type, slot, rule = _ordinal_place(observed, pod, have_spot, have_on_demand)
    else:
        slots = {slot_of(r, observed) for r in held} | {r.slot for r in reserved}
        node_type, slot, rule = _next_place(observed, have_spot, have_on_demand, slots)
    move = _move_waiting(observed, pod, node_type)
    if (
        node_type is NodeType.SPOT
        and not move
        and observed.ledger.spot_availability is SpotAvailability.EXHAUSTED
    ):
        node_type, rule = NodeType.ON_DEMAND, "fallback"
    return Placement(
        node_type=node_type,
        slot=slot,
        rule=rule,
        have_on_demand=have_on_demand,
        have_spot=have_spot,
        reserved=len(reserved),
        want_on_demand=observed.state.desired_on_demand,
        want_spot=observed.state.desired_spot,
        move=move,
    )


def _move_waiting(observed: Observed, pod: NewPod, node_type: NodeType) -> str:
    """The oldest open move to this class that has no replacement yet; empty if there is none.

    The split alone sends a replacement where its move wants it; that it stands for a move matters
    where spot is short: only the replicas that are meant to try spot do.
    """
    living = {replica.pod.uid for replica in observed.active}
    answered = {replica.pod.move for replica in observed.active}
    answered |= {reservation.move for reservation in observed.reservations}
    for intent in observed.ledger.intents:
        fits = intent.target is node_type and (not pod.name or intent.name == pod.name)
        if fits and intent.pod not in living and intent.move not in answered:
            return intent.move
    return ""


def _awaited(observed: Observed, pod: NewPod, seen: Set[str]) -> list[Reservation]:
    """The reservations that stand for another pod each: a name that is tried again has several."""
    by_pod = {r.name or r.request_uid: r for r in observed.reservations if r.owner == pod.owner}
    return [r for r in by_pod.values() if not r.name or r.name not in {*seen, pod.name}]


def _next_place(
    observed: Observed, have_spot: int, have_on_demand: int, slots: Iterable[int | None]
) -> tuple[NodeType, int, str]:
    """A Deployment's pod: spot exactly if that is what one more replica calls for.

    It takes the lowest free slot of its class, else the lowest free one.
    """
    percent, floor = observed.configuration.percent, observed.configuration.floor
    held = have_spot + have_on_demand
    is_spot = have_spot < desired_spot(held + 1, percent, floor)
    node_type = NodeType.SPOT if is_spot else NodeType.ON_DEMAND
    taken = set(slots)
    reach = max(held + len(taken), observed.workload.replicas)
    free = [k for k in range(reach + 2) if k not in taken]
    slot = next((k for k in free if slot_type(k, percent, floor) is node_type), free[0])
    return node_type, slot, "share"


def _ordinal_place(
    observed: Observed, pod: NewPod, have_spot: int, have_on_demand: int
) -> tuple[NodeType, int, str]:
    """A StatefulSet's pod: its ordinal's class, unless the others already fill that share."""
    configuration, state = observed.configuration, observed.state
    slot = ordinal(pod.name, observed.workload.first_ordinal) or 0
    # Who makes ordinal 7 wants 8 replicas, also where we have not seen that scale-up yet.
    state = dataclasses.replace(state, desired=max(state.desired, slot + 1))
    node_type = slot_type(slot, configuration.percent, configuration.floor)
    have = have_spot if node_type is NodeType.SPOT else have_on_demand
    if have >= state.desired_for(node_type):
        return node_type.other, slot, "share"
    return node_type, slot, "slot"
