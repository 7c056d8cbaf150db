"""Pods that were admitted and that no watch has shown yet.

They make bursts exact: see docs/reference/behaviour.md, "Arithmetic and slots". Every operation
takes the same time however many reservations are open: a ReplicaSet of 1,000 pods creates most of
them before a watch shows the first.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from spotalis.model.environment import Clock
from spotalis.planner.reserved_slots import NO_RESERVED_SLOTS, Reservation, ReservedSlots

LIFETIME_SECONDS = 30.0
"""A pod that is not seen by then was rejected after admission, by a quota or another webhook."""


class _Entry(msgspec.Struct, frozen=True, gc=False):
    """A reservation and the time at which it was made. Thousands of them must not be work for the
    garbage collector."""

    made_at: float
    reservation: Reservation


@dataclass(slots=True)
class _OwnerReservations:
    """The reservations of one owner, and their sums."""

    entries: OrderedDict[str, _Entry] = field(default_factory=OrderedDict)
    """By the UID of the admission request, oldest first."""
    by_name: dict[str, str] = field(default_factory=dict)
    """UIDs of the admission requests of pods that have a name, by that name."""
    slots: ReservedSlots = NO_RESERVED_SLOTS
    moves: Counter[str] = field(default_factory=Counter)

    def add(self, made_at: float, reservation: Reservation) -> None:
        """Add a reservation in place of an earlier one for the same request or pod name."""
        self.remove(reservation.request_uid)
        if reservation.name:
            self.remove(self.by_name.get(reservation.name, ""))
            self.by_name[reservation.name] = reservation.request_uid
        self.entries[reservation.request_uid] = _Entry(made_at, reservation)
        self.moves[reservation.move] += 1
        self._set_slots(self.slots.with_slot(reservation.node_type, reservation.slot))

    def remove(self, request_uid: str) -> None:
        """Remove a reservation if it is open."""
        entry = self.entries.pop(request_uid, None)
        if entry is None:
            return
        reservation = entry.reservation
        if self.by_name.get(reservation.name) == request_uid:
            del self.by_name[reservation.name]
        self.moves[reservation.move] -= 1
        if not self.moves[reservation.move]:
            del self.moves[reservation.move]
        self._set_slots(self.slots.without_slot(reservation.node_type, reservation.slot))

    def _set_slots(self, slots: ReservedSlots) -> None:
        # Few reservations belong to a move: no more than moves are open.
        self.slots = ReservedSlots(slots.spot, slots.on_demand, frozenset(self.moves) - {""})


_OwnerKey: TypeAlias = tuple[str, str]
"""Namespace and UID of an owner."""


class Reservations:
    """The reservations of all workloads, by the namespace and the UID of the pods' owner."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_owner: OrderedDict[_OwnerKey, _OwnerReservations] = OrderedDict()
        """The owner with the latest reservation is the last."""

    def of(self, namespace: str, owner: str) -> ReservedSlots:
        """The slots that the open reservations of an owner hold. Expired ones are removed."""
        found = self._open(namespace, owner)
        return found.slots if found else NO_RESERVED_SLOTS

    def count(self, namespace: str, owner: str) -> int:
        """The number of open reservations of an owner."""
        found = self._open(namespace, owner)
        return len(found.entries) if found else 0

    def add(self, reservation: Reservation) -> None:
        """Add a reservation. It replaces an earlier one for a pod of the same name."""
        key = reservation.namespace, reservation.owner
        of_owner = self._by_owner.setdefault(key, _OwnerReservations())
        self._by_owner.move_to_end(key)
        of_owner.add(self._clock.monotonic(), reservation)
        self._expire_owners()

    def find(self, namespace: str, owner: str, request_uid: str) -> Reservation | None:
        """The reservation of an admission request; None if it is not open."""
        found = self._by_owner.get((namespace, owner))
        entry = found.entries.get(request_uid) if found else None
        return entry.reservation if entry else None

    def remove(self, namespace: str, owner: str, request_uid: str) -> None:
        """Remove the reservation of an admission request whose pod has been seen."""
        key = namespace, owner
        found = self._by_owner.get(key)
        if found is not None:
            found.remove(request_uid)
            if not found.entries:
                del self._by_owner[key]

    def trim(self, namespace: str, owner: str, limit: int) -> bool:
        """Remove the oldest reservations until at most ``limit`` are left.

        An owner never creates more pods than it wants. Reservations beyond that are for pods that
        were rejected after admission, by a quota or a validating webhook.

        Returns:
            Whether any was removed.
        """
        excess = self.count(namespace, owner) - max(0, limit)
        for _ in range(excess):
            self.remove(namespace, owner, next(iter(self._by_owner[namespace, owner].entries)))
        return excess > 0

    def _expire_owners(self) -> None:
        """Remove the owners without an open reservation. A deleted owner is not asked about again.

        Each call takes constant time on average: it stops at the first owner that stays.
        """
        before = -1
        while len(self._by_owner) != before and self._by_owner:
            before = len(self._by_owner)
            self._open(*next(iter(self._by_owner)))

    def _open(self, namespace: str, owner: str) -> _OwnerReservations | None:
        """The reservations of an owner, without those that are older than their lifetime."""
        oldest_valid = self._clock.monotonic() - LIFETIME_SECONDS
        while (found := self._by_owner.get((namespace, owner))) is not None:
            request_uid, oldest = next(iter(found.entries.items()))
            if oldest.made_at >= oldest_valid:
                return found
            self.remove(namespace, owner, request_uid)
        return None
