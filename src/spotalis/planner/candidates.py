"""Which replicas may be moved, in eviction order (docs/reference/behaviour.md, "Repair")."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from spotalis.model.configuration import WorkloadConfiguration
from spotalis.model.nodes import NodeType
from spotalis.model.replicas import slot_type

if TYPE_CHECKING:
    from spotalis.planner.observed import Replica, WorkloadState


def candidates(observed: WorkloadState, surplus_type: NodeType) -> list[Replica]:
    """The replicas of a type that may be moved, in eviction order.

    Replicas that are not ready come first, because no ready replica is lost. Then come replicas
    whose slot belongs to the other type, because they are correct afterwards, and replicas
    without a slot. Then, for Deployments, replicas on the node with the fewest other pods, so
    that nodes become empty; then the highest slot. StatefulSets go by ordinal alone, because the
    next scale-down removes the highest ordinal in any case.
    """
    if any(r.overridden and r.node_type is surplus_type for r in observed.active):
        return []  # Another admission webhook would send the replacements to the same type.
    configuration = observed.configuration
    stateful = observed.workload.kind == "StatefulSet"

    def order(replica: Replica) -> tuple[bool, bool, bool, int, int, str]:
        slot = slot_of(replica, observed)
        belongs_to = type_of_slot(slot, configuration)
        return (
            replica.pod.ready,
            belongs_to is not surplus_type.other,
            belongs_to is surplus_type,
            0 if stateful else replica.other_pods,
            -1 if slot is None else -slot,
            replica.pod.uid,
        )

    eligible = [
        replica
        for replica in observed.active
        if replica.node_type is surplus_type and obstacle(replica, observed) is None
    ]
    eligible.sort(key=order)
    if stateful:
        return eligible
    eligible = _within_surplus(eligible, observed, surplus_type)
    leaving = (r.pod.node for r in observed.replicas if r.counts_as_gone or r.pod.deleting_at)
    return _one_per_node_first(eligible, leaving)


def _within_surplus(
    ordered: list[Replica], observed: WorkloadState, surplus_type: NodeType
) -> list[Replica]:
    """Of each ReplicaSet that is split by itself no more replicas than it has too many."""
    if not observed.parts:
        return ordered
    left = {uid: part.surplus(surplus_type) for uid, part in observed.parts.items()}
    kept = []
    for replica in ordered:
        if left.get(replica.owner_uid, 0) > 0:
            left[replica.owner_uid] -= 1
            kept.append(replica)
    return kept


class Obstacle(StrEnum):
    """Why a replica is not a candidate, as the end of a sentence about one replica."""

    PINNED = "is restricted to the type by its pod template"
    PROTECTED = "asks not to be disrupted"
    STARTING = "is still starting after a move"


def obstacle(replica: Replica, observed: WorkloadState) -> Obstacle | None:
    """Why a replica may not be moved; None if it is a candidate."""
    if replica.user_pinned:
        return Obstacle.PINNED
    if replica.pod.protected:
        return Obstacle.PROTECTED
    if replica.pod.uid in observed.replacements:
        return Obstacle.STARTING
    return None


def slot_of(replica: Replica, observed: WorkloadState) -> int | None:
    """The slot of a replica: its ordinal in a StatefulSet, otherwise the pod's annotation.

    None for a pod of a Deployment that the webhook has not placed.
    """
    if observed.workload.kind == "StatefulSet":
        return ordinal(replica.pod.name, observed.workload.first_ordinal)
    return replica.pod.slot


def ordinal(pod_name: str, first: int) -> int | None:
    """The slot in a StatefulSet pod's name: its ordinal minus ``spec.ordinals.start``."""
    digits = pod_name.rpartition("-")[2]
    return int(digits) - first if digits.isdecimal() else None


def type_of_slot(slot: int | None, configuration: WorkloadConfiguration) -> NodeType | None:
    """The type that a slot belongs to; None without a slot."""
    if slot is None or slot < 0:
        return None
    return slot_type(slot, configuration.percent, configuration.floor)


def _one_per_node_first(ordered: Sequence[Replica], leaving: Iterable[str]) -> list[Replica]:
    """The same replicas, but the first of each node before the second of any node.

    Replicas that are not ready stay in front.

    Args:
        leaving: the nodes of replicas that are being evicted or terminate.
    """
    seen = Counter(leaving)
    rounds: list[tuple[bool, int, int, Replica]] = []
    for position, replica in enumerate(ordered):
        node = replica.pod.node
        rounds.append((replica.pod.ready, seen[node] if node else 0, position, replica))
        seen[node] += 1
    rounds.sort(key=lambda entry: entry[:3])
    return [replica for *_, replica in rounds]
