"""Pods that were admitted and that no watch has shown yet.

They make bursts exact: see docs/reference/behaviour.md, "Arithmetic and slots".
"""

from __future__ import annotations

from spotalis.model.environment import Clock
from spotalis.planner.observed import Reservation

LIFETIME_SECONDS = 30.0
"""A pod that is not seen by then was rejected after admission, by a quota or another webhook."""


class Reservations:
    """The reservations of all workloads, by the UID of the pods' owner, oldest first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_owner: dict[str, dict[str, tuple[float, Reservation]]] = {}

    def of(self, owner: str) -> tuple[Reservation, ...]:
        """The open reservations of an owner. Expired ones are removed."""
        requests = self._by_owner.get(owner)
        if not requests:
            return ()
        oldest_valid = self._clock.monotonic() - LIFETIME_SECONDS
        for request_uid in [r for r, (made, _) in requests.items() if made < oldest_valid]:
            self.remove(owner, request_uid)
        return tuple(reservation for _, reservation in self._by_owner.get(owner, {}).values())

    def add(self, reservation: Reservation) -> None:
        """Add a reservation. It replaces an earlier one for a pod of the same name."""
        requests = self._by_owner.setdefault(reservation.owner, {})
        for request_uid in [
            r for r, (_, other) in requests.items() if other.name == reservation.name != ""
        ]:
            del requests[request_uid]
        requests[reservation.request_uid] = (self._clock.monotonic(), reservation)

    def find(self, owner: str, request_uid: str) -> Reservation | None:
        """The reservation of an admission request; None if it is not open."""
        entry = self._by_owner.get(owner, {}).get(request_uid)
        return entry[1] if entry else None

    def remove(self, owner: str, request_uid: str) -> None:
        """Remove the reservation of an admission request whose pod has been seen."""
        requests = self._by_owner.get(owner)
        if requests is not None:
            requests.pop(request_uid, None)
            if not requests:
                del self._by_owner[owner]

    def trim(self, owner: str, limit: int) -> None:
        """Remove the oldest reservations until at most ``limit`` are left.

        An owner never creates more pods than it wants. Reservations beyond that are for pods that
        were rejected after admission, by a quota or a validating webhook.
        """
        for request_uid in list(self._by_owner.get(owner, ())):
            if len(self._by_owner[owner]) <= max(0, limit):
                return
            self.remove(owner, request_uid)
            if owner not in self._by_owner:
                return
