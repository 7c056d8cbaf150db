"""Which replicas may be moved, and in which order (behaviour.md 5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from spotalis.model.configuration import WorkloadConfiguration
from spotalis.model.nodes import NodeType
from spotalis.model.replicas import slot_type
from spotalis.planner.observed import Observed, Replica


def candidates(observed: Observed, surplus_type: NodeType) -> list[Replica]:
    """Replicas of the surplus_type class that may go, the one to go first first.

    Not ready first (nothing ready is lost); then those whose slot belongs to the other class
    (they will be right for good), then those without a slot; then, for Deployments, the node with
    the fewest other pods, so that nodes empty; then the highest slot. A StatefulSet's ordinals go
    in order, since the next scale-down takes the highest anyway. Two ready ones on one node stand
    apart as far as possible.
    """
    configuration = observed.configuration
    stateful = observed.workload.kind == "StatefulSet"

    def order(replica: Replica) -> tuple[bool, bool, bool, int, int, str]:
        slot = slot_of(replica, observed)
        belongs_to = slot_belongs_to(slot, configuration)
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
        if replica.node_type is surplus_type
        and not replica.user_pinned
        and not replica.pod.protected
        # It waits for an on-demand node: spot would not take it either.
        and not (replica.pod.rule == "fallback" and not replica.pod.node)
        and replica.pod.uid not in observed.replacements
    ]
    eligible.sort(key=order)
    if stateful:
        return eligible
    going = (r.pod.node for r in observed.replicas if r.evicted or r.pod.deleting_at)
    return _one_per_node_first(eligible, going)


def slot_of(replica: Replica, observed: Observed) -> int | None:
    """A StatefulSet's slot is its ordinal; a Deployment's stands on the pod, if we placed it."""
    if observed.workload.kind == "StatefulSet":
        return ordinal(replica.pod.name, observed.workload.first_ordinal)
    return replica.pod.slot


def ordinal(pod_name: str, first: int) -> int | None:
    """The slot in a StatefulSet pod's name: its number minus ``spec.ordinals.start``."""
    digits = pod_name.rpartition("-")[2]
    return int(digits) - first if digits.isdecimal() else None


def slot_belongs_to(slot: int | None, configuration: WorkloadConfiguration) -> NodeType | None:
    """The class of a slot; a pod from before Spotalis has none."""
    if slot is None or slot < 0:
        return None
    return slot_type(slot, configuration.percent, configuration.floor)


def _one_per_node_first(ordered: Sequence[Replica], going: Iterable[str]) -> list[Replica]:
    """The same replicas: first of each node, then second of each node, else in the given order.

    Those that are not ready stay in front: nothing ready is lost on any node.

    Args:
        going: the nodes of replicas that are on their way out already.
    """
    seen = Counter(going)
    rounds: list[tuple[bool, int, int, Replica]] = []
    for position, replica in enumerate(ordered):
        node = replica.pod.node
        rounds.append((replica.pod.ready, seen[node] if node else 0, position, replica))
        seen[node] += 1
    rounds.sort(key=lambda entry: entry[:3])
    return [replica for *_, replica in rounds]
