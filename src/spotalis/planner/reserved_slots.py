"""Pods that were admitted and that no watch has shown yet, and the slots that they hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import msgspec

from spotalis.model.nodes import NodeType


class Reservation(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A pod that the webhook has admitted and that no watch has shown yet."""

    request_uid: str
    """UID of the admission request. The pod carries it in its decision annotation."""
    namespace: str
    owner: str
    """UID of the ReplicaSet or StatefulSet. A pod of another namespace can name the same UID."""
    slot: int
    node_type: NodeType
    name: str = ""
    """Only the pods of a StatefulSet have a name at admission."""
    move: str = ""
    """The move whose replacement it is; empty if it is not a replacement."""


SLOT_LIMIT = 1_000_000
"""Slots from here on are not reserved. No cluster has as many pods, but a user can create a
pod of a StatefulSet with any number in its name."""


@dataclass(frozen=True, slots=True)
class ReservedSlots:
    """The slots that the reservations of one owner hold: bit k stands for slot k.

    As numbers, these sets are copied and compared in a time that does not depend on their size.
    """

    spot: int = 0
    on_demand: int = 0
    moves: frozenset[str] = frozenset()
    """The moves whose replacements are reserved."""

    @classmethod
    def of(cls, reservations: Iterable[Reservation]) -> Self:
        """The slots of these reservations of one owner."""
        slots, moves = cls(), set()
        for one in reservations:
            slots = slots.with_slot(one.node_type, one.slot)
            moves.add(one.move)
        return cls(slots.spot, slots.on_demand, frozenset(moves - {""}))

    def with_slot(self, node_type: NodeType, slot: int) -> Self:
        """The same slots and one more."""
        return self._replaced(node_type, self.of_type(node_type) | slot_bit(slot))

    def without_slot(self, node_type: NodeType, slot: int) -> Self:
        """The same slots without one."""
        return self._replaced(node_type, self.of_type(node_type) & ~slot_bit(slot))

    def without(self, slots: int) -> Self:
        """The same slots without those of a bit set."""
        return type(self)(self.spot & ~slots, self.on_demand & ~slots, self.moves)

    def of_type(self, node_type: NodeType) -> int:
        """The slots of pods that were sent to a type."""
        return self.spot if node_type is NodeType.SPOT else self.on_demand

    def _replaced(self, node_type: NodeType, slots: int) -> Self:
        if node_type is NodeType.SPOT:
            return type(self)(slots, self.on_demand, self.moves)
        return type(self)(self.spot, slots, self.moves)


NO_RESERVED_SLOTS = ReservedSlots()


def slot_bit(slot: int | None) -> int:
    """A slot as a bit set; empty for a pod without a slot or beyond the limit."""
    return 1 << slot if slot is not None and 0 <= slot < SLOT_LIMIT else 0
