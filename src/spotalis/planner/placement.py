"""Where a new pod goes (docs/reference/behaviour.md, "Placement").

:func:`place` defines it for a complete observation. The webhook calls :func:`place_in` with sums
that it keeps up to date (planner/held.py).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache

from spotalis.model.configuration import WorkloadConfiguration
from spotalis.model.ledger import Intent
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Workload
from spotalis.model.replicas import ReplicaState, desired_spot, nth_slot, slot_type
from spotalis.planner.candidates import ordinal, slot_of
from spotalis.planner.observed import Observed
from spotalis.planner.reserved_slots import NO_RESERVED_SLOTS, SLOT_LIMIT, ReservedSlots, slot_bit


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPod:
    """A pod that is about to be created."""

    owner: str
    """UID of its ReplicaSet or StatefulSet."""
    name: str = ""
    """Empty for the pods of a ReplicaSet: the API server names them after admission."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a new pod goes, with the figures behind the decision."""

    node_type: NodeType
    slot: int
    rule: str
    """``share`` (Deployment), ``slot`` or ``share`` (StatefulSet), or ``fallback`` for a replica
    of a spot slot that starts on on-demand because spot is exhausted, ``unstable`` if because of
    interruptions."""
    have_on_demand: int
    have_spot: int
    """Replicas of the owner that hold a slot, per type, including reservations."""
    reserved: int
    """How many of them are reservations."""
    want_on_demand: int
    want_spot: int
    """The desired split of the workload."""
    move: str = ""
    """The open move whose replacement the pod is; empty if it is not a replacement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementView:
    """What a placement depends on: a workload, and sums over its replicas that hold a slot.

    :func:`view_of` defines it.
    """

    workload: Workload
    configuration: WorkloadConfiguration
    state: ReplicaState
    """Of the workload."""
    pods: int
    """Pods of the owner that hold a slot, without one that has the name of the new pod."""
    spot: int
    """How many of them are on spot."""
    on_demand: int
    slots: int
    """Their slots, as a bit set."""
    reserved: ReservedSlots
    """The slots of the owner's pods that no watch has shown yet."""
    unreplaced: tuple[Intent, ...]
    """The open moves whose pod is gone and that have no replacement, oldest first."""
    spot_starts_left: int | None
    is_spot_exhausted: bool


def view_of(observed: Observed, pod: NewPod) -> PlacementView:
    """What the placement of a new pod depends on."""
    held = [r for r in observed.active if r.pod.owner is not None and r.pod.owner.uid == pod.owner]
    held = [r for r in held if not pod.name or r.pod.name != pod.name]
    slots = 0
    for replica in held:
        slots |= slot_bit(slot_of(replica, observed))
    types = [replica.node_type for replica in held]
    present = {replica.pod.uid for replica in observed.active}
    replaced = {replica.pod.move for replica in observed.active}
    replaced = replaced.union(*(slots.moves for slots in observed.reservations.values()))
    return PlacementView(
        workload=observed.workload,
        configuration=observed.configuration,
        state=observed.state,
        pods=len(held),
        spot=types.count(NodeType.SPOT),
        on_demand=types.count(NodeType.ON_DEMAND),
        slots=slots,
        reserved=observed.reservations.get(pod.owner, NO_RESERVED_SLOTS),
        unreplaced=tuple(
            intent
            for intent in observed.ledger.intents
            if intent.pod not in present and intent.move not in replaced
        ),
        spot_starts_left=observed.spot_starts_left,
        is_spot_exhausted=observed.spot_view.is_exhausted,
    )


def place(observed: Observed, pod: NewPod) -> Placement:
    """Decide the capacity type and the slot of a new pod."""
    return place_in(view_of(observed, pod), pod)


