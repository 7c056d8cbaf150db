"""The arithmetic of a split (behaviour.md 2)."""

from __future__ import annotations

from dataclasses import dataclass

from spotalis.model.nodes import NodeType


def desired_spot(n: int, percent: int, floor: int) -> int:
    """How many of ``n`` replicas belong on spot.

    Args:
        n: replicas, 0 or more.
        percent: wanted share on spot, 0 to 100; rounded down, stability before cost.
        floor: least replicas on on-demand, 0 or more.

    Never falls when ``n`` grows and grows by at most 1 a step: what makes slots possible.
    """
    return min(n * percent // 100, max(0, n - floor))


def slot_type(slot: int, percent: int, floor: int) -> NodeType:
    """The class of the replica numbered ``slot`` (from 0): with it every prefix is split right."""
    rises = desired_spot(slot + 1, percent, floor) > desired_spot(slot, percent, floor)
    return NodeType.SPOT if rises else NodeType.ON_DEMAND


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaState:
    """Wanted and present replicas of one workload, per class."""

    desired: int
    """``spec.replicas``."""
    percent: int
    floor: int
    spot: int
    """Replicas that hold a slot and whose class is spot."""
    on_demand: int
    unknown: int = 0
    """Replicas whose class nobody knows: they count for neither side."""

    @property
    def known(self) -> int:
        """The ``n`` of the arithmetic: the wanted replicas without the unknown ones."""
        return max(0, self.desired - self.unknown)

    @property
    def desired_spot(self) -> int:
        """Replicas that belong on spot."""
        return desired_spot(self.known, self.percent, self.floor)

    @property
    def desired_on_demand(self) -> int:
        """Replicas that belong on on-demand."""
        return self.known - self.desired_spot

    def count(self, node_type: NodeType) -> int:
        """Present replicas of a class."""
        match node_type:
            case NodeType.SPOT:
                return self.spot
            case NodeType.ON_DEMAND:
                return self.on_demand
            case NodeType.UNKNOWN:
                return self.unknown

    def desired_for(self, node_type: NodeType) -> int:
        """Wanted replicas of a class; nobody wants unknown."""
        match node_type:
            case NodeType.SPOT:
                return self.desired_spot
            case NodeType.ON_DEMAND:
                return self.desired_on_demand
            case NodeType.UNKNOWN:
                return 0

    def surplus(self, node_type: NodeType) -> int:
        """Replicas of a class above its share; never negative."""
        return max(0, self.count(node_type) - self.desired_for(node_type))

    @property
    def surplus_type(self) -> NodeType | None:
        """The class that holds replicas which belong on the other; None when nothing is to move."""
        for node_type in (NodeType.SPOT, NodeType.ON_DEMAND):
            if self.surplus(node_type):
                return node_type
        return None

    @property
    def is_balanced(self) -> bool:
        """Present equals wanted, in both classes."""
        return self.spot == self.desired_spot and self.on_demand == self.desired_on_demand
