"""What a placement depends on, kept up to date replica by replica.

The sums over the replicas of an owner cost the same however many there are.
:func:`spotalis.planner.placement.view_of` defines what they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from spotalis.model.configuration import WorkloadConfiguration
from spotalis.model.ledger import Intent, Ledger
from spotalis.model.nodes import NodeType
from spotalis.model.objects import Pod, Workload
from spotalis.model.replicas import ReplicaState
from spotalis.planner.candidates import ordinal
from spotalis.planner.observed import Replica
from spotalis.planner.placement import PlacementView
from spotalis.planner.reserved_slots import NO_RESERVED_SLOTS, ReservedSlots, slot_bit
from spotalis.planner.spot_capacity import newest_of

Key = TypeVar("Key", int, str)


class HeldReplicas:
    """The replicas of one owner, and sums over those that hold a slot."""

    def __init__(self, first_ordinal: int | None = None) -> None:
        """``first_ordinal`` is that of a StatefulSet; None for a ReplicaSet."""
        self.first_ordinal = first_ordinal
        self.replicas: dict[str, Replica] = {}
        """By pod UID; all of them."""
        self.lost: dict[str, Replica] = {}
        """Those on spot nodes that the provider reclaims."""
        self.counts = dict.fromkeys(NodeType, 0)
        """How many hold a slot, by type. Of unknown type, only those with a node."""
        self.active = 0
        """How many hold a slot."""
        self.slots = 0
        """The slots that are held, as a bit set."""
        self._holders: Counter[int] = Counter()
        """How many replicas hold a slot, by the slot as a bit set."""
        self._moves: Counter[str] = Counter()
        self._newest: Pod | None = None
        """None: not known."""

    def put(self, replica: Replica) -> None:
        """Add a replica, or replace what is known about its pod."""
        uid, newest = replica.pod.uid, self._newest
        self.remove(uid)
        self.replicas[uid] = replica
        if replica.on_reclaimed_node and replica.node_type is NodeType.SPOT:
            self.lost[uid] = replica
        if newest is not None and newest_of((replica.pod, newest)) is replica.pod:
            self._newest = replica.pod
        if replica.is_active:
            self._count(replica, 1)

    def remove(self, uid: str) -> None:
        """Remove a replica if it is there."""
        replica = self.replicas.pop(uid, None)
        if replica is None:
            return
        self.lost.pop(uid, None)
        if self._newest is not None and self._newest.uid == uid:
            self._newest = None
        if replica.is_active:
            self._count(replica, -1)

    @property
    def newest(self) -> Pod | None:
        """The newest pod, whether or not it holds a slot; None if no pod has a time."""
        if self._newest is None:
            self._newest = newest_of(replica.pod for replica in self.replicas.values())
        return self._newest

    def has_active(self, uid: str) -> bool:
        """Whether the pod with this UID holds a slot."""
        replica = self.replicas.get(uid)
        return replica is not None and replica.is_active

    def has_replacement(self, move: str) -> bool:
        """Whether the replacement of a move holds a slot."""
        return self._moves[move] > 0

    def slots_without(self, replica: Replica | None) -> int:
        """The slots that the other replicas hold, as a bit set."""
        bit = 0 if replica is None else self._slot_bit(replica)
        return self.slots & ~bit if self._holders[bit] == 1 else self.slots

    def _count(self, replica: Replica, by: int) -> None:
        """Count a replica that holds a slot, or do not count it any more."""
        self.active += by
        # One without a node may still land on either type (WorkloadState.state).
        if replica.node_type is not NodeType.UNKNOWN or replica.pod.node:
            self.counts[replica.node_type] += by
        if replica.pod.move:
            _add(self._moves, replica.pod.move, by)
        if bit := self._slot_bit(replica):
            _add(self._holders, bit, by)
            self.slots = self.slots | bit if self._holders[bit] else self.slots & ~bit

    def _slot_bit(self, replica: Replica) -> int:
        if self.first_ordinal is None:
            return slot_bit(replica.pod.slot)
        return slot_bit(ordinal(replica.pod.name, self.first_ordinal))


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldByOwners:
    """The replicas of all owners of a workload, and of them the owner that creates a pod."""

    owner: str
    by_owner: Mapping[str, HeldReplicas]
    reservations: Mapping[str, ReservedSlots]
    namesake: str = ""
    """UID of the owner's pod that has the name of the new pod; empty if there is none."""

    def view(
        self,
        workload: Workload,
        configuration: WorkloadConfiguration,
        ledger: Ledger,
        *,
        spot_starts_left: int | None,
        is_spot_exhausted: bool,
    ) -> PlacementView:
        """What the placement of the new pod depends on."""
        own = self.by_owner[self.owner]
        replaced = own.replicas[self.namesake] if own.has_active(self.namesake) else None
        by_type = {
            node_type: sum(held.counts[node_type] for held in self.by_owner.values())
            for node_type in NodeType
        }
        return PlacementView(
            workload=workload,
            configuration=configuration,
            state=ReplicaState(
                desired=workload.replicas,
                percent=configuration.percent,
                floor=configuration.floor,
                spot=by_type[NodeType.SPOT],
                on_demand=by_type[NodeType.ON_DEMAND],
                unknown=by_type[NodeType.UNKNOWN],
            ),
            pods=own.active - (replaced is not None),
            spot=own.counts[NodeType.SPOT] - _is_of(replaced, NodeType.SPOT),
            on_demand=own.counts[NodeType.ON_DEMAND] - _is_of(replaced, NodeType.ON_DEMAND),
            slots=own.slots_without(replaced),
            reserved=self.reservations.get(self.owner, NO_RESERVED_SLOTS),
            unreplaced=tuple(filter(self._is_unreplaced, ledger.intents)),
            spot_starts_left=spot_starts_left,
            is_spot_exhausted=is_spot_exhausted,
        )

    def newest_pods(self) -> list[Pod]:
        """The newest pod of each owner that has pods."""
        return [pod for held in self.by_owner.values() if (pod := held.newest) is not None]

    def lost(self) -> chain[Replica]:
        """The replicas on spot nodes that the provider reclaims."""
        return chain.from_iterable(held.lost.values() for held in self.by_owner.values())

    def replicas(self) -> chain[Replica]:
        """All replicas."""
        return chain.from_iterable(held.replicas.values() for held in self.by_owner.values())

    def _is_unreplaced(self, intent: Intent) -> bool:
        return not (
            any(held.has_active(intent.pod) for held in self.by_owner.values())
            or any(held.has_replacement(intent.move) for held in self.by_owner.values())
            or any(intent.move in slots.moves for slots in self.reservations.values())
        )


def _add(counter: Counter[Key], key: Key, by: int) -> None:
    """Count without keeping zeros."""
    counter[key] += by
    if not counter[key]:
        del counter[key]


def _is_of(replica: Replica | None, node_type: NodeType) -> bool:
    return replica is not None and replica.node_type is node_type