def place_in(view: PlacementView, pod: NewPod) -> Placement:
    """Decide the same from what the placement depends on."""
    reserved = view.reserved
    if view.workload.kind == "StatefulSet":
        # An ordinal has one pod: the reservation of a pod that is there, or that is asked for
        # again, does not count.
        own = slot_bit(ordinal(pod.name, view.workload.first_ordinal))
        reserved = reserved.without(view.slots | own)
    have_spot = view.spot + reserved.spot.bit_count()
    have_on_demand = view.on_demand + reserved.on_demand.bit_count()
    if view.workload.kind == "StatefulSet":
        node_type, slot, rule = _place_ordinal(view, pod, have_spot, have_on_demand)
    else:
        taken = view.slots | reserved.spot | reserved.on_demand
        node_type, slot, rule = _place_next(view, have_spot, have_on_demand, taken)
    move = _find_open_move(view, pod, node_type)
    if node_type is NodeType.SPOT and not move:
        if view.spot_starts_left == 0:
            node_type, rule = NodeType.ON_DEMAND, "unstable"
        elif view.is_spot_exhausted:
            node_type, rule = NodeType.ON_DEMAND, "fallback"
    return Placement(
        node_type=node_type,
        slot=slot,
        rule=rule,
        have_on_demand=have_on_demand,
        have_spot=have_spot,
        reserved=reserved.spot.bit_count() + reserved.on_demand.bit_count(),
        want_on_demand=view.state.desired_on_demand,
        want_spot=view.state.desired_spot,
        move=move,
    )


def _find_open_move(view: PlacementView, pod: NewPod, node_type: NodeType) -> str:
    """The oldest open move to this type that has no replacement yet; empty if there is none.

    The split alone places a replacement correctly. Its move matters while spot is exhausted:
    then only replacements of moves to spot are placed on spot.
    """
    for intent in view.unreplaced:
        if intent.target is node_type and (not pod.name or intent.name == pod.name):
            return intent.move
    return ""


def _place_next(
    view: PlacementView, have_spot: int, have_on_demand: int, taken: int
) -> tuple[NodeType, int, str]:
    """Place the next pod of a Deployment: type, slot and rule.

    It takes the lowest free slot of its type, or the lowest free slot if there is none.

    Args:
        taken: the slots that are held, as a bit set.
    """
    percent, floor = view.configuration.percent, view.configuration.floor
    held = have_spot + have_on_demand
    is_spot = have_spot < desired_spot(held + 1, percent, floor)
    node_type = NodeType.SPOT if is_spot else NodeType.ON_DEMAND
    highest = max(held + taken.bit_count(), view.workload.replicas) + 1
    of_type = _slots_of(node_type, percent, floor, 1 << taken.bit_count().bit_length())
    slot = _lowest(of_type & ~taken)
    if slot is None or slot > highest:
        slot = _lowest(~taken & (taken + 1))
        assert slot is not None
    return node_type, slot, "share"


@lru_cache(maxsize=64)
def _slots_of(node_type: NodeType, percent: int, floor: int, count: int) -> int:
    """The first ``count`` slots of a type, or all if there are fewer, as a bit set.

    With one slot more than are taken, one of them is free: the size of the set depends on the
    pods that exist, not on ``spec.replicas``, which a user can set to any number.
    """
    slots = (nth_slot(n, node_type, percent, floor) for n in range(count))
    found = [slot for slot in slots if slot is not None and slot < SLOT_LIMIT]
    bits = bytearray(max(found, default=0) // 8 + 1)
    for slot in found:
        bits[slot // 8] |= 1 << slot % 8
    return int.from_bytes(bits, "little")


def _lowest(slots: int) -> int | None:
    """The lowest slot of a bit set; None if it is empty."""
    return (slots & -slots).bit_length() - 1 if slots else None


def _place_ordinal(
    view: PlacementView, pod: NewPod, have_spot: int, have_on_demand: int
) -> tuple[NodeType, int, str]:
    """Place a pod of a StatefulSet: type, slot and rule."""
    configuration, state = view.configuration, view.state
    slot = ordinal(pod.name, view.workload.first_ordinal) or 0
    # Ordinal 7 means that 8 replicas are desired, even if no watch has shown the scale-up yet.
    state = dataclasses.replace(state, desired=max(state.desired, slot + 1))
    node_type = slot_type(slot, configuration.percent, configuration.floor)
    have = have_spot if node_type is NodeType.SPOT else have_on_demand
    if have >= state.desired_for(node_type):
        return node_type.other, slot, "share"
    return node_type, slot, "slot"
