"""The arithmetic of a split (docs/reference/behaviour.md, "Arithmetic and slots")."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from spotalis.model.nodes import NodeType


def desired_spot(n: int, percent: int, floor: int) -> int:
    """How many of ``n`` replicas belong on spot.

    The result never decreases when ``n`` grows, and it grows by at most 1 per replica. Slots
    depend on this.

    Args:
        n: replicas, 0 or more.
        percent: the desired share on spot, 0 to 100; rounded down in favor of stability.
        floor: the minimum of replicas on on-demand, 0 or more.
    """
    return min(n * percent // 100, max(0, n - floor))


def slot_type(slot: int, percent: int, floor: int) -> NodeType:
    """The type of a slot, numbered from 0. The first k slots are split correctly for every k."""
    rises = desired_spot(slot + 1, percent, floor) > desired_spot(slot, percent, floor)
    return NodeType.SPOT if rises else NodeType.ON_DEMAND


def nth_slot(n: int, node_type: NodeType, percent: int, floor: int) -> int | None:
    """The n-th slot of a capacity type, counted from 0; None if there are fewer.

    It is computed, so that it takes the same time for every n.
    """
    if node_type is NodeType.SPOT:
        # The first number of replicas of which n + 1 belong on spot, less 1.
        return max(-(-(n + 1) * 100 // percent), n + 1 + floor) - 1 if percent else None
    if n < floor:
        return n
    return n * 100 // (100 - percent) if percent < 100 else None


@dataclass(frozen=True, kw_only=True)
class ReplicaState:
    """Desired and present replicas of one workload, per type."""

    desired: int
    """``spec.replicas``."""
    percent: int
    floor: int
    spot: int
    """Replicas on spot that hold a slot."""
    on_demand: int
    """Replicas on on-demand that hold a slot."""
    unknown: int = 0
    """Replicas on nodes of unknown type. They count on neither side."""
    parts: tuple[ReplicaState, ...] = ()
    """For a workload whose ReplicaSets are split each by itself: their states, which add up."""

    @property
    def known(self) -> int:
        """The desired replicas without those of unknown type: the ``n`` of the arithmetic."""
        return max(0, self.desired - self.unknown)

    @cached_property
    def desired_spot(self) -> int:
        """Replicas that belong on spot."""
        if self.parts:
            return sum(part.desired_spot for part in self.parts)
        return desired_spot(self.known, self.percent, self.floor)

    @property
    def desired_on_demand(self) -> int:
        """Replicas that belong on on-demand."""
        return self.known - self.desired_spot

    def count(self, node_type: NodeType) -> int:
        """Present replicas of a type."""
        match node_type:
            case NodeType.SPOT:
                return self.spot
            case NodeType.ON_DEMAND:
                return self.on_demand
            case NodeType.UNKNOWN:
                return self.unknown

    def desired_for(self, node_type: NodeType) -> int:
        """Desired replicas of a type; 0 for unknown."""
        match node_type:
            case NodeType.SPOT:
                return self.desired_spot
            case NodeType.ON_DEMAND:
                return self.desired_on_demand
            case NodeType.UNKNOWN:
                return 0

    def surplus(self, node_type: NodeType) -> int:
        """Replicas of a type beyond its share; never negative."""
        if self.parts:
            return sum(part.surplus(node_type) for part in self.parts)
        return max(0, self.count(node_type) - self.desired_for(node_type))

    @cached_property
    def surplus_type(self) -> NodeType | None:
        """The type with replicas that belong on the other type; None if no replica is to move."""
        for node_type in (NodeType.SPOT, NodeType.ON_DEMAND):
            if self.surplus(node_type):
                return node_type
        return None

    @property
    def is_balanced(self) -> bool:
        """Whether both types have exactly their share."""
        if self.parts:
            return all(part.is_balanced for part in self.parts)
        return self.spot == self.desired_spot and self.on_demand == self.desired_on_demand
